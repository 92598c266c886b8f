"""What people sent, what was acknowledged, what each of them was shown; and what follows from it.

Pure bookkeeping over events that really happened: a text that a client handed to `room.send`, a sequence number that it
returned, a message that another client decrypted. Times are monotonic seconds, given by the caller.

| figure | counts |
|---|---|
| lost | acknowledged messages that some reader was never shown |
| duplicated | messages shown more than once to one reader |
| reordered | messages shown below an earlier sequence, at another sequence than acknowledged, or with another neighbour elsewhere |
| longest_gap_s | the longest time between two acknowledgements |
"""

from __future__ import annotations

import math

import msgspec


class Shown(msgspec.Struct, frozen=True, gc=False):
    """One message as one reader was shown it."""

    sequence: int
    text: str


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger proves at one moment."""

    clients: int
    sent: int
    acked: int
    delivered: int
    lost: int
    duplicated: int
    reordered: int
    longest_gap_s: float
    ack_p50_ms: float
    ack_p99_ms: float


class Ledger:
    """The account book of a demo or a soak: every text must be unique."""

    def __init__(self, readers: list[str]) -> None:
        self._shown: dict[str, list[Shown]] = {reader: [] for reader in readers}
        self._sent_at: dict[str, float] = {}
        self._acked: dict[str, int] = {}
        self._ack_durations_s: list[float] = []
        self._last_ack_at: float | None = None
        self._longest_gap_s = 0.0

    def sent(self, text: str, now: float) -> None:
        """A client was asked to send `text`."""
        assert text not in self._sent_at, "texts of a ledger are unique"
        self._sent_at[text] = now

    def acknowledged(self, text: str, sequence: int, now: float) -> None:
        """The send returned: the message is promised."""
        self._acked[text] = sequence
        self._ack_durations_s.append(now - self._sent_at[text])
        if self._last_ack_at is not None:
            self._longest_gap_s = max(self._longest_gap_s, now - self._last_ack_at)
        self._last_ack_at = now

    def shown(self, reader: str, sequence: int, text: str) -> None:
        """`reader` decrypted a message and would show it."""
        self._shown[reader].append(Shown(sequence, text))

    def missing(self) -> int:
        """Acknowledged messages not shown to everybody yet; what is still missing at the end is lost."""
        return sum(len(self._acked.keys() - {item.text for item in items}) for items in self._shown.values())

    def account(self) -> Account:
        """What can be said now."""
        return Account(
            clients=len(self._shown),
            sent=len(self._sent_at),
            acked=len(self._acked),
            delivered=sum(len(items) for items in self._shown.values()),
            lost=self.missing(),
            duplicated=sum(len(items) - len({item.text for item in items}) for items in self._shown.values()),
            reordered=self._reordered(),
            longest_gap_s=round(self._longest_gap_s, 3),
            ack_p50_ms=round(percentile(self._ack_durations_s, 0.50) * 1000, 2),
            ack_p99_ms=round(percentile(self._ack_durations_s, 0.99) * 1000, 2),
        )

    def _reordered(self) -> int:
        places: dict[int, str] = {sequence: text for text, sequence in self._acked.items()}
        wrong = 0
        for items in self._shown.values():
            highest = 0
            for item in items:
                out_of_order = item.sequence <= highest
                elsewhere = places.setdefault(item.sequence, item.text) != item.text
                misplaced = self._acked.get(item.text, item.sequence) != item.sequence
                wrong += out_of_order or elsewhere or misplaced
                highest = max(highest, item.sequence)
        return wrong


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of `values` do not exceed; 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
