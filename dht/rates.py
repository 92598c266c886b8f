"""Rates: who may ask how much, and how much leaves us (generic cell rate algorithm; one number per source).

    theoretical arrival time T of a source:   conforms when  T <= now + tolerance;   then T = max(T, now) + cost / rate

A source that was idle has `burst` at once and `rate` a second from then on. Sources are remembered in order of use and
the longest idle are forgotten, so a flood of forged addresses costs a bounded table and can at worst give an old source
a new burst.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Source = TypeVar("Source", bound=Hashable)


class Rates(Generic[Source]):
    """Rates of many sources: `per_s` units sustained, `burst` at once, at most `sources_max` remembered."""

    def __init__(self, *, per_s: float, burst: float, sources_max: int) -> None:
        assert per_s > 0, "a rate is positive"
        assert burst > 0, "nothing could ever pass"
        self._per_s = per_s
        self._tolerance_s = burst / per_s
        self._sources_max = sources_max
        self._arrivals: OrderedDict[Source, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrivals)

    def allows(self, source: Source, now: float, *, cost: float = 1.0) -> bool:
        """Take `cost` units and return True, or take nothing and return False."""
        if self.delay(source, now, cost=cost) > 0:
            return False
        self.take(source, now, cost=cost)
        return True

    def delay(self, source: Source, now: float, *, cost: float = 1.0) -> float:
        """Return the seconds until `cost` units may be taken, 0 when they may now."""
        arrival = max(self._arrivals.get(source, now), now)
        return max(0.0, arrival + cost / self._per_s - now - self._tolerance_s)

    def take(self, source: Source, now: float, *, cost: float = 1.0) -> None:
        """Take `cost` units, conforming or not."""
        self._arrivals[source] = max(self._arrivals.get(source, now), now) + cost / self._per_s
        self._arrivals.move_to_end(source)
        if len(self._arrivals) > self._sources_max:
            self._arrivals.popitem(last=False)


class Proofs(Generic[Source]):
    """Sources that lately proved to be where they claim: by a token or pong that only went there."""

    def __init__(self, *, life_s: float, sources_max: int) -> None:
        self._life_s = life_s
        self._sources_max = sources_max
        self._proven_at: OrderedDict[Source, float] = OrderedDict()

    def prove(self, source: Source, now: float) -> None:
        """Note a proof."""
        self._proven_at[source] = now
        self._proven_at.move_to_end(source)
        if len(self._proven_at) > self._sources_max:
            self._proven_at.popitem(last=False)

    def is_proven(self, source: Source, now: float) -> bool:
        """Whether a proof is fresh."""
        proven_at = self._proven_at.get(source)
        return proven_at is not None and now - proven_at <= self._life_s
