"""When to leave a server that answers but gets nothing done: one that was cut off from the others still greets us. Pure.

    the server says "nothing can be appended here" ─┐
    appends stay unanswered for APPEND_S_MAX ───────┴─▶ leave soon while some server is untried, else now and then

A living server without a majority keeps its connections and answers pings, so silence is no sign (`client.liveness`).
When every server of the room stands still we stay with one: its history can still be read. Whatever gets an append
answered, or says that it can, makes all servers worth trying again.
"""

from __future__ import annotations

import math

from client import connection_limits as limits
from wire.identity import ServerAddress


class Standstill:
    """What is known of the room's servers; lives across connections."""

    def __init__(self) -> None:
        self._server: ServerAddress | None = None
        self._stuck: set[ServerAddress] = set()
        self._has_others = False
        self._answers = 0
        self._unable_since = math.inf
        self._unanswered_since = math.inf

    def begin(self, server: ServerAddress, servers: list[ServerAddress]) -> None:
        """A connection to one of the room's servers begins; `servers` are all there are to try."""
        self._server = server
        self._stuck.intersection_update(servers)
        self._has_others = any(other != server and other not in self._stuck for other in servers)
        self._unable_since = self._unanswered_since = math.inf

    def note(self, now: float, *, answers: int, is_appending: bool, can_append: bool | None) -> None:
        """What is so at `now`, monotonic seconds.

        Args:
            now: monotonic seconds.
            answers: how many answers to appends came so far; any growth is progress.
            is_appending: some append is unanswered.
            can_append: what the server says; None if it has not.
        """
        if answers != self._answers or can_append:
            self._stuck.clear()
        if not is_appending or answers != self._answers:
            self._unanswered_since = now if is_appending else math.inf
        elif self._unanswered_since == math.inf:
            self._unanswered_since = now
        self._answers = answers
        if can_append is not False:
            self._unable_since = math.inf
        elif self._unable_since == math.inf:
            self._unable_since = now

    @property
    def leave_at(self) -> float:
        """When to try another server; infinity if this one does its work."""
        patience_s = limits.STANDSTILL_S if self._has_others else limits.STANDSTILL_RETRY_S
        return min(self._unable_since, self._unanswered_since + limits.APPEND_S_MAX) + patience_s

    def left(self) -> None:
        """We leave because of that; this server comes last now."""
        if self._server is not None:
            self._stuck.add(self._server)
