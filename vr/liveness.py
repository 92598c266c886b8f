"""Which nodes are alive: one heartbeat per node, not per group (vr.md §4).

Pure: told what was heard and what time it is, it says whom to suspect, whom to trust again, and when a heartbeat of our own
is due. A reset connection is suspicion at once: a dead process cannot be waited for. A silent one is suspected after about
a second, with jitter, so that not everybody moves at the same moment; a quorum has to agree before anything happens.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

import msgspec

from vr.jitter import Jitter

Peer = TypeVar("Peer", bound=Hashable)


class LivenessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. Four heartbeats at least fit into the patience: a lost packet or a busy moment is no death."""

    heartbeat_s: float = 0.2
    suspect_after_s_min: float = 0.8
    suspect_after_s_max: float = 1.1


DEFAULTS = LivenessOptions()


class LivenessChange(msgspec.Struct, Generic[Peer], frozen=True, kw_only=True):
    """What a tick found."""

    suspected: tuple[Peer, ...] = ()
    trusted: tuple[Peer, ...] = ()
    heartbeat_due: bool = False


class NodeLiveness(Generic[Peer]):
    """The opinion of one node about its peers. Everybody is trusted at first, for one period of grace."""

    def __init__(
        self, now: float, peers: Iterable[Peer], *, options: LivenessOptions = DEFAULTS, seed: int = 0
    ) -> None:
        self._options = options
        self._jitter = Jitter(seed)
        self._suspected: set[Peer] = set()
        self._changed: dict[Peer, None] = {}
        self._heartbeat_at = now
        low, high = options.suspect_after_s_min, options.suspect_after_s_max
        self._patience_s = {peer: self._jitter.between(low, high) for peer in peers}
        self._suspect_at = {peer: now + patience_s for peer, patience_s in self._patience_s.items()}

    def is_suspected(self, peer: Peer) -> bool:
        """Is this peer thought dead or unreachable?"""
        return peer in self._suspected

    def on_heard(self, peer: Peer, now: float) -> None:
        """Anything at all came from `peer`."""
        if peer not in self._suspect_at:
            return
        self._suspect_at[peer] = now + self._patience_s[peer]
        if peer in self._suspected:
            self._suspected.discard(peer)
            self._changed[peer] = None

    def on_connected(self, peer: Peer, now: float) -> None:
        """A connection to `peer` was made: it lives."""
        self.on_heard(peer, now)

    def on_disconnected(self, peer: Peer, now: float) -> None:
        """The connection to `peer` broke: it is suspected until it is heard again."""
        if peer in self._suspect_at and peer not in self._suspected:
            self._suspected.add(peer)
            self._changed[peer] = None

    def tick(self, now: float) -> LivenessChange[Peer]:
        """What changed until now. Call it at `next_deadline`, or earlier.

        Whoever calls late was asleep, or too busy to listen: that says nothing of the others, and they get time to speak.
        """
        self._forgive_own_absence(now)
        for peer, deadline in self._suspect_at.items():
            if deadline <= now and peer not in self._suspected:
                self._suspected.add(peer)
                self._changed[peer] = None
        heartbeat_due = now >= self._heartbeat_at
        if heartbeat_due:
            self._heartbeat_at = now + self._options.heartbeat_s
        changed, self._changed = self._changed, {}
        return LivenessChange(
            suspected=tuple(peer for peer in changed if peer in self._suspected),
            trusted=tuple(peer for peer in changed if peer not in self._suspected),
            heartbeat_due=heartbeat_due,
        )

    def _forgive_own_absence(self, now: float) -> None:
        if now > self._heartbeat_at + 2 * self._options.heartbeat_s:
            for peer, deadline in self._suspect_at.items():
                self._suspect_at[peer] = max(deadline, now + self._patience_s[peer] / 2)

    def next_deadline(self) -> float:
        """When `tick` has something to say, in monotonic seconds; in the past when it has already."""
        if self._changed:
            return 0.0
        if not self._suspected:
            return min(self._heartbeat_at, *self._suspect_at.values()) if self._suspect_at else self._heartbeat_at
        waiting = [deadline for peer, deadline in self._suspect_at.items() if peer not in self._suspected]
        return min([self._heartbeat_at, *waiting])
