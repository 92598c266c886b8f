from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from room_server.errors import RefusedError
from room_server.face import NodeFace
from room_server.feed import RingBudget
from room_server.hosting import Hosting
from room_server.metrics import NodeMetrics
from room_server.rooms import HostedRoom, PendingOpen, Route
from tests.room_server.builders import ROOM_ID, app, genesis
from tests.wire.certificates import identity
from vr.host import HostOptions, open_host
from vr.log import Request
from vr.types import ClientId, ReplicaId, RequestNumber, SessionNumber
from wire.certificate import sign_statement
from wire.errors import RefusalCode
from wire.ids import RoomId, Sequence
from wire.messages import NodeAddress
from wire.room import GenesisMember, chain_next, chain_start, encode_genesis

KEY = identity(1).public
CLIENT = ClientId(b"c" * 16)


class Nobody:
    """A network of one node."""

    def send(self, peer: ReplicaId, frame: bytes) -> None:
        """Whoever is told of as a server may be sent to; nobody is there."""


class Waiter:
    """Collects what one client is told (`rooms.Recipient`)."""

    def __init__(self) -> None:
        self.results: dict[int, bytes] = {}
        self.session: SessionNumber | None = None
        self.refusals: list[RefusalCode] = []

    def answered(self, route: Route, number: int, result: bytes) -> None:
        self.results[number] = result

    def append_refused(self, route: Route, number: int, code: RefusalCode, retry_after_s: float) -> None:
        self.refusals.append(code)

    def session_opened(self, room: HostedRoom, client: ClientId, call: int, session: SessionNumber) -> None:
        self.session = session

    def open_refused(self, client: ClientId, call: int, code: RefusalCode, retry_after_s: float) -> None:
        self.refusals.append(code)


@asynccontextmanager
async def hosting_on(
    folder: Path, *, rooms_max: int = 10, checkpoint_ops: int = 1024, free_bytes_min: int = 0
) -> AsyncIterator[Hosting]:
    hosting = Hosting(
        node_key=KEY,
        sign=partial(sign_statement, identity=identity(1)),
        rooms_max=rooms_max,
        budget=RingBudget(),
        metrics=NodeMetrics(version="0", peers=[]),
        on_created=lambda room: None,
        wall_us=lambda: 0,
    )
    options = HostOptions(segment_bytes=256 * 1024, checkpoint_ops=checkpoint_ops, free_bytes_min=free_bytes_min)
    async with open_host(folder, Nobody(), hosting.service_of, hosting, options=options) as host:
        hosting.attach(host)
        yield hosting


def record(hosting: Hosting, room_id: RoomId = ROOM_ID, **changes: object) -> bytes:
    member = GenesisMember(hosting.host.replica_id, KEY, "h", 1)
    return encode_genesis(genesis(room_id, **({"members": (member,)} | changes)))


async def append(hosting: Hosting, room: HostedRoom, count: int) -> None:
    """Append blocks of one entry through a new session."""
    waiter = Waiter()
    room.opens[CLIENT] = PendingOpen(waiter, 1, b"try")
    hosting.submit(room, [Request(CLIENT, SessionNumber(0), RequestNumber(0), b"try")])
    with trio.fail_after(10):
        while waiter.session is None:
            await trio.testing.wait_all_tasks_blocked(0.001)
        room.route(CLIENT, waiter.session, waiter)
        for number in range(1, count + 1):
            hosting.submit(room, [Request(CLIENT, waiter.session, RequestNumber(number), app(0))])
            while number not in waiter.results:
                await trio.testing.wait_all_tasks_blocked(0.001)


def room_of(hosting: Hosting) -> HostedRoom:
    room = hosting.rooms.get(ROOM_ID)
    assert room is not None
    return room


