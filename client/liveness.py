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
    """One connection. `heard_at`: monotonic seconds of the last bytes, set by the reader.

    Args:
        now: monotonic seconds.
        connect_s: what connecting took, hellos included: how slow the path is.
    """

    __slots__ = ("_answer_waiting_s", "_asked_at", "_waits_since", "heard_at")

    def __init__(self, now: float, *, connect_s: float = 0.0) -> None:
        self.heard_at = now
        self._answer_waiting_s = min(max(3 * connect_s, limits.ANSWER_WAITING_S_MIN), limits.ANSWER_WAITING_S_MAX)
        self._asked_at: float | None = None
        self._waits_since: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Somebody waits for an answer."""
        return self._waits_since is not None

    def wait(self, now: float, is_waiting: bool) -> None:
        """Say whether somebody waits for an answer, from now on."""
        self._waits_since = now if is_waiting else None

    @property
    def _is_asked(self) -> bool:
        return self._asked_at is not None and self.heard_at <= self._asked_at

    @property
    def due(self) -> float:
        """When to `check` next; bytes and waiting change it."""
        if self._asked_at is not None and self._is_asked:
            return self._asked_at + (limits.ANSWER_IDLE_S if self._waits_since is None else self._answer_waiting_s)
        if self._waits_since is None:
            return self.heard_at + limits.PING_IDLE_S
        return max(self.heard_at, self._waits_since) + limits.PING_WAITING_S

    def check(self, now: float) -> Verdict:
        """Judge; after ASK a ping must be sent."""
        if now < self.due:
            return Verdict.WAIT
        if self._is_asked:
            return Verdict.GIVE_UP
        self._asked_at = now
        return Verdict.ASK
