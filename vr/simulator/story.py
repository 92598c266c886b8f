"""The story of one seed: what happened, for a human reader, and a hash over it, for comparing two runs.

The hash folds in every delivered packet with its time; the text is only kept when somebody wants to read it.
"""

from __future__ import annotations

import enum
from zlib import crc32

from vr.simulator.schedule import SECOND_US, Schedule

# Odd constants: times and places that are close to each other must not cancel out.
TIME_SPREAD = 0x85EBCA6B
KEY_SPREAD = 0x9E3779B1
LINES_MAX = 200_000  # of one story: a bound on memory, not a target


class Telling(enum.Enum):
    """How much of the story is kept."""

    NOTHING = enum.auto()
    EVENTS = enum.auto()
    MESSAGES = enum.auto()


class Story:
    """What happened so far. `keep`: lines are wanted; `messages`: every packet too."""

    def __init__(self, schedule: Schedule, telling: Telling) -> None:
        self.lines: list[str] = []
        self.keep = telling is not Telling.NOTHING
        self.messages = telling is Telling.MESSAGES
        self.trace = 0
        self._schedule = schedule

    def tell(self, what: str) -> None:
        """Add a line."""
        if self.keep and len(self.lines) < LINES_MAX:
            self.lines.append(f"{self._schedule.now_us / SECOND_US:10.6f}  {what}")

    def fold(self, data: bytes, key: int) -> None:
        """Add an event to the trace hash."""
        self.trace = crc32(data, (self.trace + self._schedule.now_us * TIME_SPREAD + key * KEY_SPREAD) & 0xFFFFFFFF)
