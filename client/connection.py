"""A standing connection to a room on whichever of its servers answers: opaque entries in, deliveries out. No MLS.

    append ─▶ AppendWindow ─▶ writer ─▶ ┌────────┐ ─▶ reader ─▶ answers to appends and calls
                                        │ server │            └▶ events: deliveries, changes of state
    keys_changed ─▶ proofs ───────────▶ └────────┘   (bounded: a slow consumer stops the reading)

When a connection ends, the next server is tried at once, then with growing pauses. On the new one everything unanswered is
sent again under its old number, and delivery resumes behind the last entry that was given out: no gap, no double, whatever
was cut. What an entry means is the owner's affair; so are the keys, of which this module only signs with the seeds.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final, Protocol, TypeAlias

import msgspec
import trio

from client.append_window import LOST_SESSION_CODES, AppendWindow, SessionState
from client.errors import OutcomeUnknownError, RefusedError, UnavailableError
from wire import limits as wire_limits
from wire.channel import ClientChannel, connect_channel
from wire.errors import ClosedError, DecodeError, PeerError, RefusalCode
from wire.identity import ServerAddress
from wire.ids import ClientId, RoomEpoch, RoomId
from wire.ids import Sequence as EntrySequence
from wire.messages import (
    Append,
    Appended,
    AppendRefused,
    Deliver,
    GetRoomStatus,
    Message,
    OpenSession,
    Ping,
    Pong,
    Proved,
    Purpose,
    Refused,
    RoomStatus,
    SessionOpened,
    Subscribe,
    Subscribed,
)
from wire.room import BlockResult, Delivery, ResultKind, decode_block_header, decode_result, encode_app_block

__all__ = [
    "ConnectionState", "Deliveries", "Event", "Keys", "PendingAppend", "RoomConnection", "ServerAddress",
    "SessionState", "StateChanged", "open_room_connection",
]  # fmt: skip

CONNECT_S_MAX: Final = 3.0
CALL_S_MAX: Final = 10.0
LAGGING_RETRY_S: Final = 0.05
LAGGING_TRIES_MAX: Final = 40
BACKOFF_S_MIN: Final = 0.05
BACKOFF_S_MAX: Final = 1.0
PING_BUSY_S: Final = 1.0
PING_IDLE_S: Final = 15.0
PONG_S_MAX: Final = 2.0
EVENTS_MAX: Final = 256
FAILURES_KEPT: Final = 16
AGENT: Final = "samtala-client"


class Keys(Protocol):
    """The owner's keys: 32-byte Ed25519 seeds, asked for whenever a proof is needed."""

    @property
    def epoch(self) -> RoomEpoch | None:
        """The epoch we are in, or None before joining."""

    def read_seed(self) -> bytes | None:
        """Opens reading through our epoch."""

    def write_seed(self) -> bytes | None:
        """Opens writing in our epoch."""

    def join_seed(self) -> bytes | None:
        """Opens joining."""


class ConnectionState(Enum):
    """What to tell a person honestly."""

    CONNECTING = "connecting"
    LIVE = "live"
    OFFLINE = "offline"
    CLOSED = "closed"


class Deliveries(msgspec.Struct, frozen=True, gc=False):
    """Entries in order, right behind those before; `through` is the sequence of the last."""

    deliveries: tuple[Delivery, ...]
    through: EntrySequence


class StateChanged(msgspec.Struct, frozen=True):
    """The connection's state, the server it is about, and a few words for a person."""

    state: ConnectionState
    server: ServerAddress | None
    text: str


Event: TypeAlias = Deliveries | StateChanged


