"""What clients tried, what they were promised, what every reader was given; and whether it agrees. Pure.

Every entry carries its number in the journal. Checked as it happens, so that a long run needs no second pass:

| figure | counts |
|---|---|
| lost | acknowledged entries that some reader of the whole room was not given |
| duplicated | entries given twice to one reader, or found at two places |
| reordered | deliveries out of sequence, or another entry at the same place elsewhere, or another place than acknowledged |
| overtaken | entries placed below one that was known to be placed before they were sent (real-time order), or below an
  earlier one of the same client |
| undead | entries in the room whose client was told that they would never be |

An entry whose outcome stayed unknown may be there or not, but not twice.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto

import msgspec

EXAMPLES_MAX = 20
NUMBER_BYTES = 8


class Outcome(Enum):
    """What a client knows of its entry."""

    PENDING = auto()
    ACKNOWLEDGED = auto()
    UNKNOWN = auto()
    REFUSED = auto()


class Attempt:
    """One entry. `floor`: the highest sequence known to anybody when it was sent. `sequence`: its place, 0 unknown."""

    __slots__ = ("client", "floor", "number", "outcome", "sequence")

    def __init__(self, number: int, client: int, floor: int) -> None:
        self.number = number
        self.client = client
        self.floor = floor
        self.sequence = 0
        self.outcome = Outcome.PENDING


class Reader:
    """What one reader was given. `highest`: its last sequence. `numbers`: only kept for who reads the whole room."""

    def __init__(self, name: str, *, is_full: bool = False) -> None:
        self.name = name
        self.highest = 0
        self.numbers: set[int] | None = set() if is_full else None


class Gap:
    """The longest time without an acknowledgement since `start`, seconds."""

    def __init__(self, now: float) -> None:
        self._last = now
        self.longest_s = 0.0

    def acknowledged(self, now: float) -> None:
        """Count one."""
        self.longest_s = max(self.longest_s, now - self._last)
        self._last = now


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict."""

    attempted: int
    acked: int
    unknown: int
    unknown_but_there: int
    delivered: int
    lost: int
    duplicated: int
    reordered: int
    overtaken: int
    undead: int

    @property
    def is_clean(self) -> bool:
        """Every promise was kept."""
        return not any((self.lost, self.duplicated, self.reordered, self.overtaken, self.undead))


class Journal:
    """See the module."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.examples: list[str] = []
        self.delivered_count = 0
        self._places: dict[int, int] = {}
        self._highest = 0
        self._wrong: Counter[str] = Counter()
        self._readers: list[Reader] = []

    def attempted(self, client: int) -> tuple[Attempt, bytes]:
        """An entry is about to be sent: what to remember it by, and the bytes that it must begin with."""
        attempt = Attempt(len(self.attempts), client, self._highest)
        self.attempts.append(attempt)
        return attempt, attempt.number.to_bytes(NUMBER_BYTES, "big")

    def acknowledged(self, attempt: Attempt, sequence: int) -> None:
        """Its client was promised that it stands at `sequence`."""
        attempt.outcome = Outcome.ACKNOWLEDGED
        self._placed(attempt, sequence, "an acknowledgement")

    def full_reader(self, name: str) -> Reader:
        """A reader that is given the whole room; what it lacks is lost."""
        reader = Reader(name, is_full=True)
        self._readers.append(reader)
        return reader

    def delivered(self, reader: Reader, sequence: int, entry: bytes) -> None:
        """A reader was given an entry."""
        self.delivered_count += 1
        attempt = self.attempts[int.from_bytes(entry[:NUMBER_BYTES], "big")]
        if sequence != reader.highest + 1:
            is_again = sequence <= reader.highest and self._places.get(sequence) == attempt.number
            kind = "duplicated" if is_again else "reordered"
            self._note(kind, f"{reader.name} was given {sequence} after {reader.highest}: entry {attempt.number}")
        reader.highest = max(reader.highest, sequence)
        if reader.numbers is not None:
            reader.numbers.add(attempt.number)
        self._placed(attempt, sequence, reader.name)

    def _placed(self, attempt: Attempt, sequence: int, source: str) -> None:
        there = self._places.setdefault(sequence, attempt.number)
        if there != attempt.number:
            self._note("reordered", f"{source} has entry {attempt.number} at {sequence}, where others have {there}")
        elif attempt.sequence == 0:
            attempt.sequence = sequence
            if sequence <= attempt.floor:
                self._note("overtaken", f"{source}: entry {attempt.number} at {sequence}, sent after {attempt.floor}")
        elif attempt.sequence != sequence:
            self._note("duplicated", f"{source}: entry {attempt.number} at {attempt.sequence} and at {sequence}")
        self._highest = max(self._highest, sequence)

    @property
    def highest(self) -> int:
        """The highest sequence that anybody knows of."""
        return self._highest

    @property
    def acked(self) -> int:
        """Entries promised until now."""
        return sum(attempt.outcome is Outcome.ACKNOWLEDGED for attempt in self.attempts)

    def account(self) -> Account:
        """Judge. Clients have ended; full readers have read everything they were going to."""
        wrong = self._wrong + Counter(lost=0)
        wrong["lost"] += self._lost()
        wrong["overtaken"] += self._overtaken_by_own()
        unknown = [attempt for attempt in self.attempts if attempt.outcome in {Outcome.UNKNOWN, Outcome.PENDING}]
        undead = [attempt for attempt in self.attempts if attempt.outcome is Outcome.REFUSED and attempt.sequence]
        return Account(
            attempted=len(self.attempts),
            acked=self.acked,
            unknown=len(unknown),
            unknown_but_there=sum(attempt.sequence > 0 for attempt in unknown),
            delivered=self.delivered_count,
            lost=wrong["lost"],
            duplicated=wrong["duplicated"],
            reordered=wrong["reordered"],
            overtaken=wrong["overtaken"],
            undead=len(undead),
        )

    def _lost(self) -> int:
        promised = {attempt.number for attempt in self.attempts if attempt.outcome is Outcome.ACKNOWLEDGED}
        lost = 0
        for reader in self._readers:
            assert reader.numbers is not None
            missing = promised - reader.numbers
            lost += len(missing)
            for number in sorted(missing)[:3]:
                self._example(f"lost: {reader.name} lacks entry {number} at {self.attempts[number].sequence}")
        return lost

    def _overtaken_by_own(self) -> int:
        highest: dict[int, int] = {}
        overtaken = 0
        for attempt in self.attempts:
            if attempt.sequence:
                before = highest.get(attempt.client, 0)
                if attempt.sequence < before:
                    overtaken += 1
                    self._example(
                        f"overtaken: client {attempt.client}: {attempt.number} at {attempt.sequence} < {before}"
                    )
                highest[attempt.client] = max(before, attempt.sequence)
        return overtaken

    def _note(self, kind: str, text: str) -> None:
        self._wrong[kind] += 1
        self._example(f"{kind}: {text}")

    def _example(self, text: str) -> None:
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(text)
