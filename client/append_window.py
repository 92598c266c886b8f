"""The appending side of one session: numbered blocks in a window, each resent until it is answered. Pure.

    entries ─▶ waiting entries ─┐ packed when there is room, so that what waits together travels together
    blocks ──▶ waiting blocks ──┴─▶ numbered, unanswered ─▶ answered
                                         └── resent with the same number after a reconnect or a refusal

The servers execute each (session, number) once and remember results for twice the window (VRR 4.5), so a resend is
harmless and gets the answer of the first execution. Only when the session itself is gone may an outcome stay unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from client import connection_limits
from client.errors import OutcomeUnknownError, SamtalaError, UnavailableError
from wire import limits
from wire.ids import ClientId, RoomEpoch, RoomId
from wire.messages import Append
from wire.room import BlockResult, Purpose, decode_result, encode_app_block

Failure = Callable[[], SamtalaError]
"""Makes the error to raise: each waiter gets its own, because an exception carries one traceback."""

MaySend = Callable[[RoomEpoch, Purpose], bool]
"""(epoch, proof that the block needs): whether the connection has proven it."""


class SessionState(msgspec.Struct, frozen=True, array_like=True):
    """A session as it can be stored: unanswered blocks with their numbers, to be resent after a restart."""

    session: int
    next_number: int
    unanswered: tuple[tuple[int, bytes], ...] = ()


class Ticket:
    """A block on its way. `number` is 0 until it has one; `on_done` is called once, when the outcome is there."""

    __slots__ = ("block", "epoch", "failure", "needs", "number", "on_done", "result_now")

    def __init__(self, block: bytes, epoch: RoomEpoch, *, needs: Purpose = Purpose.WRITE) -> None:
        self.block = block
        self.epoch = epoch
        self.needs = needs
        self.number = 0
        self.result_now: BlockResult | None = None
        self.failure: Failure | None = None
        self.on_done: Callable[[], object] | None = None

    @property
    def is_done(self) -> bool:
        """The outcome is there."""
        return self.result_now is not None or self.failure is not None

    def settle(self, result: BlockResult) -> None:
        """The room has answered."""
        self.result_now = result
        if self.on_done is not None:
            self.on_done()

    def fail(self, failure: Failure) -> None:
        """No answer will come."""
        self.failure = failure
        if self.on_done is not None:
            self.on_done()


class EntryTicket:
    """An entry on its way. `result_now` is that of its block; `sequence` is its own, if the block was accepted."""

    __slots__ = ("entry", "epoch", "failure", "on_done", "result_now", "sequence")

    def __init__(self, epoch: RoomEpoch, entry: bytes) -> None:
        self.epoch = epoch
        self.entry = entry
        self.sequence = 0
        self.result_now: BlockResult | None = None
        self.failure: Failure | None = None
        self.on_done: Callable[[], object] | None = None

    @property
    def is_done(self) -> bool:
        """The outcome is there."""
        return self.result_now is not None or self.failure is not None


class PackedTicket(Ticket):
    """A block that was packed from entries; hands its outcome to each of them."""

    __slots__ = ("entries",)

    def __init__(self, epoch: RoomEpoch, entries: list[EntryTicket]) -> None:
        super().__init__(encode_app_block(epoch, [ticket.entry for ticket in entries]), epoch)
        self.entries = entries

    def settle(self, result: BlockResult) -> None:
        """Give each entry its place."""
        self.result_now = result
        sequence: int = result.sequence
        for ticket in self.entries:
            ticket.sequence = sequence
            ticket.result_now = result
            sequence += 1
            if ticket.on_done is not None:
                ticket.on_done()

    def fail(self, failure: Failure) -> None:
        """No answer will come."""
        self.failure = failure
        for ticket in self.entries:
            ticket.failure = failure
            if ticket.on_done is not None:
                ticket.on_done()


class AppendWindow:
    """Everything that was appended and not answered.

    Args:
        client_id: who appends; stays the same across sessions.
        restored: tickets of an earlier run with their numbers set, in order, all of `session`.
    """

    def __init__(
        self, client_id: ClientId, *, session: int = 0, next_number: int = 1, restored: Iterable[Ticket] = ()
    ) -> None:
        self.client_id = client_id
        self.session = session
        self.next_number = next_number
        self.unanswered: dict[int, Ticket] = {ticket.number: ticket for ticket in restored}
        self._waiting: deque[Ticket] = deque()
        self._entries: deque[EntryTicket] = deque()
        self._entries_bytes = 0
        self._next_unsent = 1

    @property
    def has_space(self) -> bool:
        """A block may be added."""
        return len(self._waiting) + len(self.unanswered) < limits.SESSION_WINDOW

    @property
    def has_entry_space(self) -> bool:
        """An entry may be added."""
        return (
            len(self._entries) < connection_limits.ENTRIES_WAITING_MAX
            and self._entries_bytes < connection_limits.ENTRIES_WAITING_BYTES_MAX
        )

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is unanswered."""
        return not (self.unanswered or self._waiting or self._entries)

    @property
    def wants_session(self) -> bool:
        """Something waits that needs a session."""
        return self.session == 0 and bool(self._waiting or self._entries)

    @property
    def wants_to_send(self) -> bool:
        """`take_appends` may have something."""
        if self.session == 0:
            return False
        return self._next_unsent < self.next_number or bool(self._waiting or (self._entries and self.has_space))

    @property
    def state(self) -> SessionState:
        """What to store: the session and its numbered, unanswered blocks."""
        blocks = tuple((number, ticket.block) for number, ticket in self.unanswered.items())
        return SessionState(self.session, self.next_number, blocks)

    def add(self, ticket: Ticket) -> None:
        """Take a block. Ask `has_space` first."""
        assert self.has_space
        self._waiting.append(ticket)

    def add_entry(self, ticket: EntryTicket) -> None:
        """Take an entry. Ask `has_entry_space` first."""
        self._entries.append(ticket)
        self._entries_bytes += len(ticket.entry)

    # --- sending -------------------------------------------------------------------------------------------------

    def take_appends(self, room_id: RoomId, may_send: MaySend) -> list[Append]:
        """Number what waits, as far as the window reaches and proofs allow, and give everything unsent."""
        if self.session == 0:
            return []
        self._pack(may_send)
        while self._waiting and may_send(self._waiting[0].epoch, self._waiting[0].needs):
            ticket = self._waiting.popleft()
            ticket.number = self.next_number
            self.unanswered[ticket.number] = ticket
            self.next_number += 1
        return self._unsent_runs(room_id, may_send)

    def _pack(self, may_send: MaySend) -> None:
        while self._entries and self.has_space and may_send(self._entries[0].epoch, Purpose.WRITE):
            epoch = self._entries[0].epoch
            taken: list[EntryTicket] = []
            size = 0
            while self._entries and len(taken) < limits.BLOCK_ENTRIES_MAX and self._entries[0].epoch == epoch:
                size += len(self._entries[0].entry)
                if taken and size > limits.ENTRY_BYTES_MAX:
                    break
                taken.append(self._entries.popleft())
            self._entries_bytes -= sum([len(ticket.entry) for ticket in taken])
            self._waiting.append(PackedTicket(epoch, taken))

    def _unsent_runs(self, room_id: RoomId, may_send: MaySend) -> list[Append]:
        """Frames of consecutive numbers, bounded in blocks and bytes."""
        appends: list[Append] = []
        run: list[bytes] = []
        run_bytes = 0
        number = self._next_unsent
        while number < self.next_number:
            ticket = self.unanswered.get(number)
            if ticket is not None and not may_send(ticket.epoch, ticket.needs):
                break
            size = 0 if ticket is None else len(ticket.block)
            is_full = run_bytes + size > connection_limits.APPEND_FRAME_BYTES_MAX
            if run and (ticket is None or is_full or len(run) == limits.BLOCKS_PER_APPEND_MAX):
                appends.append(self._append(room_id, number - len(run), run))
                run, run_bytes = [], 0
            if ticket is not None:
                run.append(ticket.block)
                run_bytes += size
            number += 1
        if run:
            appends.append(self._append(room_id, number - len(run), run))
        self._next_unsent = number
        return appends

    def _append(self, room_id: RoomId, number: int, blocks: list[bytes]) -> Append:
        return Append(room_id, self.client_id, self.session, number, tuple(blocks))

    def resend(self) -> None:
        """Everything unanswered goes out again: another connection, or it was refused."""
        self._next_unsent = min(self.unanswered, default=self.next_number)

    # --- answers -------------------------------------------------------------------------------------------------

    def answered(self, session: int, results: Iterable[tuple[int, bytes]]) -> bool:
        """Hand results to those who wait; tells whether any was new. Repeats and other sessions' are passed over.

        Raises:
            DecodeError: a result is malformed; what came before it is done.
        """
        if session != self.session:
            return False
        is_new = False
        for number, data in results:
            ticket = self.unanswered.get(number)
            if ticket is not None:
                result = decode_result(data)
                del self.unanswered[number]
                is_new = True
                ticket.settle(result)
        return is_new

    def session_opened(self, session: int) -> None:
        """A new session: what waits can be numbered."""
        assert not self.unanswered, "session_lost comes first"
        self.session = session
        self.next_number = 1
        self._next_unsent = 1

    def session_lost(self, text: str) -> None:
        """The servers forgot the session. What was unanswered may have been executed, or not, and never will be now."""
        lost, self.unanswered = self.unanswered, {}
        session, self.session = self.session, 0
        self.next_number = self._next_unsent = 1
        for number, ticket in lost.items():
            ticket.fail(self._unknown(text, session, number))

    def refuse(self, number: int, result: BlockResult) -> None:
        """The servers never take this block, and so nothing after it in this session, which is over."""
        ticket = self.unanswered.pop(number, None)
        if ticket is not None:
            ticket.settle(result)
        self.session_lost("a block before it was refused")

    def close(self) -> None:
        """Nobody will resend any more: the outcome of what was sent is unknown; what was not sent is certainly undone."""
        self.session_lost("closed before the answer came")
        unsent: list[Ticket | EntryTicket] = [*self._waiting, *self._entries]
        self._waiting.clear()
        self._entries.clear()
        self._entries_bytes = 0
        for ticket in unsent:
            ticket.failure = lambda: UnavailableError("closed before it was sent")
            if ticket.on_done is not None:
                ticket.on_done()

    def _unknown(self, text: str, session: int, number: int) -> Failure:
        retry_id = f"{self.client_id.hex()}-{session}-{number}"
        return lambda: OutcomeUnknownError(text, retry_id=retry_id)
