"""Rooms that come to other servers while people write: real nodes, real connections, one program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from client.connection import Deliveries, RoomConnection, ServersMoved, StateChanged, open_room_connection
from client.errors import UnavailableError
from client.moving import Mover, plan_move, survey
from dht.items import MutableItem, sign_item_with_seed
from room_server import limits
from tests.room_server.cluster import Cluster, TestNode, cluster_of, eventually
from tests.room_server.test_announcer import found_at
from wire.certificate import RoomServers, Server
from wire.ids import ClientId, GroupEpoch, RoomEpoch, RoomId
from wire.ids import Sequence as EntrySequence
from wire.messages import NodeAddress, RoomStatus
from wire.room import decode_entries

ROOM = RoomId(b"a room on a move")
NAMES = ("a", "b", "c", "d", "e", "f")
PATIENCE_S = 60


def record(epoch: int) -> MutableItem:
    """The owner's, of where the room is."""
    return sign_item_with_seed(b"o" * 32, seq=epoch << 32 | 1, value=b"servers of %d" % epoch)


class Keys:
    """Those of `tests.room_server.fakes.KEYS`."""

    epoch = RoomEpoch(0)

    def read_seed(self) -> bytes | None:
        return b"r" * 32

    def write_seed(self) -> bytes | None:
        return b"w" * 32

    def join_seed(self) -> bytes | None:
        return None

    def admin_seed(self) -> bytes | None:
        return None


def servers(nodes: Sequence[TestNode], epoch: int = 0) -> RoomServers:
    return RoomServers(
        GroupEpoch(epoch),
        tuple(Server(node.replica_id, node.address.node_key, node.address.host, node.address.port) for node in nodes),
    )


def addresses(nodes: Sequence[TestNode]) -> list[NodeAddress]:
    return [
        NodeAddress(
            node.config.name, node.address.node_key, node.replica_id, node.address.host, node.address.port, True
        )
        for node in nodes
    ]


class Person:
    """Somebody who writes all the time and reads everything, over one connection that is never made anew by hand."""

    def __init__(self, connection: RoomConnection, name: bytes) -> None:
        self.connection = connection
        self.name = name
        self.acknowledged: list[bytes] = []
        self.read: list[bytes] = []
        self.alarms: list[StateChanged] = []
        self.moves: list[RoomServers] = []
        self.longest_wait_s = 0.0

    async def listen(self) -> None:
        async for event in self.connection.events():
            if isinstance(event, Deliveries):
                self.read += [
                    entry
                    for delivery in event.deliveries
                    if delivery.block[0] == 1
                    for entry in decode_entries(delivery.block)
                ]
            elif isinstance(event, ServersMoved):
                self.moves.append(event.known)
            elif event.alarm is not None:
                self.alarms.append(event)

    async def write(self) -> None:
        number = 0
        while True:
            number += 1
            entry = b"%s %d" % (self.name, number)
            begun_at = trio.current_time()
            await self.connection.append_entry(RoomEpoch(0), entry)
            self.longest_wait_s = max(self.longest_wait_s, trio.current_time() - begun_at)
            self.acknowledged.append(entry)
            await trio.sleep(0.005)


@asynccontextmanager
async def people(nodes: Sequence[TestNode], count: int = 3) -> AsyncIterator[list[Person]]:
    """They write until the block ends."""
    async with trio.open_nursery() as nursery:
        everybody = []
        for number in range(count):
            opened = open_room_connection(
                ROOM,
                [node.address for node in nodes],
                Keys(),
                client_id=ClientId(bytes([number]) * 16),
                after=EntrySequence(0),
                known=servers(nodes),
            )
            person = Person(await nursery.start(partial(hold, opened)), b"person %d" % number)
            everybody.append(person)
            nursery.start_soon(person.listen)
        async with trio.open_nursery() as writing:
            for person in everybody:
                writing.start_soon(person.write)
            yield everybody
            writing.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def hold(opened: object, *, task_status: trio.TaskStatus[RoomConnection]) -> None:
    """Keep a connection open until cancelled."""
    async with opened as connection:  # type: ignore[attr-defined]  # an async context manager
        task_status.started(connection)
        await trio.sleep_forever()


async def move(everybody: Sequence[TestNode], known: RoomServers, wanted: Sequence[TestNode]) -> RoomStatus:
    """What `samtala room move` does."""
    status = await survey(ROOM, [node.address for node in everybody])
    plan = plan_move(status, addresses(wanted), addresses(everybody))
    mover = Mover(
        ROOM,
        plan,
        known=known,
        admin_seed=b"a" * 32,
        sign=lambda _, epoch: record(epoch).to_bytes(),
        report=lambda line: None,
    )
    return await mover.run()


async def test_room_grows_moves_and_shrinks_under_people_who_never_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEPART_AFTER_S", 0.5)
    with trio.fail_after(PATIENCE_S):
        async with cluster_of(tmp_path, names=NAMES, dht=True) as cluster:
            nodes = cluster.nodes
            await cluster.create_room(ROOM, members_of=nodes[:3], descriptor=record(0).to_bytes())
            first = servers(nodes[:3])
            async with people(nodes[:3]) as everybody:
                await eventually(lambda: all(len(person.acknowledged) > 5 for person in everybody))
                for wanted in (nodes[:5], nodes[3:], nodes[3:4]):
                    status = await move(nodes, first, wanted)
                    assert {replica.node_key for replica in status.replicas} == {
                        node.address.node_key for node in wanted
                    }
                    marks = [len(person.acknowledged) for person in everybody]
                    await eventually(
                        lambda marks=marks: all(
                            len(person.acknowledged) > mark + 5 for person, mark in zip(everybody, marks, strict=True)
                        )
                    )
                last = status.group_epoch
                await eventually(lambda: all(person.moves and person.moves[-1].epoch == last for person in everybody))
                await eventually(lambda: all(set(p.acknowledged) <= set(p.read) for p in everybody))

            for person in everybody:
                assert person.alarms == []
                assert len(person.read) == len(set(person.read))
                mine = [entry for entry in person.read if entry.startswith(person.name)]
                assert mine[: len(person.acknowledged)] == person.acknowledged
                assert person.longest_wait_s < 3.0
            assert {entry for person in everybody for entry in person.acknowledged} <= set(everybody[0].read)
            assert await found_at(nodes[3], record(0)) == record(last)
            await until_forgotten(cluster, nodes[0])


async def until_written(everybody: Sequence[Person], count: int) -> None:
    """Everybody gets so many more acknowledged."""
    wanted = [(person, len(person.acknowledged) + count) for person in everybody]
    await eventually(lambda: all(len(person.acknowledged) >= mark for person, mark in wanted))


async def until_forgotten(cluster: Cluster, node: TestNode) -> None:
    """A node that the room has left tells where it went, and nothing else, also after a restart."""
    assert node.running is not None
    with trio.fail_after(20):
        while not await _refused(node):  # noqa: ASYNC110 - another program, as seen from outside
            await trio.sleep(0.1)
    await cluster.kill(node)
    await cluster.start(node)
    assert await _refused(node)
    opened = open_room_connection(
        ROOM, [node.address], Keys(), client_id=ClientId(b"l" * 16), known=servers(cluster.nodes[:3])
    )
    async with opened as late:
        await late.append_entry(RoomEpoch(0), b"late")
        assert late.server == cluster.nodes[3].address


async def _refused(node: TestNode) -> bool:
    try:
        await survey(ROOM, [node.address])
    except UnavailableError:
        return True
    return False
