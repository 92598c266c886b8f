"""Virtual time: a heap of actions in integer microseconds.

Two actions at the same microsecond run in the order they were scheduled, so nothing depends on hashing or on the
platform. Cancelling is left to the actions (they compare an incarnation number and return), which keeps the heap flat.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Action = Callable[..., None]

SECOND_US = 1_000_000
MILLISECOND_US = 1_000


class Schedule:
    """The event queue of one simulated world."""

    __slots__ = ("_heap", "_sequence", "events", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self.events = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, Action, tuple[object, ...]]] = []

    def after(self, delay_us: int, action: Action, *arguments: object) -> None:
        """Run `action(*arguments)` in `delay_us` microseconds (never in the past)."""
        assert delay_us >= 0, "time does not run backwards"
        self._sequence = sequence = self._sequence + 1
        heappush(self._heap, (self.now_us + delay_us, sequence, action, arguments))

    def run(self, until_us: int, *, stop: Callable[[], bool] | None = None, events_max: int = 1_000_000) -> bool:
        """Run actions up to and including `until_us`, or until `stop()` holds after one of them.

        `events_max` bounds the run: a world that schedules without advancing time must not hang its tester. Returns
        whether the bound was enough.
        """
        heap = self._heap
        last = self.events + events_max
        while heap and heap[0][0] <= until_us and self.events < last:
            self.now_us, _, action, arguments = heappop(heap)
            action(*arguments)
            self.events += 1
            if stop is not None and stop():
                return True
        if self.events == last:
            return False
        self.now_us = max(self.now_us, until_us)
        return True

    def __len__(self) -> int:
        return len(self._heap)