class PendingAppend:
    """A block on its way."""

    __slots__ = ("_done", "_error", "_result")

    def __init__(self) -> None:
        self._done = trio.Event()
        self._result: BlockResult | None = None
        self._error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Is there an answer?"""
        return self._done.is_set()

    async def result(self) -> BlockResult:
        """The room's answer: durable at a majority.

        Raises:
            OutcomeUnknownError: it was sent, and its session or the connection was lost for good.
            UnavailableError: it was never sent.
        """
        await self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def resolve(self, result: BlockResult) -> None:
        """The answer came."""
        self._result = result
        self._done.set()

    def fail(self, error: Exception) -> None:
        """There will be none."""
        self._error = error
        self._done.set()


class _Entries:
    """Single entries of one epoch that wait to be packed into a block together."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[bytes, PendingAppend]] = deque()

    def pack(self, epoch: RoomEpoch) -> tuple[bytes, list[PendingAppend]]:
        """The next block, and who waits for its entries."""
        entries: list[bytes] = []
        waiters: list[PendingAppend] = []
        size = 64
        while self.waiting and len(entries) < wire_limits.BLOCK_ENTRIES_MAX:
            size += len(self.waiting[0][0]) + 5
            if entries and size > wire_limits.BLOCK_BYTES_MAX:
                break
            entry, waiter = self.waiting.popleft()
            entries.append(entry)
            waiters.append(waiter)
        return encode_app_block(epoch, entries), waiters


