"""A standing connection to a room on whichever of its servers answers: opaque entries in, deliveries out. No MLS.

    append ─▶ AppendWindow ─▶ writer ─▶ ┌────────┐ ─▶ reader ─▶ answers to appends and calls
                    ▲                   │ server │            └▶ events: deliveries, changes of state
    keys_changed ─▶ RoomProtocol ─────▶ └────────┘   (bounded in bytes: a slow consumer stops the reading)

This is the shell: sockets, tasks, time. What is said to a server and made of its answers is in `client.room_protocol`,
numbers and resends in `client.append_window`. When a connection ends, the next server is tried at once, then with growing
pauses. On the new one everything unanswered is sent again under its old number, and delivery resumes behind the last
block that was given out: no gap, no double, whatever was cut. What an entry means is the owner's affair; so are the keys.

Somebody must take the `events`: a server's answers come in the same stream as its deliveries.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import trio

from client import connection_limits as limits
from client.append_window import AppendWindow, EntryTicket, SessionState, Ticket
from client.connection_events import ConnectionState, Event, EventQueue, StateChanged
from client.errors import RefusedError, StaleEpochError, UnavailableError, UsageError
from client.liveness import Liveness, Verdict
from client.room_protocol import (
    Alarm,
    CallTicket,
    Deliveries,
    Keys,
    RoomProtocol,
    ServersMoved,
    ServerUnfitError,
)
from client.standstill import Standstill
from wire import limits as wire_limits
from wire.certificate import RoomServers
from wire.channel import ClientChannel, connect_channel
from wire.errors import ClosedError, DecodeError, PeerError
from wire.identity import ServerAddress
from wire.ids import ClientId, RoomEpoch, RoomId
from wire.ids import Sequence as EntrySequence
from wire.messages import GetRoomStatus, Message, Refused, RoomStatus
from wire.room import BlockResult, ResultKind, chain_start, decode_block_header, needed_proof

__all__ = [
    "Alarm", "ConnectionState", "Deliveries", "Event", "Keys", "PendingAppend", "PendingEntry",
    "RoomConnection", "ServerAddress", "ServersMoved", "SessionState", "StateChanged", "open_room_connection",
]  # fmt: skip

AGENT: Final = "samtala-client"
READ_ONLY_TEXT: Final = "no majority of the room's servers: read-only"
FIRST: Final = EntrySequence(0)
"""Before everything: deliver from the beginning."""

Refresh: TypeAlias = Callable[[], Awaitable[Sequence[ServerAddress]]]
"""Finds the room's servers again."""

_JITTER: Final = random.SystemRandom()


class PendingAppend(Ticket):
    """A block on its way. `number` is its request number in the session, 0 until it has one."""

    __slots__ = ()

    async def result(self) -> BlockResult:
        """The room's answer, whatever it is; ACCEPTED means durable at a majority.

        Raises:
            OutcomeUnknownError: it was sent, and its session or the connection was lost for good.
            UnavailableError: it was never sent.
        """
        await _done(self)
        assert self.result_now is not None
        return self.result_now


class PendingEntry(EntryTicket):
    """An entry on its way."""

    __slots__ = ()

    async def result(self) -> BlockResult:
        """The room's answer with the entry's own sequence; ACCEPTED means durable at a majority.

        Raises:
            OutcomeUnknownError, UnavailableError: see `PendingAppend.result`.
        """
        await _done(self)
        assert self.result_now is not None
        return BlockResult(self.result_now.kind, EntrySequence(self.sequence), self.result_now.epoch)


async def _done(ticket: Ticket | EntryTicket | CallTicket) -> None:
    """Wait for the outcome and raise it if it is a failure. One event per waiter that really waits."""
    if not ticket.is_done:
        event = trio.Event()
        earlier = ticket.on_done
        ticket.on_done = event.set if earlier is None else _both(earlier, event.set)
        await event.wait()
    if ticket.failure is not None:
        raise ticket.failure()


def _both(first: Callable[[], object], second: Callable[[], object]) -> Callable[[], object]:
    def call() -> None:
        first()
        second()

    return call


