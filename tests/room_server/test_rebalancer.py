"""Rooms that are spread over a cluster while people write: real nodes in one program."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest
import trio
import trio.testing

from room_server import limits
from room_server.cluster_report import RebalanceReport, Role
from room_server.logs import room_label
from tests.room_server.cluster import TestNode, appended, cluster_of, member_of, open_session, status_when
from tests.room_server.operators import do, joined, report, request, roles_when
from wire.ids import ClientId, RoomEpoch, RoomId, Sequence
from wire.messages import Append, RoomStatus, Subscribe, Subscribed
from wire.room import BlockKind, ResultKind, decode_block_header, decode_entries, encode_app_block

ROOMS = [RoomId(bytes([number]) * 16) for number in range(8)]
PINNED = RoomId(b"p" * 16)
CLIENT = ClientId(b"c" * 16)


async def ask(node: TestNode, act: str, *without: str) -> RebalanceReport:
    query = urlencode([("do", act), *(("without", name) for name in without)])
    status, body = await request(node, "POST", f"/cluster/rebalance?{query}")
    assert status == 200, body
    return msgspec.json.decode(body, type=RebalanceReport)


async def carried_out(node: TestNode, *without: str) -> RebalanceReport:
    """What `samtala cluster rebalance --apply` does."""
    with trio.fail_after(40):
        while True:
            seen = await ask(node, "begin", *without)
            if not seen.under_way and not seen.changes and not seen.leaderless and not seen.held:
                return seen
            await trio.testing.wait_all_tasks_blocked(0.002)


async def planned_by_all(node: TestNode) -> RebalanceReport:
    """The plan once each server has told that it is ready."""
    while True:
        seen = await ask(node, "plan")
        if not any(server.why_none for server in seen.servers):
            return seen
        await trio.testing.wait_all_tasks_blocked(0.002)


def loads(seen: RebalanceReport) -> dict[str, int]:
    return {server.name: server.now for server in seen.servers}


async def write(node: TestNode, room_id: RoomId, *texts: bytes) -> list[int]:
    async with member_of(node, room_id) as client:
        session = await open_session(client, room_id, CLIENT)
        blocks = tuple(encode_app_block(RoomEpoch(0), [text]) for text in texts)
        results = await appended(client, Append(room_id, CLIENT, session, 1, blocks))
        assert {result.kind for result in results} == {ResultKind.ACCEPTED}
        return [result.sequence for result in results]


async def read(node: TestNode, room_id: RoomId) -> list[bytes]:
    """All texts of a room as this node delivers them."""
    async with member_of(node, room_id) as client:
        subscribed = await client.call(Subscribe(5, room_id, Sequence(0)), Subscribed)
        blocks = [delivery.block for delivery in await client.delivered(subscribed.next_sequence - 1)]
    texts = [block for block in blocks if decode_block_header(block).kind is BlockKind.APP]
    return [entry for block in texts for entry in decode_entries(block)]


async def led_by(nodes: list[TestNode], room_id: RoomId) -> TestNode:
    """The node that leads a room."""
    [first, *_] = nodes
    status = await status_when(first, room_id, lambda status: status.status == "normal")
    return next(node for node in nodes if node.address.node_key == status.primary)


def is_spread(status: RoomStatus, *nodes: TestNode) -> bool:
    keys = {node.address.node_key for node in nodes}
    return status.status == "normal" and {replica.node_key for replica in status.replicas} == keys


async def test_a_fourth_server_gets_its_share_and_a_dead_one_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEPART_AFTER_S", 0.1)
    monkeypatch.setattr(limits, "VITALS_S", 0.2)
    monkeypatch.setattr(limits, "PLACE_LOOK_S", 0.05)
    with trio.fail_after(90):
        async with cluster_of(tmp_path, names=("a", "b", "c", "d"), strangers=True) as cluster:
            a, b, c, d = cluster.nodes
            await do(a, "create", name="makers")
            await joined(a, b, c)
            for node in (a, b, c):
                await roles_when(node, *[Role.VOTER] * 3)
            for room_id in ROOMS:
                await cluster.create_room(room_id, members_of=[a, b, c], by_quorum=True)
            await cluster.create_room(PINNED, members_of=[a, b, c])
            for room_id in (*ROOMS, PINNED):
                await status_when(a, room_id, lambda status: status.spare_failures == 1)
                assert await write(a, room_id, b"one", b"two") == [1, 2]
            assert (await ask(b, "plan")).changes == ()

            await joined(b, d)
            planned = await planned_by_all(b)
            assert planned.rooms == 9
            assert planned.changes_in_all == 6
            assert loads(planned) == {"a": 9, "b": 9, "c": 9, "d": 0}, "nothing was done yet"
            seen = await carried_out(b)
            assert sorted(loads(seen).values()) == [6, 7, 7, 7]
            assert (await report(d)).under_way == 0

            await cluster.kill(c)
            emptied = await carried_out(d, "c")
            assert emptied.pinned == (room_label(PINNED),)
            assert emptied.held == ()
            assert loads(emptied) == {"a": 9, "b": 9, "c": 1, "d": 8}
            for room_id in ROOMS:
                status = await status_when(d, room_id, lambda status: is_spread(status, a, b, d))
                assert status.spare_failures == 1
                await write(d, room_id, b"three")
                assert await read(d, room_id) == [b"one", b"two", b"three"]
            assert await write(a, PINNED, b"three") == [Sequence(3)]


async def test_rooms_that_survive_too_little_get_more_servers_and_stop_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VITALS_S", 0.2)
    monkeypatch.setattr(limits, "PLACE_LOOK_S", 0.05)
    with trio.fail_after(60):
        async with cluster_of(tmp_path, strangers=True) as cluster:
            a, b, c = cluster.nodes
            await do(a, "create", name="makers")
            await cluster.create_room(ROOMS[0], members_of=[a], by_quorum=True)
            await write(a, ROOMS[0], b"alone")
            await joined(a, b, c)
            for node in cluster.nodes:
                await roles_when(node, *[Role.VOTER] * 3)
            await planned_by_all(c)

            seen = await carried_out(c)

            assert loads(seen) == {"a": 1, "b": 1, "c": 1}
            await status_when(c, ROOMS[0], lambda status: status.spare_failures == 1)
            leader = await led_by(cluster.nodes, ROOMS[0])
            await cluster.kill(leader)
            [other, _] = (node for node in cluster.nodes if node is not leader)
            await status_when(other, ROOMS[0], lambda status: status.status == "normal" and status.spare_failures == 0)
            await write(other, ROOMS[0], b"not alone")
            assert await read(other, ROOMS[0]) == [b"alone", b"not alone"]
            held = await ask(other, "begin", leader.config.name)
            assert held.held == (room_label(ROOMS[0]),)
            assert held.changes == ()
            assert (await ask(other, "stop")).under_way == ()


async def test_what_nobody_can_plan_is_refused_in_words(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a",), strangers=True) as cluster:
        [a] = cluster.nodes
        status, body = await request(a, "POST", "/cluster/rebalance?do=plan")
        assert (status, b"belongs to no cluster" in body) == (409, True)
        await do(a, "create", name="one")

        status, body = await request(a, "POST", "/cluster/rebalance?do=plan&without=x")

        assert (status, body) == (409, b"no server 'x' in the cluster; there are a\n")
        assert (await request(a, "POST", "/cluster/rebalance?do=dance"))[0] == 400