async def test_room_is_created_once_and_the_same_genesis_again_is_harmless(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        assert await hosting.create_room(record(hosting)) == ROOM_ID
        assert await hosting.create_room(record(hosting)) == ROOM_ID

        assert len(hosting.rooms) == 1
        with pytest.raises(RefusedError) as caught:
            await hosting.create_room(record(hosting, descriptor=b"other"))
        assert caught.value.code is RefusalCode.ROOM_CONFLICT


async def test_simultaneous_creations_agree(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(hosting.create_room, record(hosting))

    assert len(hosting.rooms) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"members": (GenesisMember(b"x" * 16, KEY, "h", 1),)}, RefusalCode.NOT_REPLICA),
        ({"version": 9}, RefusalCode.MALFORMED),
        ({"write_key": b"short"}, RefusalCode.MALFORMED),
        ({"members": ()}, RefusalCode.MALFORMED),
    ],
)
async def test_genesis_that_is_wrong_or_for_others_is_refused(
    tmp_path: Path, changes: dict[str, object], code: RefusalCode
) -> None:
    async with hosting_on(tmp_path) as hosting:
        with pytest.raises(RefusedError) as caught:
            await hosting.create_room(record(hosting, **changes))

        assert caught.value.code is code
        assert len(hosting.rooms) == 0


async def test_rooms_are_limited(tmp_path: Path) -> None:
    async with hosting_on(tmp_path, rooms_max=1) as hosting:
        await hosting.create_room(record(hosting))

        with pytest.raises(RefusedError) as caught:
            await hosting.create_room(record(hosting, RoomId(b"2" * 16)))

        assert caught.value.code is RefusalCode.LIMIT


async def test_restarted_room_has_its_state_its_feed_and_its_history(tmp_path: Path) -> None:
    async with hosting_on(tmp_path, checkpoint_ops=8) as hosting:
        await hosting.create_room(record(hosting))
        await append(hosting, room_of(hosting), 40)
        snapshot = room_of(hosting).service.snapshot()

    async with hosting_on(tmp_path, checkpoint_ops=8) as hosting:
        room = room_of(hosting)
        with trio.fail_after(10):
            while room.service.next_sequence < 41:
                await trio.testing.wait_all_tasks_blocked(0.001)
        assert room.service.snapshot() == snapshot
        assert room.feed.next_sequence == 41

        chain, sequence = chain_start(ROOM_ID), 1
        while sequence < 41:
            page = await hosting.read_history(room, Sequence(sequence))
            for delivery in page:
                assert delivery.first_sequence == sequence
                chain = chain_next(chain, delivery)
                sequence += 1
        assert chain == room.service.chain


async def test_history_is_readable_before_any_checkpoint(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        await append(hosting, room_of(hosting), 3)

        page = await hosting.read_history(room_of(hosting), Sequence(2))

        assert [delivery.first_sequence for delivery in page] == [2, 3]
        assert await hosting.read_history(room_of(hosting), Sequence(4)) == []


async def test_node_with_a_full_disk_sends_clients_elsewhere(tmp_path: Path) -> None:
    """Not BUSY, which they would wait out here, while other nodes have space."""
    async with hosting_on(tmp_path, free_bytes_min=1 << 60) as hosting:
        await hosting.create_room(record(hosting))

        with pytest.raises(RefusedError) as caught:
            hosting.submit(room_of(hosting), [Request(CLIENT, SessionNumber(0), RequestNumber(0), b"")])

    assert caught.value.code is RefusalCode.UNAVAILABLE


async def test_stopped_host_refuses(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        room = room_of(hosting)

    with pytest.raises(RefusedError) as caught:
        hosting.submit(room, [Request(CLIENT, SessionNumber(0), RequestNumber(0), b"")])
    assert caught.value.code is RefusalCode.UNAVAILABLE


async def test_who_is_still_in_a_room_that_has_left_gets_nothing_and_stops_nobody(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        room = room_of(hosting)
        hosting.rooms.depart(room)
        await hosting.host.forget_group(room.group)
        face = NodeFace(
            own=NodeAddress("a", identity(1).public, b"", "127.0.0.1", 1, True),
            hosting=hosting,
            peers=lambda: pytest.fail("nobody is asked"),
            metrics=NodeMetrics(version="0", peers=[]),
            room_servers=lambda: 0,
        )

        assert face.room_margin(room) == -1
        face.forget(room, ClientId(b"c" * 16), SessionNumber(1))
        assert await hosting.read_history(room, Sequence(1)) == []
        with pytest.raises(RefusedError) as caught:
            await hosting.read_tip(room)
        assert caught.value.code is RefusalCode.UNAVAILABLE
