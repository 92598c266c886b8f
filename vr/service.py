"""What is replicated: any deterministic state machine (VRR 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vr.log import Request
from vr.types import OpNumber


class Service(Protocol):
    """A deterministic service: equal calls in equal order give equal results and equal snapshots everywhere.

    Time comes from `timestamp_us` alone, which the primary set and which never goes back. A service may also have
    `mark() -> int`: a number that never falls, kept beside each operation in history (a room's next sequence number).
    """

    def apply(self, op: OpNumber, timestamp_us: int, requests: Sequence[Request]) -> list[bytes]:
        """Execute a batch in order; one result for each request. Repeats and registers never arrive here."""
        ...

    def snapshot(self) -> bytes:
        """Everything that later results depend on, in deterministic bytes."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Become what `snapshot` describes."""
        ...
