"""When groups want to be ticked: a heap that forgets lazily. Pure. Sleeping groups are not in it."""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Timers(Generic[Key]):
    """Deadlines by key, monotonic seconds. The heap may hold outdated entries: they are dropped when they come up."""

    def __init__(self) -> None:
        self._deadlines: dict[Key, float] = {}
        self._queued: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def set(self, key: Key, deadline: float) -> None:
        """Wake `key` at `deadline`; infinity: not at all. Putting it off costs nothing until the old one has come."""
        if deadline == math.inf:
            self._deadlines.pop(key, None)
            return
        self._deadlines[key] = deadline
        if deadline < self._queued.get(key, math.inf):
            self._push(key, deadline)

    def next_deadline(self) -> float:
        """When to look again; may be early, never late."""
        return self._heap[0][0] if self._heap else math.inf

    def due(self, now: float) -> list[Key]:
        """Keys whose deadline has come; each has to be set again."""
        keys: list[Key] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._queued.get(key) != at:
                continue
            del self._queued[key]
            deadline = self._deadlines.get(key, math.inf)
            if deadline <= now:
                del self._deadlines[key]
                keys.append(key)
            elif deadline < math.inf:
                self._push(key, deadline)
        return keys

    def _push(self, key: Key, deadline: float) -> None:
        self._serial += 1
        self._queued[key] = deadline
        heapq.heappush(self._heap, (deadline, self._serial, key))