class RoomConnection:
    """See the module. Made by `open_room_connection`; belongs to one task tree.

    Attributes:
        state: of now; changes come as events too.
        server: that is connected or tried.
        failures: how each server failed last, `HOST:PORT: reason`.
        restored: the blocks that a given session state left unanswered; their outcomes come like all others'.
    """

    def __init__(
        self, servers: Sequence[ServerAddress], *, protocol: RoomProtocol, window: AppendWindow, refresh: Refresh | None
    ) -> None:
        self.room_id = protocol.room_id
        self.client_id = window.client_id
        self.state = ConnectionState.CONNECTING
        self.server: ServerAddress | None = None
        self.restored = tuple(ticket for ticket in window.unanswered.values() if isinstance(ticket, PendingAppend))
        self.set_servers(servers)
        self._refresh = refresh
        self._failures: dict[ServerAddress, str] = {}
        self._protocol = protocol
        self._window = window
        self._events = EventQueue()
        self._wake = trio.Event()
        self._live = trio.Event()
        self._caught_up = trio.Event()
        self._freed = trio.Event()
        self._alarm: Alarm | None = None
        self._liveness = Liveness(-math.inf)
        self._standstill = Standstill()
        self._is_read_only = False
        self._is_left_behind = False
        self._timer = trio.CancelScope()

    # --- for the owner -------------------------------------------------------------------------------------------

    @property
    def failures(self) -> tuple[str, ...]:
        """How each server failed last."""
        return tuple(f"{server.host}:{server.port}: {reason}" for server, reason in self._failures.items())

    @property
    def hindrance(self) -> str:
        """Why blocks have to wait, in words for a person; empty if they do not."""
        return self._protocol.hindrance

    @property
    def spare_failures(self) -> int | None:
        """Servers that the room may lose before it stops, as ours says; -1: read-only; None: not known yet."""
        return self._protocol.spare_failures

    @property
    def after(self) -> EntrySequence:
        """The last sequence that was given out."""
        return self._protocol.after

    @property
    def chain(self) -> bytes | None:
        """The hash over all history through `after`; None if it is not tracked."""
        return self._protocol.chain

    @property
    def session(self) -> SessionState:
        """The session as it stands, to be given to a later `open_room_connection`."""
        return self._window.state

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncIterator[Event]]:
        """`events` for the length of a block, after which the connection is closed. They are read to their end then, so that the
        generator leaves nothing for the garbage collector to complain about.
        """
        events = self.events()
        try:
            yield events
        finally:
            self.close()
            with trio.move_on_after(limits.CLOSE_S_MAX, shield=True):
                async for _ in events:
                    continue

    @property
    def servers(self) -> list[ServerAddress]:
        """Those that are tried."""
        return list(self._servers)

    def set_servers(self, servers: Sequence[ServerAddress]) -> None:
        """The room has moved; takes effect with the next connection."""
        assert servers, "a room has servers"
        self._servers = list(servers[: limits.SERVERS_MAX])

    def owner_says(self, known: RoomServers, servers: Sequence[ServerAddress]) -> None:
        """The room's owner names these servers; older words than what we know are passed over."""
        if self._protocol.believe(known):
            self.set_servers(servers)

    def keys_changed(self) -> None:
        """We are in another epoch, or have become a member: prove it."""
        self._protocol.keys_changed()
        self._wake.set()

    def follow(self, after: EntrySequence, chain: bytes | None = None) -> None:
        """Deliver what comes after `after` from now on; for those who have just joined."""
        self._protocol.follow(after, chain)
        self._take_events()
        self._wake.set()

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order, until the connection is closed. One consumer."""
        async for event in self._events.take_all():
            yield event

    def append(self, block: bytes) -> PendingAppend:
        """Append a block (`wire.room.encode_app_block`); pipelined, sent again until answered.

        Raises:
            UsageError: not a block within limits.
            UnavailableError: the window of 32 unanswered blocks is full: `await wait_space()` first.
        """
        pending = _ticket(block)
        if not self._window.has_space:
            raise UnavailableError("too many blocks are unanswered", self.failures)
        self._window.add(pending)
        self._wake.set()
        return pending

    def append_soon(self, epoch: RoomEpoch, entry: bytes) -> PendingEntry:
        """Append one entry of `epoch`, in a block with others that are waiting.

        Raises:
            UsageError: the entry is empty or too long.
            UnavailableError: too much waits already: `await wait_space()` first.
        """
        if not 0 < len(entry) <= wire_limits.ENTRY_BYTES_MAX:
            raise UsageError(f"an entry of {len(entry)} bytes; 1 to {wire_limits.ENTRY_BYTES_MAX} are possible")
        if not self._window.has_entry_space:
            raise UnavailableError("too many entries are waiting", self.failures)
        pending = PendingEntry(epoch, entry)
        self._window.add_entry(pending)
        self._wake.set()
        return pending

    async def append_entry(self, epoch: RoomEpoch, entry: bytes) -> EntrySequence:
        """Append one entry and wait until a majority has it on disk. If cancelled, it may be appended all the same.

        Raises:
            StaleEpochError: the room is in another epoch.
            RefusedError: the room answered something else than ACCEPTED.
            OutcomeUnknownError, UnavailableError, UsageError: see `PendingAppend.result`.
        """
        while not self._window.has_entry_space:
            await self._wait_freed()
        result = await self.append_soon(epoch, entry).result()
        if result.kind is ResultKind.STALE:
            raise StaleEpochError(result.epoch)
        if result.kind is not ResultKind.ACCEPTED:
            raise RefusedError(f"the room refuses it as {result.kind.name.lower()}")
        return result.sequence

    async def wait_space(self) -> None:
        """Wait until both a block and an entry may be appended."""
        while not (self._window.has_space and self._window.has_entry_space):
            await self._wait_freed()

    async def _wait_freed(self) -> None:
        if self._freed.is_set():
            self._freed = trio.Event()
        await self._freed.wait()

    async def wait_live(self) -> None:
        """Return when the connection is live."""
        while self.state is not ConnectionState.LIVE:
            await self._live.wait()

    @property
    def is_caught_up(self) -> bool:
        """Everything that anybody was promised before this connection was made has been given to `events`."""
        return self._protocol.is_caught_up

    async def wait_caught_up(self) -> None:
        """Return when that is so."""
        while not self._protocol.is_caught_up:
            await self._caught_up.wait()

    async def call(self, build: Callable[[int], Message]) -> Message:
        """Ask the server something that may be asked twice: `build` makes the message for a call id.

        Raises:
            RefusedError: it says no.
            UnavailableError: no answer within CALL_S_MAX seconds, or too many questions at once.
        """
        if not self._protocol.can_call:
            raise UnavailableError("too many questions at once", self.failures)
        ticket = CallTicket(build)
        self._protocol.call(ticket)
        self._wake.set()
        try:
            with trio.move_on_after(limits.CALL_S_MAX):
                await _done(ticket)
        finally:
            self._protocol.drop_call(ticket)
        answer = ticket.answer
        if answer is None:
            raise UnavailableError("no answer", self.failures)
        if isinstance(answer, Refused):
            raise RefusedError(answer.text, answer.code)
        return answer

    async def status(self) -> RoomStatus:
        """The room as our server sees it.

        Raises:
            RefusedError, UnavailableError: see `call`.
        """
        answer = await self.call(lambda number: GetRoomStatus(number, self.room_id))
        if not isinstance(answer, RoomStatus):
            raise UnavailableError("the server answers something else", self.failures)
        return answer

    # --- connections, one after the other ------------------------------------------------------------------------

    async def run(self) -> None:
        """Be connected until cancelled."""
        failed_in_a_row = turn = 0
        while True:
            server = self._servers[turn % len(self._servers)]
            turn += 1
            was_steady = await self._attempt(server)
            failed_in_a_row = 0 if was_steady else failed_in_a_row + 1
            if failed_in_a_row >= len(self._servers):
                rounds = min(failed_in_a_row // len(self._servers), 10)
                pause_s = min(limits.BACKOFF_S_MIN * 2**rounds, limits.BACKOFF_S_MAX)
                await trio.sleep(pause_s * _JITTER.uniform(0.5, 1.0))
                if self._refresh is not None and failed_in_a_row % len(self._servers) == 0:
                    self.set_servers(await self._refresh())

    async def _attempt(self, server: ServerAddress) -> bool:
        """Connect to one server and stay as long as that lasts; tells whether that was long."""
        self.server = server
        self._tell(ConnectionState.CONNECTING, f"trying {server.host}:{server.port}")
        begun_at = math.inf
        reason = f"no answer within {limits.CONNECT_S_MAX:.0f} s"
        try:
            channel = None
            with trio.move_on_after(limits.CONNECT_S_MAX):
                dialled_at = trio.current_time()
                channel = await connect_channel(server, agent=AGENT)
                begun_at = trio.current_time()
                self._liveness = Liveness(begun_at, connect_s=begun_at - dialled_at)
            if channel is not None:
                await self._converse(channel)
        except* PeerError as group:
            reason = _first_text(group)
        self._failures.pop(server, None)
        self._failures[server] = reason
        if len(self._failures) > limits.SERVERS_MAX:
            del self._failures[next(iter(self._failures))]
        was_live = self._live.is_set()
        if was_live:  # Those who wait for an event that was never set go on waiting for it.
            self._live = trio.Event()
        if self._caught_up.is_set():
            self._caught_up = trio.Event()
        self._tell(ConnectionState.OFFLINE, reason)
        return was_live and trio.current_time() - begun_at >= limits.STEADY_S

    async def _converse(self, channel: ClientChannel) -> None:
        assert self.server is not None, "set by _attempt"
        self._standstill.begin(self.server, self._servers)
        self._is_read_only = self._is_left_behind = False
        self._protocol.connected(channel.proof)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, channel)
                nursery.start_soon(self._write, channel)
                nursery.start_soon(self._watch)
        finally:
            self._protocol.disconnected()
            await channel.aclose()

    async def _read(self, channel: ClientChannel) -> None:
        protocol, liveness = self._protocol, self._liveness
        messages = channel.early
        while True:
            try:
                protocol.received(messages, trio.current_time())
            finally:
                self._after_step()
            if self._is_left_behind:
                raise ServerUnfitError("the room has moved to other servers")
            if self._events.is_full:
                await self._events.wait_drained()
            messages = await channel.receive()
            liveness.heard_at = trio.current_time()

    def _after_step(self) -> None:
        if self._protocol.events:
            self._take_events()
        if self._protocol.is_live and self.state is not ConnectionState.LIVE:
            self._tell(ConnectionState.LIVE, "connected")
            self._live.set()
        if self._protocol.is_caught_up:
            self._caught_up.set()
        self._note_condition()
        self._freed.set()
        if self._protocol.wants_output:
            self._wake.set()
        self._look_earlier()

    def _note_condition(self) -> None:
        """See whether the server gets anything done, and say so when that changes."""
        protocol, spare = self._protocol, self._protocol.spare_failures
        can_append = None if spare is None else spare >= 0
        self._standstill.note(
            trio.current_time(), answers=protocol.answers, is_appending=protocol.is_appending, can_append=can_append
        )
        is_read_only = can_append is False
        if is_read_only is not self._is_read_only:
            self._is_read_only = is_read_only
            if protocol.is_live:
                self._tell(ConnectionState.LIVE, READ_ONLY_TEXT if is_read_only else "connected")

    def _take_events(self) -> None:
        events, self._protocol.events = self._protocol.events, []
        for event in events:
            if isinstance(event, Alarm):
                self._alarm = event
                continue
            if isinstance(event, ServersMoved):
                self._move(event.known)
            self._events.put(event)

    def _move(self, known: RoomServers) -> None:
        """Go where the room is now; all its clients do, so each in an order of its own."""
        addresses = known.addresses
        if addresses:
            self.set_servers(_JITTER.sample(addresses, len(addresses)))
        self._is_left_behind = self.server is not None and self.server.node_key not in known.node_keys

    def _due(self) -> float:
        is_waiting = self._protocol.is_waiting
        if is_waiting != self._liveness.is_waiting:
            self._liveness.wait(trio.current_time(), is_waiting)
        return min(self._protocol.wake_at, self._liveness.due, self._standstill.leave_at)

    def _look_earlier(self) -> None:
        """The timer may have something to watch before it would look."""
        due = self._due()
        if due < self._timer.deadline:
            self._timer.deadline = due

    async def _write(self, channel: ClientChannel) -> None:
        while True:
            data = self._protocol.take_output()
            if data:
                self._freed.set()
                self._note_condition()
                self._look_earlier()
                await channel.send_encoded(data)
            else:
                self._wake = trio.Event()
                await self._wake.wait()

    async def _watch(self) -> None:
        """Call the protocol back when it wants that, and notice a server that fell silent."""
        while True:
            with trio.CancelScope(deadline=self._due()) as self._timer:
                await trio.sleep_forever()
            now = trio.current_time()
            if now >= self._standstill.leave_at:
                self._standstill.left()
                raise ServerUnfitError("cannot append: cut off from the room's other servers")
            if now >= self._protocol.wake_at:
                self._protocol.on_time(now)
            if self._events.is_full:
                self._liveness.heard_at = now  # It is us who do not listen.
            match self._liveness.check(now):
                case Verdict.ASK:
                    self._protocol.ping()
                case Verdict.GIVE_UP:
                    raise ClosedError("the server fell silent")
                case Verdict.WAIT:
                    pass
            self._wake.set()

    def _tell(self, state: ConnectionState, text: str) -> None:
        self.state = state
        alarm, self._alarm = self._alarm, None
        self._events.put(StateChanged(state, self.server, text, alarm))

    def close(self) -> None:
        """No more; what was not answered fails with what is known of it."""
        self.state = ConnectionState.CLOSED
        self._window.close()
        self._events.close()


def _ticket(block: bytes, number: int = 0) -> PendingAppend:
    try:
        header = decode_block_header(block)
        needs = needed_proof(block)
    except DecodeError as error:
        raise UsageError(f"not a block: {error}") from error
    pending = PendingAppend(block, header.epoch, needs=needs)
    pending.number = number
    return pending


def _first_text(group: BaseExceptionGroup[PeerError]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


@asynccontextmanager
async def open_room_connection(
    room_id: RoomId,
    servers: Sequence[ServerAddress],
    keys: Keys,
    *,
    client_id: ClientId,
    after: EntrySequence = FIRST,
    chain: bytes | None = None,
    is_chain_tracked: bool = True,
    session: SessionState | None = None,
    refresh: Refresh | None = None,
    known: RoomServers | None = None,
) -> AsyncIterator[RoomConnection]:
    """A connection to a room for the time of the block; connects in the background, see `events` and `wait_live`.

    Args:
        room_id: the room.
        servers: tried in this order, in turn.
        keys: of the owner; call `keys_changed` when they change.
        client_id: random, the same for this client and room as long as the session is kept.
        after: deliver what follows this sequence.
        chain: the hash over all history through `after`; without it, it is tracked from the beginning of the room only.
        is_chain_tracked: compare histories with the servers'; costs 2 µs a block and 1 µs a KiB.
        session: of an earlier run.
        refresh: finds the servers again, called after each round in which all failed.
        known: whom to believe where the room is; its successors are followed and told as `ServersMoved`.
    """
    kept = session or SessionState(0, 1)
    restored = [_ticket(block, number) for number, block in kept.unanswered]
    window = AppendWindow(client_id, session=kept.session, next_number=kept.next_number, restored=restored)
    if chain is None and after == FIRST:
        chain = chain_start(room_id)
    protocol = RoomProtocol(room_id, keys, window, after=after, chain=chain if is_chain_tracked else None, known=known)
    connection = RoomConnection(servers, protocol=protocol, window=window, refresh=refresh)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        try:
            yield connection
        finally:
            connection.close()
            nursery.cancel_scope.cancel()
