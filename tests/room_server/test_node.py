from __future__ import annotations

from pathlib import Path

from tests.room_server.builders import app
from tests.room_server.cluster import (
    appended,
    cluster_of,
    member_of,
    open_session,
    status_when,
)
from wire.ids import ClientId, RoomId, Sequence
from wire.messages import Append, Subscribe, Subscribed
from wire.room import ResultKind, chain_next, chain_start

ROOM = RoomId(b"three node room!")
CLIENT = ClientId(b"c" * 16)


async def test_room_survives_the_loss_of_a_node_which_then_catches_up(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        a = cluster.nodes[0]
        await cluster.create_room(ROOM)
        status = await status_when(a, ROOM, lambda status: status.status == "normal" and status.spare_failures == 1)
        leader = next(node for node in cluster.nodes if node.address.node_key == status.primary)
        first, second = [node for node in cluster.nodes if node is not leader]

        async with (
            member_of(first, ROOM) as writer,
            member_of(second, ROOM) as reader,
            member_of(leader, ROOM) as other,
        ):
            for client in (writer, reader, other):
                await client.call(Subscribe(1, ROOM, Sequence(0)), Subscribed)
            session = await open_session(writer, ROOM, CLIENT)
            results = await appended(writer, Append(ROOM, CLIENT, session, 1, (app(0, 2), app(0), app(0, 3))))
            assert [(result.kind, result.sequence) for result in results] == [
                (ResultKind.ACCEPTED, 1),
                (ResultKind.ACCEPTED, 3),
                (ResultKind.ACCEPTED, 4),
            ]
            delivered = await writer.delivered(3)
            assert await reader.delivered(3) == delivered
            assert await other.delivered(3) == delivered

            await cluster.kill(leader)
            results = await appended(writer, Append(ROOM, CLIENT, session, 4, (app(0), app(0))))
            assert [result.sequence for result in results] == [7, 8]
            delivered = await writer.delivered(5)
            assert await reader.delivered(5) == delivered

        await cluster.start(leader)
        async with member_of(leader, ROOM) as late:
            await late.call(Subscribe(1, ROOM, Sequence(0)), Subscribed)
            assert await late.delivered(5) == delivered

        chain = chain_start(ROOM)
        for one in delivered:
            chain = chain_next(chain, one)
        status = await status_when(leader, ROOM, lambda status: status.next_sequence == 9)
        assert status.chain == chain


async def test_only_a_majority_says_where_the_log_ends(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        await cluster.create_room(ROOM)
        alone, other, third = cluster.nodes
        async with member_of(alone, ROOM) as writer:
            session = await open_session(writer, ROOM, CLIENT)
            await appended(writer, Append(ROOM, CLIENT, session, 1, (app(0, 2),)))
            for node in (other, third):
                await cluster.kill(node)

            # What this server alone has is delivered; whether others were promised more, it cannot know.
            await writer.call(Subscribe(5, ROOM, Sequence(0)), Subscribed)
            assert [delivery.first_sequence for delivery in await writer.delivered(1)] == [1]
            await status_when(alone, ROOM, lambda status: status.spare_failures < 0)
            assert writer.tips == []
            await cluster.start(other)

            assert (await writer.tip()).next_sequence == 3
