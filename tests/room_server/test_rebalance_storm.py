"""Rooms that are placed here and there while servers die and come back, and everybody writes: nothing is lost, doubled or reordered."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trio

from client.connection import open_room_connection
from room_server import limits
from tests.room_server.cluster import Cluster, TestNode, cluster_of, eventually
from tests.room_server.operators import do, joined, request
from tests.room_server.test_moves import Keys, Person, hold, servers
from tests.room_server.test_rebalancer import carried_out
from wire.ids import ClientId, RoomId
from wire.ids import Sequence as EntrySequence

NAMES = ("a", "b", "c", "d")
ROOMS = [RoomId(bytes([number]) * 16) for number in range(1, 7)]
PATIENCE_S = 120
STEPS = 10


async def writer(cluster: Cluster, room_id: RoomId, members: list[TestNode], nursery: trio.Nursery) -> Person:
    """Somebody who knows where the room was in the beginning."""
    await cluster.create_room(room_id, members_of=members, by_quorum=True)
    opened = open_room_connection(
        room_id,
        [node.address for node in members],
        Keys(),
        client_id=ClientId(room_id),
        after=EntrySequence(0),
        known=servers(members),
    )
    person = Person(await nursery.start(partial(hold, opened)), b"writer %d" % room_id[0])
    nursery.start_soon(person.listen)
    return person


async def step(cluster: Cluster, rng: random.Random, dead: TestNode | None) -> TestNode | None:
    """A server dies or comes back, or rooms are to be elsewhere; who is dead afterwards."""
    await trio.sleep(rng.uniform(0.1, 0.6))
    if rng.random() < 0.4:
        if dead is not None:
            await cluster.start(dead)
            return None
        dead = rng.choice(cluster.nodes)
        await cluster.kill(dead)
        return dead
    asked = rng.choice([node for node in cluster.nodes if node is not dead])
    query = [("do", rng.choice(["begin", "begin", "stop"]))]
    query += [("without", rng.choice(NAMES))] if rng.random() < 0.6 else []
    status, _ = await request(asked, "POST", f"/cluster/rebalance?{urlencode(query)}")
    assert status in {200, 409}, "409: the roster has no leader in this moment"
    return dead


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_meanwhile_everything_acknowledged_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(limits, "VITALS_S", 0.2)
    monkeypatch.setattr(limits, "PLACE_LOOK_S", 0.05)
    monkeypatch.setattr(limits, "DEPART_AFTER_S", 0.2)
    rng = random.Random(seed)
    with trio.fail_after(PATIENCE_S):
        async with cluster_of(tmp_path, names=NAMES, strangers=True) as cluster, trio.open_nursery() as nursery:
            first, *others = cluster.nodes
            await do(first, "create", name="makers")
            await joined(first, *others)
            people = [await writer(cluster, room_id, rng.sample(cluster.nodes, 3), nursery) for room_id in ROOMS]
            async with trio.open_nursery() as writing:
                for person in people:
                    writing.start_soon(person.write)
                dead: TestNode | None = None
                for _ in range(STEPS):
                    dead = await step(cluster, rng, dead)
                if dead is not None:
                    await cluster.start(dead)
                await carried_out(first)
                marks = [len(person.acknowledged) for person in people]
                await eventually(
                    lambda: all(len(person.acknowledged) > mark + 3 for person, mark in zip(people, marks, strict=True))
                )
                writing.cancel_scope.cancel()
            await eventually(lambda: all(set(person.acknowledged) <= set(person.read) for person in people))
            for person in people:
                assert person.alarms == []
                assert len(person.read) == len(set(person.read))
                assert person.read[: len(person.acknowledged)] == person.acknowledged
            assert any(person.moves for person in people), "rooms were elsewhere in between"
            nursery.cancel_scope.cancel()
