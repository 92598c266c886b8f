from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from room_server import limits
from room_server.clients import ClientServer, ClientServices
from room_server.dial_back import DialBacks
from room_server.errors import HistoryGapError, RefusedError
from room_server.rooms import HostedRoom
from tests.room_server.builders import ROOM_ID, app
from tests.room_server.fakes import CLIENT, CLIENT_NONCE, LocalBackend, append, proof
from tests.room_server.network import NetworkClient
from wire import limits as wire_limits
from wire.errors import RefusalCode
from wire.frames import FrameDecoder, encode_frame
from wire.identity import NodeIdentity
from wire.ids import RoomId, Sequence
from wire.messages import (
    Appended,
    CreateRoom,
    Done,
    Hello,
    OpenSession,
    Ping,
    Pong,
    Proved,
    Refused,
    RoomCreated,
    ServerHello,
    SessionOpened,
    Subscribe,
    Subscribed,
    Unsubscribe,
    encode,
)
from wire.room import Delivery, Purpose
from wire.tls import accept, connect_over, server_context

IDENTITY = NodeIdentity(b"i" * 32)


class World:
    """A client server without sockets: each `connect` makes an in-memory TLS connection to it."""

    def __init__(self, backend: LocalBackend, nursery: trio.Nursery) -> None:
        backend.node_key = IDENTITY.public
        self.backend = backend
        self.history: list[Delivery] = []
        self.history_error: HistoryGapError | None = None
        self.history_reads = 0
        self.created: list[bytes] = []
        self.may_read_tip = trio.Event()
        self.may_read_tip.set()
        self.tips_read = 0
        services = ClientServices(
            create_room=self._create_room,
            read_history=self._read_history,
            read_tip=self._read_tip,
            dial_back=DialBacks({}).answer,
        )
        self.server = ClientServer(backend, services, nonce=lambda: b"s" * 32)
        self._nursery = nursery
        self._context = server_context(IDENTITY)
        nursery.start_soon(self.server.sweep)

    async def _create_room(self, encoded: bytes) -> RoomId:
        await trio.lowlevel.checkpoint()
        if encoded == b"bad":
            raise RefusedError(RefusalCode.MALFORMED, "no genesis")
        self.created.append(encoded)
        return ROOM_ID

    async def _read_tip(self, room: HostedRoom) -> Sequence:
        await self.may_read_tip.wait()
        self.tips_read += 1
        return room.service.next_sequence

    async def _read_history(self, room: HostedRoom, sequence: Sequence) -> list[Delivery]:
        await trio.lowlevel.checkpoint()
        self.history_reads += 1
        if self.history_error is not None:
            raise self.history_error
        return [delivery for delivery in self.history if delivery.first_sequence >= sequence][:2]

    async def _serve(self, stream: trio.abc.Stream) -> None:
        tls = await accept(stream, self._context)
        try:
            await self.server.serve(tls, FrameDecoder(), [])
        finally:
            await tls.aclose()

    async def connect(self, *, hello: bool = True, lockstep: bool = False) -> NetworkClient:
        """`lockstep`: what one side sends waits until the other side reads it, as with full socket buffers."""
        ours, theirs = lockstep_stream_pair() if lockstep else memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        client = NetworkClient(await connect_over(ours, IDENTITY.public))
        if hello:
            await client.greet()
        return client

    async def member(self, *, lockstep: bool = False) -> NetworkClient:
        client = await self.connect(lockstep=lockstep)
        for purpose in (Purpose.READ, Purpose.WRITE):
            await client.call(proof(purpose, node_key=IDENTITY.public), Proved)
        return client

    async def session(self, client: NetworkClient) -> int:
        await client.say(OpenSession(9, ROOM_ID, CLIENT))
        await self.submitted(1)
        self.backend.commit()
        return (await client.hear(SessionOpened)).session

    async def submitted(self, count: int) -> None:
        while len(self.backend.waiting) < count:
            await trio.testing.wait_all_tasks_blocked()

    def disconnects(self, cause: str) -> bool:
        return f'samtala_client_disconnects_total{{reason="{cause}"}} 1.0' in self.backend.metrics.render().decode()


@asynccontextmanager
async def world_of(backend: LocalBackend) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        yield World(backend, nursery)
        nursery.cancel_scope.cancel()


