"""Chance for pure cores: a seeded stream of numbers, the same for the same seed everywhere.

Good enough to spread timers and to number questions; nothing secret depends on it.
"""

from __future__ import annotations

import hashlib


class Jitter:
    """A stream of numbers from a seed."""

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(16, "big", signed=True)
        self._count = 0

    def number(self) -> int:
        """The next number, 0 to 2**63 - 1."""
        self._count += 1
        digest = hashlib.blake2b(self._count.to_bytes(8, "big"), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def between(self, low: float, high: float) -> float:
        """The next number, scaled to low … high."""
        return low + (high - low) * (self.number() / 2**63)
