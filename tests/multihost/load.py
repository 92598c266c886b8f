"""People who talk: connections that keep a few entries in flight, and readers of the whole room.

A member sends opaque entries at a steady pace, never more than WINDOW unanswered. It may be told to die: its connection
is dropped as it is, what was unanswered has an unknown outcome, and it comes back as another client that goes on
reading where the old one was.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from bench.rooms import EPOCH, BenchRoom
from client.connection import (
    Deliveries,
    Event,
    PendingEntry,
    RoomConnection,
    ServersMoved,
    StateChanged,
    open_room_connection,
)
from client.errors import OutcomeUnknownError, SamtalaError
from tests.multihost.journal import Attempt, Gap, Journal, Outcome, Reader
from wire.certificate import RoomServers
from wire.ids import ClientId
from wire.ids import Sequence as EntrySequence
from wire.messages import RoomStatus
from wire.room import BlockKind, ResultKind, decode_block_header, decode_entries

WINDOW = 16
BURST_MAX = 4
PAUSE_S_MAX = 0.1
ENTRY_BYTES_MAX = 400
READ_S_MAX = 60.0


class Member:
    """One of those who talk. `gap`: of its own acknowledgements."""

    def __init__(
        self, place: int, room: BenchRoom, journal: Journal, on_ack: Callable[[float], None], known: RoomServers | None
    ) -> None:
        self.place = place
        self.gap = Gap(trio.current_time())
        self.acked = 0
        self.alarms: list[str] = []
        self.connection: RoomConnection | None = None
        self._room = room
        self._known = known
        self._journal = journal
        self._on_ack = on_ack
        self._reader = Reader(f"member {place}")
        self._incarnation = 0
        self._in_flight = 0
        self._talks = True
        self._scope = trio.CancelScope()

    def die(self) -> None:
        """Drop everything and come back as another client."""
        self._scope.cancel()

    def hush(self) -> None:
        """Send nothing more."""
        self._talks = False

    @property
    def is_quiet(self) -> bool:
        """Nothing is unanswered."""
        return self._in_flight == 0

    async def live(self, seed: int) -> None:
        """Talk and listen until cancelled."""
        rng = random.Random(seed)
        after, chain = EntrySequence(0), None
        while True:
            servers = self._room.servers if self._known is None else tuple(self._known.addresses)
            first = (self.place + self._incarnation) % len(servers)
            async with open_room_connection(
                self._room.room_id,
                servers[first:] + servers[:first],
                self._room.keys,
                client_id=ClientId(secrets.token_bytes(16)),
                after=after,
                chain=chain,
                known=self._known,
            ) as connection:
                self.connection = connection
                with trio.CancelScope() as self._scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._listen, connection)
                        nursery.start_soon(self._talk, connection, rng)
            async for event in connection.events():  # What was given out and not taken yet.
                self._take(event)
            after, chain = connection.after, connection.chain
            self._incarnation += 1

    async def _listen(self, connection: RoomConnection) -> None:
        async for event in connection.events():
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Deliveries):
            read(self._journal, self._reader, event)
        elif isinstance(event, ServersMoved):
            self._known = event.known
        elif event.alarm is not None:
            self.alarms.append(event.alarm.text)

    async def _talk(self, connection: RoomConnection, rng: random.Random) -> None:
        client = self.place + 1000 * self._incarnation
        while self._talks:
            for _ in range(rng.randint(1, BURST_MAX)):
                if self._in_flight < WINDOW:
                    attempt, number = self._journal.attempted(client)
                    entry = number + bytes(rng.randrange(ENTRY_BYTES_MAX))
                    pending = connection.append_soon(EPOCH, entry)
                    pending.on_done = partial(self._done, attempt, pending)
                    self._in_flight += 1
            await trio.sleep(rng.uniform(0, PAUSE_S_MAX))

    def _done(self, attempt: Attempt, pending: PendingEntry) -> None:
        self._in_flight -= 1
        if pending.failure is not None:
            is_unknown = isinstance(pending.failure(), OutcomeUnknownError)
            attempt.outcome = Outcome.UNKNOWN if is_unknown else Outcome.REFUSED
        elif pending.result_now is not None and pending.result_now.kind is ResultKind.ACCEPTED:
            now = trio.current_time()
            self.acked += 1
            self._journal.acknowledged(attempt, pending.sequence)
            self.gap.acknowledged(now)
            self._on_ack(now)
        else:
            attempt.outcome = Outcome.REFUSED


def read(journal: Journal, reader: Reader, event: Deliveries) -> None:
    """Enter deliveries into the journal."""
    for delivery in event.deliveries:
        if decode_block_header(delivery.block).kind is not BlockKind.APP:
            reader.highest = max(reader.highest, delivery.first_sequence)  # The room's own: it moves.
            continue
        for offset, entry in enumerate(decode_entries(delivery.block)):
            journal.delivered(reader, delivery.first_sequence + offset, entry)


async def read_all(room: BenchRoom, place: int, journal: Journal) -> list[str]:
    """Read the whole room from one server alone, through all that is known to be there; what it contradicts itself in.

    Gives up after READ_S_MAX seconds: what is missing then is lost.
    """
    reader = journal.full_reader(f"server {place}")
    alarms: list[str] = []
    async with open_room_connection(
        room.room_id, (room.servers[place],), room.keys, client_id=ClientId(secrets.token_bytes(16))
    ) as connection:
        with trio.move_on_after(READ_S_MAX):
            async for event in connection.events():
                if isinstance(event, Deliveries):
                    read(journal, reader, event)
                elif isinstance(event, StateChanged) and event.alarm is not None:
                    alarms.append(event.alarm.text)
                if reader.highest >= journal.highest and connection.is_caught_up:
                    break
    return alarms


async def ask_primary(room: BenchRoom, members: list[Member]) -> int | None:
    """Which server leads the room: the primary of the highest view that anybody knows of."""
    best: RoomStatus | None = None

    async def ask(connection: RoomConnection) -> None:
        nonlocal best
        try:
            answer = await connection.status()
        except SamtalaError:
            return
        if best is None or answer.view > best.view:
            best = answer

    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            for member in members:
                if member.connection is not None:
                    nursery.start_soon(ask, member.connection)
    keys = [server.node_key for server in room.servers]
    return keys.index(best.primary) if best is not None and best.primary in keys else None


@asynccontextmanager
async def talking(
    room: BenchRoom,
    journal: Journal,
    on_ack: Callable[[float], None],
    *,
    count: int,
    rng: random.Random,
    known: RoomServers | None = None,
) -> AsyncIterator[list[Member]]:
    """Members who talk for the time of the block."""
    members = [Member(place, room, journal, on_ack, known) for place in range(count)]
    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(member.live, rng.getrandbits(32))
        yield members
        nursery.cancel_scope.cancel()
