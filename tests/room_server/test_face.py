from __future__ import annotations

from pathlib import Path

from tests.room_server.builders import app
from tests.room_server.cluster import appended, cluster_of, member_of, open_session, status_when
from wire.ids import ClientId, RoomId
from wire.messages import Append

ROOM = RoomId(b"a room's status!")
CLIENT = ClientId(b"c" * 16)


async def test_every_replica_tells_the_same_room_and_its_own_view_of_the_others(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        await cluster.create_room(ROOM)
        a, b, c = cluster.nodes
        async with member_of(a, ROOM) as client:
            session = await open_session(client, ROOM, CLIENT)
            await appended(client, Append(ROOM, CLIENT, session, 1, (app(0), app(0))))

        statuses = [
            await status_when(node, ROOM, lambda status: status.next_sequence == 3 and status.spare_failures == 1)
            for node in (a, b, c)
        ]

        assert len({status.chain for status in statuses}) == 1
        assert len({status.primary for status in statuses}) == 1
        for status in statuses:
            assert [replica.name for replica in status.replicas] == ["a", "b", "c"]
            assert all(replica.up for replica in status.replicas)
            assert status.commit_number <= status.op_number
        leader = next(node for node in cluster.nodes if node.address.node_key == statuses[0].primary)
        led = await status_when(leader, ROOM, lambda status: all(r.lag_ops == 0 for r in status.replicas))
        assert led.status == "normal"


async def test_lost_majority_is_told_as_no_spare_at_all(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        await cluster.create_room(ROOM)
        a, b, c = cluster.nodes
        await status_when(a, ROOM, lambda status: status.spare_failures == 1)

        await cluster.kill(b)
        await status_when(a, ROOM, lambda status: status.spare_failures == 0)
        await cluster.kill(c)

        status = await status_when(a, ROOM, lambda status: status.spare_failures == -1)
        assert [replica.up for replica in status.replicas] == [True, False, False]
