"""Messages of ours on their way: waiting, in flight, and what became of them. Pure.

    post ─▶ waiting ─▶ in flight ─┬─ acknowledged / seen in the log ─▶ done
              ▲                   └─ its epoch ended without it
              └───────────────────────────┘            (after a restart: unsent, kept for the person to decide)

The log takes a block of epoch n only while the room is in epoch n. So a block that was not seen when epoch n+1 begins will
never be seen, whatever became of connections, sessions and answers. That makes every outcome knowable: where an answer
was lost for good, beginning another epoch settles it (`unresolved`), and nothing is ever sent twice.
"""

from __future__ import annotations

import msgspec

from client import limits
from client.payload import HISTORY_KINDS, padded_bytes
from client.room_state import Block, InFlight, Outcome, OutcomeKind, Outgoing
from wire.ids import Sequence
from wire.limits import BLOCK_ENTRIES_MAX

ENTRY_OVERHEAD_BYTES = 192
"""What MLS and msgpack add to one padded message: 146 bytes and some lengths."""


class Waiting(msgspec.Struct, frozen=True, order=True):
    """A message and its place among ours; `order` counts what was ever posted here."""

    order: int
    outgoing: Outgoing


class Flight(msgspec.Struct, kw_only=True):
    """A block in flight. `expected`: where its acknowledgement says it is. `orders`: empty for what a restart restored."""

    stored: InFlight
    orders: tuple[int, ...] = ()
    is_restored: bool = False
    expected: Sequence | None = None

    @property
    def is_commit(self) -> bool:
        """Tell whether it carries a commit of ours."""
        return bool(self.stored.staged)


class Outbox:
    """Bookkeeping of what we send.

    Methods leave what is to be told and stored in `outcomes`, `settled` (digests) and `unsent`; the core takes them.
    """

    def __init__(self, restored: tuple[InFlight, ...] = ()) -> None:
        self.outcomes: list[Outcome] = []
        self.settled: list[bytes] = []
        self.unsent: list[Outgoing] = []
        self.flights: dict[bytes, Flight] = {}
        self.unresolved: set[bytes] = set()
        self._waiting: list[Waiting] = []
        self._posted = 0
        for stored in restored:
            self.flights[stored.digest] = Flight(stored=stored, is_restored=True)
            self.unresolved.add(stored.digest)

    @property
    def is_full(self) -> bool:
        """Tell whether no more may be posted."""
        return len(self._waiting) >= limits.OUTBOX_MAX

    @property
    def may_fly(self) -> bool:
        """Tell whether something waits and may be sent now."""
        return bool(self._waiting) and len(self.flights) < limits.BLOCKS_IN_FLIGHT_MAX

    def post(self, outgoing: Outgoing) -> None:
        """Take a message."""
        assert not self.is_full, "the shell asks first"
        self._posted += 1
        self._waiting.append(Waiting(self._posted, outgoing))

    def withdraw(self, message_id: bytes) -> bool:
        """Take back a message that was not sent; False if it is in flight or unknown."""
        kept = [item for item in self._waiting if item.outgoing.message_id != message_id]
        was_waiting = len(kept) < len(self._waiting)
        self._waiting = kept
        return was_waiting

    def next_group(self) -> list[Waiting]:
        """Take the messages for one block: at least one, as many as fit."""
        count, size = 0, 0
        for item in self._waiting[:BLOCK_ENTRIES_MAX]:
            size += padded_bytes(item.outgoing.text) + ENTRY_OVERHEAD_BYTES
            if count and size > limits.BLOCK_ENTRIES_BYTES_MAX:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def sent(self, block: Block, taken: list[Waiting]) -> InFlight:
        """Remember a block of messages that is about to be sent; returns what to store."""
        stored = InFlight(block.digest, tuple(item.outgoing for item in taken))
        self.flights[block.digest] = Flight(stored=stored, orders=tuple(item.order for item in taken))
        return stored

    def sent_commit(self, block: Block, staged: bytes) -> InFlight:
        """Remember a commit that is about to be sent; returns what to store."""
        stored = InFlight(block.digest, (), staged)
        self.flights[block.digest] = Flight(stored=stored)
        return stored

    def accepted(self, digest: bytes, sequence: Sequence) -> None:
        """A server says that the block is committed from `sequence` on."""
        flight = self.flights[digest]
        flight.expected = sequence
        self.unresolved.discard(digest)
        self._acknowledge(flight.stored, sequence)

    def seen(self, digest: bytes, sequence: Sequence) -> Flight | None:
        """The log shows a block at `sequence`; returns it if it is ours."""
        flight = self.flights.get(digest)
        if flight is None:
            return None
        if flight.expected is None:
            self._acknowledge(flight.stored, sequence)
        self.settle(digest)
        return flight

    def failed(self, digest: bytes) -> None:
        """The servers refuse the block as it is."""
        stored = self.flights[digest].stored
        self.settle(digest)
        for outgoing in stored.outgoing:
            self.outcomes.append(Outcome(outgoing.message_id, OutcomeKind.FAILED, Sequence(0)))

    def unknown(self, digest: bytes) -> None:
        """No answer will come for a block any more."""
        if digest in self.flights and self.flights[digest].expected is None:
            self.unresolved.add(digest)

    def refused(self, digest: bytes) -> None:
        """The block was not taken and never will be: its messages wait again, in their old places."""
        flight = self.flights[digest]
        self.settle(digest)
        if flight.is_restored:
            self._give_up(flight.stored)
            return
        pairs = zip(flight.orders, flight.stored.outgoing, strict=True)
        self._waiting = sorted([*self._waiting, *(Waiting(order, outgoing) for order, outgoing in pairs)])

    def epoch_ended(self) -> list[Sequence]:
        """Another epoch began: what was not seen is dead. Returns places where a server claimed to have put something."""
        claimed = []
        for digest, flight in list(self.flights.items()):
            if flight.expected is not None:
                claimed.append(flight.expected)
                self.settle(digest)
            else:
                self.refused(digest)
        return claimed

    def overdue(self, read_through: Sequence) -> list[Sequence]:
        """Forget blocks that were acknowledged at a place where the log shows something else; returns the places."""
        wrong = {
            digest: flight.expected
            for digest, flight in self.flights.items()
            if flight.expected is not None and flight.expected <= read_through
        }
        for digest in wrong:
            self.settle(digest)
        return list(wrong.values())

    def settle(self, digest: bytes) -> None:
        """Forget a block whose fate is known; nothing if it is forgotten: a server may have claimed a false place for it."""
        if self.flights.pop(digest, None) is None:
            return
        self.unresolved.discard(digest)
        self.settled.append(digest)

    def _acknowledge(self, stored: InFlight, sequence: Sequence) -> None:
        for index, outgoing in enumerate(stored.outgoing):
            outcome = Outcome(outgoing.message_id, OutcomeKind.ACKNOWLEDGED, Sequence(sequence + index))
            self.outcomes.append(outcome)

    def _give_up(self, stored: InFlight) -> None:
        self.unsent.extend(outgoing for outgoing in stored.outgoing if outgoing.kind not in HISTORY_KINDS)
        for outgoing in stored.outgoing:
            self.outcomes.append(Outcome(outgoing.message_id, OutcomeKind.UNSENT, Sequence(0)))