class RoomConnection:
    """See the module. Made by `open_room_connection`; belongs to one task tree."""

    def __init__(
        self,
        room_id: RoomId,
        servers: Sequence[ServerAddress],
        keys: Keys,
        *,
        client_id: ClientId,
        after: EntrySequence,
    ) -> None:
        assert servers, "a room has servers"
        self.room_id = room_id
        self.client_id = client_id
        self.state = ConnectionState.CONNECTING
        self.server: ServerAddress | None = None
        self.failures: deque[str] = deque(maxlen=FAILURES_KEPT)
        self._servers = list(servers)
        self._keys = keys
        self._after = int(after)
        self._window: AppendWindow[list[PendingAppend]] = AppendWindow()
        self._entries: dict[RoomEpoch, _Entries] = {}
        self._outgoing: list[Message] = []
        self._calls: dict[int, tuple[trio.Event, list[Message]]] = {}
        self._call_ids = itertools.count(1)
        self._wake = trio.Event()
        self._live = trio.Event()
        self._keys_changed = trio.Event()
        self._heard_at = -math.inf
        self._event_sender, self._event_receiver = trio.open_memory_channel[Event](EVENTS_MAX)

    # --- for the owner ---

    @property
    def after(self) -> EntrySequence:
        """The last sequence that was given out."""
        return EntrySequence(self._after)

    @property
    def session(self) -> SessionState:
        """The session as it stands."""
        return self._window.state()

    def set_servers(self, servers: Sequence[ServerAddress]) -> None:
        """The room has moved; takes effect with the next connection."""
        assert servers
        self._servers = list(servers)

    def keys_changed(self) -> None:
        """We are in another epoch: prove it."""
        self._keys_changed.set()

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order, until the connection is closed."""
        async for event in self._event_receiver:
            yield event

    def append(self, block: bytes) -> PendingAppend:
        """Append a block (`wire.room.encode_app_block`); pipelined, sent again until answered."""
        pending = PendingAppend()
        self._window.offer(block, [pending])
        self._wake.set()
        return pending

    def append_soon(self, epoch: RoomEpoch, entry: bytes) -> PendingAppend:
        """Append one entry of `epoch`, in a block with others that are waiting; its result names its own sequence."""
        assert 0 < len(entry) <= wire_limits.ENTRY_BYTES_MAX
        pending = PendingAppend()
        self._entries.setdefault(epoch, _Entries()).waiting.append((entry, pending))
        self._wake.set()
        return pending

    async def append_entry(self, epoch: RoomEpoch, entry: bytes) -> EntrySequence:
        """Append one entry and wait until a majority has it on disk.

        Raises:
            RefusedError: the room answered something else than ACCEPTED.
            OutcomeUnknownError, UnavailableError: see `PendingAppend.result`.
        """
        result = await self.append_soon(epoch, entry).result()
        if result.kind is not ResultKind.ACCEPTED:
            raise RefusedError(f"the room answered {result.kind.name}; it is in epoch {result.epoch}")
        return result.sequence

    async def wait_live(self) -> None:
        """Return when the connection is live."""
        while self.state is not ConnectionState.LIVE:
            await self._live.wait()

    async def call(self, build: Callable[[int], Message]) -> Message:
        """Ask the server something, once live: `build` makes the message for a call id.

        Raises:
            RefusedError: it says no.
            UnavailableError: the connection ended, or no answer within CALL_S_MAX seconds.
        """
        with trio.move_on_after(CALL_S_MAX):
            await self.wait_live()
            try:
                answer = await self._call(build)
            except PeerError as error:
                raise UnavailableError(f"the connection ended: {error}") from error
            if isinstance(answer, Refused):
                raise RefusedError(answer.text)
            return answer
        raise UnavailableError("no answer", tuple(self.failures))

    async def status(self) -> RoomStatus:
        """The room as our server sees it.

        Raises:
            RefusedError, UnavailableError: see `call`.
        """
        answer = await self.call(lambda number: GetRoomStatus(number, self.room_id))
        if not isinstance(answer, RoomStatus):
            raise UnavailableError("the server answers something else")
        return answer

    # --- connections, one after the other ---

    async def run(self) -> None:
        """Be connected until cancelled."""
        failed_in_a_row = 0
        for turn in itertools.count():
            server = self._servers[turn % len(self._servers)]
            was_live = await self._attempt(server)
            failed_in_a_row = 0 if was_live else failed_in_a_row + 1
            if failed_in_a_row >= len(self._servers):
                rounds = failed_in_a_row // len(self._servers)
                await trio.sleep(min(BACKOFF_S_MIN * 2 ** min(rounds, 10), BACKOFF_S_MAX))

    async def _attempt(self, server: ServerAddress) -> bool:
        """Connect to one server and stay as long as that lasts; was it ever live?"""
        self.server = server
        await self._tell(ConnectionState.CONNECTING, f"trying {server.host}:{server.port}")
        channel: ClientChannel | None = None
        try:
            with trio.move_on_after(CONNECT_S_MAX):
                channel = await connect_channel(server, agent=AGENT)
            if channel is None:
                raise ClosedError("no answer in time")
            await self._converse(channel)
        except* PeerError as group:
            reason = _first_text(group)
        else:
            reason = "ended"
        finally:
            if channel is not None:
                await channel.aclose()
        was_live = self.state is ConnectionState.LIVE
        self._live = trio.Event()
        self._fail_calls()
        self.failures.append(f"{server.host}:{server.port}: {reason}")
        await self._tell(ConnectionState.OFFLINE, reason)
        return was_live

    async def _converse(self, channel: ClientChannel) -> None:
        self._heard_at = trio.current_time()
        self._outgoing.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, channel)
            nursery.start_soon(self._write, channel)
            await self._settle_in(channel)
            nursery.start_soon(self._prove_again, channel)
            nursery.start_soon(self._watch)

    async def _settle_in(self, channel: ClientChannel) -> None:
        """Proofs, subscription, session; then everything unanswered goes out again."""
        self._keys_changed = trio.Event()
        may_read, may_write = await self._prove(channel)
        if may_read:
            await self._expect(lambda number: Subscribe(number, self.room_id, self.after), Subscribed)
        if may_write and self._window.session == 0:
            await self._open_session()
        self._window.reconnected()
        await self._tell(ConnectionState.LIVE, "connected")
        self._live.set()
        self._wake.set()

    async def _open_session(self) -> None:
        opened = await self._expect(lambda number: OpenSession(number, self.room_id, self.client_id), SessionOpened)
        assert isinstance(opened, SessionOpened)
        self._window.opened(opened.session)

    async def _prove(self, channel: ClientChannel) -> tuple[bool, bool]:
        """Prove what we can; gives (may read, may write)."""
        epoch = self._keys.epoch
        read_seed, write_seed, join_seed = self._keys.read_seed(), self._keys.write_seed(), self._keys.join_seed()
        may_read = may_write = False
        if epoch is not None and read_seed is not None:
            await self._prove_one(channel, Purpose.READ, read_seed, epoch)
            may_read = True
        if epoch is not None and write_seed is not None:
            await self._prove_one(channel, Purpose.WRITE, write_seed, epoch)
            may_write = True
        if join_seed is not None and not may_write:
            await self._prove_one(channel, Purpose.JOIN, join_seed, RoomEpoch(0))
            may_write = True
        return may_read, may_write

    async def _prove_one(self, channel: ClientChannel, purpose: Purpose, seed: bytes, epoch: RoomEpoch) -> None:
        """One proof. A replica that has not seen our epoch yet is given a little time."""
        for _ in range(LAGGING_TRIES_MAX):
            answer = await self._call(
                lambda number: channel.proof(purpose, seed, id=number, room_id=self.room_id, epoch=epoch)
            )
            if isinstance(answer, Proved):
                return
            if not isinstance(answer, Refused) or answer.code is not RefusalCode.UNKNOWN_EPOCH:
                break
            await trio.sleep(LAGGING_RETRY_S)
        text = answer.text if isinstance(answer, Refused) else "something else"  # type: ignore[possibly-undefined]  # the loop runs
        raise ClosedError(f"{purpose.name} proof refused: {text}")

    async def _prove_again(self, channel: ClientChannel) -> None:
        while True:
            await self._keys_changed.wait()
            self._keys_changed = trio.Event()
            await self._prove(channel)
            self._wake.set()

    async def _watch(self) -> None:
        """Notice a server that fell silent: soon while we wait for answers, in time otherwise."""
        while True:
            patience_s = PING_IDLE_S if self._window.is_idle else PING_BUSY_S
            await trio.sleep(min(patience_s, PING_BUSY_S))
            if trio.current_time() - self._heard_at < patience_s:
                continue
            with trio.move_on_after(PONG_S_MAX) as waiting:
                await self._call(Ping)
            if waiting.cancelled_caught:
                raise ClosedError("the server fell silent")

    # --- reading and writing ---

    async def _read(self, channel: ClientChannel) -> None:
        messages: list[Message] = channel.early
        while True:
            for message in messages:
                if isinstance(message, Deliver):
                    await self._on_deliver(message)
                else:
                    self._on_message(message)
            messages = await channel.receive()
            self._heard_at = trio.current_time()

    async def _on_deliver(self, message: Deliver) -> None:
        for delivery in message.deliveries:
            if delivery.first_sequence != self._after + 1:
                raise DecodeError(f"delivery of {delivery.first_sequence} after {self._after}: not the room's order")
            self._after += decode_block_header(delivery.block).count
        if message.deliveries:
            await self._event_sender.send(Deliveries(message.deliveries, self.after))

    def _on_message(self, message: Message) -> None:
        match message:
            case Appended():
                self._on_appended(message)
            case AppendRefused():
                self._on_append_refused(message)
            case Refused() | Pong() | Proved() | Subscribed() | SessionOpened() | RoomStatus():
                self._answer(message.id, message)
            case _:
                number = getattr(message, "id", None)
                if isinstance(number, int):
                    self._answer(number, message)

    def _answer(self, number: int, message: Message) -> None:
        waiting = self._calls.pop(number, None)
        if waiting is not None:
            waiting[1].append(message)
            waiting[0].set()

    def _on_appended(self, message: Appended) -> None:
        for number, encoded in message.results:
            waiters = self._window.answered(message.session, number)
            if waiters is None:
                continue
            result = decode_result(encoded)
            if len(waiters) == 1 or result.kind is not ResultKind.ACCEPTED:
                for waiter in waiters:
                    waiter.resolve(result)
                continue
            for place, waiter in enumerate(waiters):
                waiter.resolve(BlockResult(result.kind, EntrySequence(result.sequence + place), result.epoch))
        self._wake.set()

    def _on_append_refused(self, message: AppendRefused) -> None:
        if message.code in LOST_SESSION_CODES and message.session == self._window.session:
            for waiters in self._window.lose_session():
                for waiter in waiters:
                    waiter.fail(OutcomeUnknownError("the room's servers have forgotten this session"))
            raise ClosedError("session lost")
        if message.code in {RefusalCode.DRAINING, RefusalCode.UNAVAILABLE, RefusalCode.NOT_REPLICA}:
            raise ClosedError(f"appends refused: {message.code.name}")
        retry_after_s = max(message.retry_after_s, LAGGING_RETRY_S)
        self._window.refused(message.session, message.number, trio.current_time() + retry_after_s)
        self._wake.set()

    async def _write(self, channel: ClientChannel) -> None:
        while True:
            messages = self._take_messages()
            if messages:
                await channel.send(*messages)
                continue
            with trio.move_on_at(self._window.not_before if self._is_held_back() else math.inf):
                await self._wake.wait()
            self._wake = trio.Event()

    def _is_held_back(self) -> bool:
        return self._window.not_before > trio.current_time()

    def _take_messages(self) -> list[Message]:
        messages, self._outgoing = self._outgoing, []
        if self.state is ConnectionState.LIVE:
            self._pack_entries()
            session = self._window.session
            for number, blocks in self._window.take(trio.current_time()):
                session = self._window.session
                messages.append(Append(self.room_id, self.client_id, session, number, blocks))
        return messages

    def _pack_entries(self) -> None:
        for epoch in list(self._entries):
            entries = self._entries[epoch]
            while entries.waiting and self._window.room_count:
                self._window.offer(*entries.pack(epoch))
            if not entries.waiting:
                del self._entries[epoch]

    async def _call(self, build: Callable[[int], Message]) -> Message:
        number = next(self._call_ids)
        event, answers = trio.Event(), list[Message]()
        self._calls[number] = (event, answers)
        self._outgoing.append(build(number))
        self._wake.set()
        try:
            await event.wait()
        finally:
            self._calls.pop(number, None)
        if not answers:
            raise ClosedError("the connection ended before the answer")
        return answers[0]

    async def _expect(self, build: Callable[[int], Message], kind: type[Message]) -> Message:
        answer = await self._call(build)
        if not isinstance(answer, kind):
            text = answer.text if isinstance(answer, Refused) else type(answer).__name__
            raise ClosedError(f"no {kind.__name__}: {text}")
        return answer

    def _fail_calls(self) -> None:
        calls, self._calls = self._calls, {}
        for event, _ in calls.values():
            event.set()

    async def _tell(self, state: ConnectionState, text: str) -> None:
        if state is not self.state or state is ConnectionState.LIVE:
            self.state = state
            await self._event_sender.send(StateChanged(state, self.server, text))

    def close(self) -> None:
        """No more; what was not answered fails with what is known of it."""
        self.state = ConnectionState.CLOSED
        unknown, unsent = self._window.give_up()
        for waiters in unknown:
            for waiter in waiters:
                waiter.fail(OutcomeUnknownError("closed before the answer came"))
        unsent += [[waiter for _, waiter in entries.waiting] for entries in self._entries.values()]
        for waiters in unsent:
            for waiter in waiters:
                waiter.fail(UnavailableError("closed before it was sent", tuple(self.failures)))
        self._event_sender.close()


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
    after: EntrySequence = EntrySequence(0),  # noqa: B008  # a number
) -> AsyncIterator[RoomConnection]:
    """A connection to a room for the time of the block; connects in the background, see `events` and `wait_live`."""
    connection = RoomConnection(room_id, servers, keys, client_id=client_id, after=after)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        try:
            yield connection
        finally:
            connection.close()
            nursery.cancel_scope.cancel()
