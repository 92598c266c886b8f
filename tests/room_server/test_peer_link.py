from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from room_server import limits
from room_server.feed import RingBudget
from room_server.genesis_sync import GenesisSync, OfferedRoom
from room_server.peer_link import PeerLink
from room_server.rooms import HostedRoom, Rooms
from tests.room_server.builders import genesis
from tests.room_server.epochs import begin, moved_room
from tests.wire.certificates import identity
from vr.errors import PeerError as VrPeerError
from vr.types import ReplicaId
from wire.frames import FrameDecoder, encode_frame
from wire.identity import NodeIdentity
from wire.ids import NodeKey
from wire.messages import PeerFrame, Ping, Pong, RelayAsk, encode
from wire.peer_messages import ClusterMessage
from wire.room import GenesisMember, encode_genesis
from wire.tls import TlsConnection, accept, connect_over, server_context

IDENTITY = NodeIdentity(b"i" * 32)
A, B = (NodeKey(b"A" * 32), ReplicaId(b"a" * 16)), (NodeKey(b"B" * 32), ReplicaId(b"b" * 16))


class Receiver:
    """What one side's host hears."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def receive(self, peer: ReplicaId, frame: bytes) -> None:
        if frame == b"malformed":
            raise VrPeerError("malformed")
        self.frames.append(frame)

    def peer_connected(self, peer: ReplicaId) -> None:
        raise AssertionError("links are reported by PeerLinks")

    def peer_disconnected(self, peer: ReplicaId) -> None:
        raise AssertionError("links are reported by PeerLinks")


class Side:
    """One end of a link, and whether it has ended."""

    def __init__(self, tls: TlsConnection, own: tuple[NodeKey, ReplicaId], peer: tuple[NodeKey, ReplicaId]) -> None:
        self.receiver = Receiver()
        self.rooms = Rooms(RingBudget())
        self.tls = tls
        self.has_ended = False
        self.epochs_learnt: list[HostedRoom] = []
        self.clusters_told: list[ClusterMessage] = []
        self.asked: list[bytes] = []
        self.link = PeerLink(
            tls,
            FrameDecoder(),
            name="peer",
            replica_id=peer[1],
            sync=GenesisSync(self.rooms, own=own, peer=peer),
            host=self.receiver,
            host_room=self._host_room,
            on_relay_ask=self.asked.append,
            on_epochs=self.epochs_learnt.append,
            on_cluster=self.clusters_told.append,
            wall_us=lambda: 5_000_000,
        )

    async def _host_room(self, offered: OfferedRoom) -> None:
        await trio.lowlevel.checkpoint()
        self.rooms.add(offered.genesis, offered.encoded_genesis).book = offered.book

    async def run(self) -> None:
        await self.link.run(())
        self.has_ended = True


@asynccontextmanager
async def linked(*, lockstep: bool = False) -> AsyncIterator[tuple[Side, Side]]:
    near, far = lockstep_stream_pair() if lockstep else memory_stream_pair()
    ends: list[TlsConnection] = []
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            ends.append(await accept(far, server_context(IDENTITY)))

        nursery.start_soon(answer)
        ends.insert(0, await connect_over(near, IDENTITY.public))
    async with trio.open_nursery() as nursery:
        first, second = Side(ends[0], A, B), Side(ends[1], B, A)
        nursery.start_soon(first.run)
        if not lockstep:
            nursery.start_soon(second.run)
        yield first, second
        nursery.cancel_scope.cancel()


async def test_an_ask_to_come_is_handed_on() -> None:
    async with linked() as (a, b):
        a.link.say([RelayAsk(b"t" * 16)])

        await wait_all_tasks_blocked()
        assert b.asked == [b"t" * 16]


async def test_frames_cross_in_order_both_ways() -> None:
    async with linked() as (a, b):
        for n in range(50):
            assert a.link.send(b"%d" % n)
        assert b.link.send(b"back")
        await wait_all_tasks_blocked()

        assert b.receiver.frames == [b"%d" % n for n in range(50)]
        assert a.receiver.frames == [b"back"]


async def test_peer_that_does_not_read_gets_a_bounded_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked(lockstep=True) as (a, _):
        sent = 0
        while a.link.send(b"x" * 500_000):
            sent += 1
            assert sent < 100
        await wait_all_tasks_blocked()

        assert sent * 500_000 >= limits.PEER_QUEUE_BYTES_MAX


async def test_room_created_while_a_peer_was_away_is_hosted_when_it_comes() -> None:
    record = genesis(members=tuple(GenesisMember(replica, key, "h", 1) for key, replica in (A, B)))
    async with linked() as (a, b):
        room = a.rooms.add(record, encode_genesis(record))

        a.link.say(a.link.sync.announce([room]))
        await wait_all_tasks_blocked()

        assert [room.encoded_genesis for room in b.rooms] == [encode_genesis(record)]


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(encode(Pong(1))),
        encode_frame(encode(PeerFrame(b"malformed"))),
        encode_frame(b"\xc1"),
        b"\xff\xff\xff\xff",
    ],
)
async def test_broken_frame_ends_the_link_and_nothing_else(data: bytes) -> None:
    async with linked() as (a, b):
        await a.tls.send(data)
        await wait_all_tasks_blocked()

        assert b.has_ended
        assert b.receiver.frames == []


async def test_signs_of_life_keep_a_link_and_silence_ends_it(autojump_clock: MockClock) -> None:
    async with linked() as (a, b):
        for _ in range(5):
            await trio.sleep(limits.PEER_SILENCE_S_MAX / 2)
            a.link.say([Ping(0)])
            await wait_all_tasks_blocked()
            b.link.sweep(trio.current_time())
        assert not b.has_ended

        await trio.sleep(limits.PEER_SILENCE_S_MAX + 1)
        b.link.sweep(trio.current_time())
        await wait_all_tasks_blocked()

        assert b.has_ended


async def test_peers_tell_each_other_what_they_signed() -> None:
    async with linked() as (a, b):
        record = moved_room()
        one, other = (side.rooms.add(record, encode_genesis(record)) for side in (a, b))
        begin(one.book, record, 1)
        begin(other.book, record, 2)
        assert not one.book.certificates

        link_sync = GenesisSync(a.rooms, own=A, peer=(identity(2).public, b"b" * 16))
        a.link.say(link_sync.tell_epochs([one]))
        await wait_all_tasks_blocked()

        assert b.epochs_learnt == [other]
        assert len(other.book.certificates) == 1


async def test_clock_of_a_peer_that_tells_it_is_compared() -> None:
    async with linked() as (a, b):
        b.link.say([Ping(0)])
        await wait_all_tasks_blocked()
        assert a.link.clock_offset_s is None

        b.link.say([Ping(5_750_000)])
        await wait_all_tasks_blocked()
        assert a.link.clock_offset_s == 0.75

        a.link.say([Ping(3_000_000)])
        await wait_all_tasks_blocked()
        assert b.link.clock_offset_s == -2.0
