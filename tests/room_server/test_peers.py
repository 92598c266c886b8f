from __future__ import annotations

from pathlib import Path

import msgspec
import trio
import trio.testing

from tests.room_server.builders import app
from tests.room_server.cluster import (
    TestNode,
    appended,
    cluster_of,
    member_of,
    open_session,
    status_when,
)
from tests.room_server.network import network_client
from tests.room_server.test_door import count_of
from wire.ids import ClientId, RoomId, Sequence
from wire.messages import (
    Append,
    GetNodeInfo,
    GetRoomStatus,
    NodeInfo,
    RoomStatus,
    Subscribe,
    Subscribed,
)

ROOM = RoomId(b"peers of a room!")
CLIENT = ClientId(b"c" * 16)


async def info_when(node: TestNode, up: int) -> NodeInfo:
    """The node's roster once so many of its servers are up."""
    async with network_client(node.address) as client:
        for _ in range(10_000):
            info = await client.call(GetNodeInfo(1), NodeInfo)
            if sum(entry.up for entry in info.nodes) == up:
                return info
    raise AssertionError(f"never {up} up")


async def test_roster_tells_names_keys_replicas_and_who_is_up(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        a, b, c = cluster.nodes

        info = await info_when(a, 3)

        assert [entry.name for entry in info.nodes] == ["a", "b", "c"]
        assert [entry.replica_id for entry in info.nodes] == [node.replica_id for node in (a, b, c)]
        assert [entry.node_key for entry in info.nodes] == [node.address.node_key for node in (a, b, c)]
        await cluster.kill(b)
        assert [entry.up for entry in (await info_when(a, 2)).nodes] == [True, False, True]
        await cluster.start(b)
        assert (await info_when(a, 3)).nodes == info.nodes


async def test_node_that_was_down_at_creation_learns_the_room_and_its_past(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        a, b, c = cluster.nodes
        await cluster.kill(c)
        await cluster.create_room(ROOM, on=[a, b])
        async with member_of(a, ROOM) as client:
            session = await open_session(client, ROOM, CLIENT)
            await appended(client, Append(ROOM, CLIENT, session, 1, (app(0), app(0))))

        await cluster.start(c)
        await hosts_room(c)

        await status_when(c, ROOM, lambda status: status.next_sequence == 3)
        async with member_of(c, ROOM) as late:
            await late.call(Subscribe(1, ROOM, Sequence(0)), Subscribed)
            assert [d.first_sequence for d in await late.delivered(2)] == [1, 2]


async def hosts_room(node: TestNode) -> None:
    """Wait until the node knows the room."""
    async with network_client(node.address) as client:
        with trio.fail_after(20):
            while True:
                await client.say(GetRoomStatus(1, ROOM))
                if isinstance(await client.hear_any(), RoomStatus):
                    return


async def test_room_created_at_one_node_spreads_to_connected_peers(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        a, b, c = cluster.nodes
        await info_when(a, 3)

        await cluster.create_room(ROOM, on=[a])

        for node in (b, c):
            await hosts_room(node)


async def test_peer_that_claims_another_ones_replica_is_refused(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        a, b, c = cluster.nodes
        await info_when(a, 3)
        await cluster.kill(b)
        claim = tmp_path / "b" / "data" / "replica_id"
        claim.write_text(claim.read_text().replace(b.replica_id.hex(), c.replica_id.hex()))
        b.config = msgspec.structs.replace(b.config, replica_id=c.replica_id.hex())

        before = await handshakes(cluster.nodes[0]) + await handshakes(c)
        await cluster.start(b)

        with trio.fail_after(20):
            while await handshakes(a) + await handshakes(c) + await handshakes(b) < before + 6:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert [entry.up for entry in (await info_when(a, 2)).nodes] == [True, False, True]


async def handshakes(node: TestNode) -> float:
    """Connections that this node accepted, apart from those that ask here."""
    return await count_of(node, 'samtala_handshakes_total{result="ok"}')
