"""What groups have yet to be told about their peers' nodes: hot groups at once, sleeping ones a few hundred a second. Pure.

A node that dies concerns every group it shares with us. Waking thousands at once would cost their hot neighbours seconds,
and the heartbeats too, so that more nodes would be suspected. A sleeping group is told when its turn comes, or as soon as
anything at all comes in for it: nobody notices that it did not know. Who is trusted again before that was never suspected.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator

from vr.host.hosted_group import HostedGroup
from vr.host.limits import LIVENESS_STEPS_MAX, WAKES_BURST_MAX, WAKES_PER_S
from vr.types import ReplicaIndex


class Fate(enum.Enum):
    """What a replica is told about a peer."""

    SUSPECTED = enum.auto()
    TRUSTED = enum.auto()
    CONNECTED = enum.auto()


Tidings = tuple[HostedGroup, ReplicaIndex, Fate]


class Fates:
    """Per group the news that it has not heard; of one peer only what is still true. Bounded by the number of groups."""

    def __init__(self) -> None:
        self._hot: dict[HostedGroup, dict[ReplicaIndex, set[Fate]]] = {}
        self._cold: dict[HostedGroup, dict[ReplicaIndex, set[Fate]]] = {}
        self._allowance = float(WAKES_BURST_MAX)
        self._filled_at = -math.inf

    def __len__(self) -> int:
        return len(self._hot) + len(self._cold)

    def tell(self, hosted: HostedGroup, index: ReplicaIndex, fate: Fate, now: float) -> None:
        """Note news; opinions replace each other, and cancel out if the first was never told."""
        table = self._cold if hosted in self._cold or not hosted.is_hot(now) else self._hot
        news = table.setdefault(hosted, {}).setdefault(index, set())
        if fate is Fate.TRUSTED and Fate.SUSPECTED in news:
            news.discard(Fate.SUSPECTED)
        else:
            news.discard(Fate.TRUSTED if fate is Fate.SUSPECTED else Fate.SUSPECTED)
            news.add(fate)
        if not news:
            del table[hosted][index]
            if not table[hosted]:
                del table[hosted]

    def take(self, hosted: HostedGroup) -> Iterator[Tidings]:
        """Everything that one group has to hear: something has come in for it."""
        news = self._hot.pop(hosted, None) or self._cold.pop(hosted, None) or {}
        for index, fates in news.items():
            for fate in sorted(fates, key=lambda item: item.value):
                yield hosted, index, fate

    def due(self, now: float) -> Iterator[Tidings]:
        """The next groups to tell: hot ones, then as many sleeping ones as the allowance has."""
        self._refill(now)
        for hosted in list(self._hot)[:LIVENESS_STEPS_MAX]:
            yield from self.take(hosted)
        for hosted in list(self._cold)[: int(self._allowance)]:
            self._allowance -= 1
            yield from self.take(hosted)

    def next_due(self, now: float) -> float:
        """When `due` has something; infinity when nobody waits."""
        if self._hot:
            return now
        if not self._cold:
            return math.inf
        return now if self._allowance >= 1 else self._filled_at + 1 / WAKES_PER_S * WAKES_BURST_MAX / 8

    def _refill(self, now: float) -> None:
        if self._filled_at == -math.inf:
            self._filled_at = now
        self._allowance = min(self._allowance + (now - self._filled_at) * WAKES_PER_S, float(WAKES_BURST_MAX))
        self._filled_at = now