async def test_append_is_acknowledged_and_delivered_over_the_wire(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        writer, reader = await world.member(), await world.member()
        await reader.call(Subscribe(1, ROOM_ID, Sequence(0)), Subscribed)
        session = await world.session(writer)

        await writer.say(append(session, 1, app(0, 2), app(0)))
        await world.submitted(2)
        backend.commit()

        appended = await writer.hear(Appended)
        assert [number for number, _ in appended.results] == [1, 2]
        assert [d.first_sequence for d in await reader.delivered(2)] == [1, 3]


async def test_pipelined_hello_and_calls_in_one_chunk_are_answered_in_order(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        client = await world.connect(hello=False)

        await client.say(Hello(1, CLIENT_NONCE), Ping(1), CreateRoom(2, b"genesis"), Ping(3), CreateRoom(4, b"bad"))

        await client.hear(ServerHello)
        assert (await client.hear(Pong)).id == 1
        assert (await client.hear(RoomCreated)).id == 2
        assert (await client.hear(Pong)).id == 3
        refused = await client.hear(Refused)
        assert (refused.id, refused.code) == (4, RefusalCode.MALFORMED)
        assert world.created == [b"genesis"]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\xff\xff\xff\xff", "frame"),
        (b"\x00\x00\x00\x00", "frame"),
        ((wire_limits.FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 100, "frame"),
        (encode_frame(b"\xc1"), "decode"),
        (encode_frame(b"\x92\xcd\x03\xe7\x00"), "decode"),
        (encode_frame(encode(Ping(1)) + b"\x00"), "decode"),
        (encode_frame(encode(Pong(1))), "out_of_order"),
        (encode_frame(encode(CreateRoom(1, b"x"))), "out_of_order"),
    ],
)
async def test_broken_frames_close_the_connection_with_a_cause_and_harm_no_room(
    backend: LocalBackend, data: bytes, cause: str
) -> None:
    room = backend.rooms.get(ROOM_ID)
    assert room is not None
    before = room.service.snapshot()
    async with world_of(backend) as world:
        client = await world.connect(hello=False)

        await client.say_raw(data)

        await client.closed()
        await trio.testing.wait_all_tasks_blocked()
        assert world.disconnects(cause)
        assert room.service.snapshot() == before
        assert world.created == []
        await (await world.connect()).call(Ping(1), Pong)


async def test_other_version_is_told_before_the_connection_closes(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        client = await world.connect(hello=False)

        await client.say(Hello(7, CLIENT_NONCE))

        [refused] = await client.closed()
        assert isinstance(refused, Refused)
        assert refused.code is RefusalCode.VERSION


async def test_catch_up_reads_history_page_by_page_and_joins_the_present(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        world.history = [Delivery(Sequence(n), n, 256, n, app(0)) for n in range(1, 8)]
        room = backend.rooms.get(ROOM_ID)
        assert room is not None
        room.feed.next_sequence = Sequence(8)
        reader = await world.member()

        await reader.say(Subscribe(1, ROOM_ID, Sequence(0)))
        await reader.delivered(7)
        room.feed.publish([Delivery(Sequence(8), 8, 256, 8, app(0))])

        assert [d.first_sequence for d in await reader.delivered(8)] == list(range(1, 9))
        assert world.history_reads == 4


async def test_history_that_lags_is_asked_again_until_it_is_there(
    backend: LocalBackend, autojump_clock: MockClock
) -> None:
    async with world_of(backend) as world:
        room = backend.rooms.get(ROOM_ID)
        assert room is not None
        room.feed.next_sequence = Sequence(2)
        reader = await world.member()
        await reader.call(Subscribe(1, ROOM_ID, Sequence(0)), Subscribed)
        await reader.call(Ping(1), Pong)
        assert reader.deliveries == []

        world.history = [Delivery(Sequence(1), 1, 256, 1, app(0))]

        await reader.delivered(1)


async def test_rotted_history_ends_the_connection_and_not_the_node(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        room = backend.rooms.get(ROOM_ID)
        assert room is not None
        room.feed.next_sequence = Sequence(2)
        world.history_error = HistoryGapError("rot")
        reader = await world.member()

        await reader.say(Subscribe(1, ROOM_ID, Sequence(0)))

        await reader.closed()
        await trio.testing.wait_all_tasks_blocked()
        assert world.disconnects("history_gap")


async def test_silent_client_is_cut_as_idle_and_pinging_one_is_not(
    backend: LocalBackend, autojump_clock: MockClock
) -> None:
    async with world_of(backend) as world:
        silent, lively = await world.connect(), await world.connect()

        for call in range(6):
            await trio.sleep(wire_limits.IDLE_S_MAX / 3)
            await lively.call(Ping(call), Pong)

        await silent.closed()
        assert world.disconnects("idle")
        assert len(world.server) == 1


async def test_reader_that_takes_nothing_is_cut_with_a_bounded_queue(
    backend: LocalBackend, autojump_clock: MockClock
) -> None:
    async with world_of(backend) as world:
        stuck, quick = await world.member(lockstep=True), await world.member()
        for reader in (stuck, quick):
            await reader.call(Subscribe(1, ROOM_ID, Sequence(0)), Subscribed)
        room = backend.rooms.get(ROOM_ID)
        assert room is not None

        for number in range(1, 120):
            room.feed.publish([Delivery(Sequence(number), 1, 256, number, app(0, fill=b"x" * 60_000))])
            await quick.delivered(number)

        assert world.server.send_queue_bytes <= limits.SEND_QUEUE_BYTES_MAX + 100_000
        await trio.sleep(limits.SEND_STALL_S_MAX + 2 * limits.SWEEP_S)
        assert world.disconnects("slow_reader")
        assert len(world.server) == 1


async def test_client_that_floods_calls_without_reading_is_not_read_any_more(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        flood = await world.connect(lockstep=True)
        [connection] = world.server._connections
        connection.edge.outbox.bytes_max = 10_000
        pings = b"".join(encode_frame(encode(Ping(n))) for n in range(2_000))

        async with trio.open_nursery() as nursery:
            sent: list[int] = []
            nursery.start_soon(keep_sending, flood, pings, sent)
            await trio.testing.wait_all_tasks_blocked()
            assert len(sent) < 20
            assert connection.edge.outbox.bytes_now < 200_000
            nursery.cancel_scope.cancel()


async def keep_sending(client: NetworkClient, data: bytes, sent: list[int]) -> None:
    while True:
        await client.say_raw(data)
        sent.append(len(data))


async def test_drain_waits_for_appends_in_flight_then_ends_all_connections(
    backend: LocalBackend, autojump_clock: MockClock
) -> None:
    async with world_of(backend) as world:
        member, idler = await world.member(), await world.connect()
        session = await world.session(member)
        await member.say(append(session, 1, app(0)))
        await world.submitted(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.server.drain)
            assert (await member.hear(Refused)).code is RefusalCode.DRAINING
            assert [type(message) for message in await idler_until_draining(idler)] == [Refused]
            assert len(world.server) == 2
            backend.commit()
            await member.hear(Appended)
            await member.closed()
            await idler.closed()

        assert len(world.server) == 0


async def idler_until_draining(idler: NetworkClient) -> list[Refused]:
    return [await idler.hear(Refused)]


async def test_vanished_client_leaves_no_trace(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        member = await world.member()
        await member.call(Subscribe(1, ROOM_ID, Sequence(0)), Subscribed)
        session = await world.session(member)
        await member.say(append(session, 1, app(0)))
        await world.submitted(1)

        await trio.aclose_forcefully(member.tls._stream)
        await trio.testing.wait_all_tasks_blocked()

        room = backend.rooms.get(ROOM_ID)
        assert room is not None
        assert (len(world.server), room.feed.live_count, room.routes) == (0, 0, {})
        assert backend.forgotten == [session]


async def test_where_the_log_ends_is_told_when_a_majority_has_said_so(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        world.may_read_tip = trio.Event()
        reader = await world.member()
        await reader.call(Subscribe(1, ROOM_ID, Sequence(0)), Subscribed)
        await reader.call(Subscribe(2, ROOM_ID, Sequence(0)), Subscribed)
        await reader.call(Ping(3), Pong)
        assert world.tips_read == 0

        world.may_read_tip.set()

        await trio.testing.wait_all_tasks_blocked()
        await reader.call(Ping(4), Pong)
        assert [(tip.id, tip.next_sequence) for tip in reader.tips] == [(2, 1)]
        assert world.tips_read == 2  # What was asked for the first subscription is too old for the second.


async def test_who_unsubscribed_is_not_told_where_the_log_ends(backend: LocalBackend) -> None:
    async with world_of(backend) as world:
        world.may_read_tip = trio.Event()
        reader = await world.member()
        await reader.call(Subscribe(1, ROOM_ID, Sequence(0)), Subscribed)
        await reader.call(Unsubscribe(2, ROOM_ID), Done)

        world.may_read_tip.set()
        await trio.testing.wait_all_tasks_blocked()
        await reader.call(Ping(3), Pong)

        assert world.tips_read == 1
        assert reader.tips == []
