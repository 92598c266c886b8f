"""Whether the server is still there: asked after a silence, given up when it does not answer. Pure.

A dead process resets its connections and is known at once. This is for the other kind: a machine that lost power or its
network says nothing at all. Soon while somebody waits for an answer, in time otherwise; any bytes count as an answer.
"""

from __future__ import annotations

from enum import Enum, auto

from client import connection_limits as limits


class Verdict(Enum):
    """What to do now."""

    WAIT = auto()
    ASK = auto()
    GIVE_UP = auto()


class Liveness:
    """One connection. `heard_at`: monotonic seconds of the last bytes, set by the reader."""

    __slots__ = ("_asked_at", "heard_at")

    def __init__(self, now: float) -> None:
        self.heard_at = now
        self._asked_at: float | None = None

    @property
    def _is_asked(self) -> bool:
        return self._asked_at is not None and self.heard_at <= self._asked_at

    def due(self, *, is_waiting: bool) -> float:
        """When to `check` next; `is_waiting`: somebody waits for an answer. Bytes and waiting change it."""
        if self._asked_at is not None and self._is_asked:
            return self._asked_at + (limits.ANSWER_WAITING_S if is_waiting else limits.ANSWER_IDLE_S)
        return self.heard_at + (limits.PING_WAITING_S if is_waiting else limits.PING_IDLE_S)

    def check(self, now: float, *, is_waiting: bool) -> Verdict:
        """Judge; after ASK a ping must be sent."""
        if now < self.due(is_waiting=is_waiting):
            return Verdict.WAIT
        if self._is_asked:
            return Verdict.GIVE_UP
        self._asked_at = now
        return Verdict.ASK
