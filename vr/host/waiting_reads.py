"""Who waits for which read: numbers given to replicas, events for their tasks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from vr.host.errors import HostClosed
from vr.ready import ReadDone
from vr.types import OpNumber


class WaitingRead(msgspec.Struct):
    """One read; `op` is None while it waits, and for ever when the host closed."""

    number: int
    is_done: trio.Event
    op: OpNumber | None = None

    async def result(self) -> OpNumber:
        """Wait for it. Raises HostClosed."""
        await self.is_done.wait()
        if self.op is None:
            raise HostClosed("the host is stopping")
        return self.op


class WaitingReads:
    """All reads of this process; numbers are unique over groups. Bounded by what replicas take."""

    def __init__(self) -> None:
        self._waiting: dict[int, WaitingRead] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self) -> WaitingRead:
        """A read with a number of its own."""
        self._count += 1
        waiting = self._waiting[self._count] = WaitingRead(self._count, trio.Event())
        return waiting

    def end(self, waiting: WaitingRead) -> None:
        """It was answered, or nobody waits any more."""
        self._waiting.pop(waiting.number, None)

    def settle(self, reads: Sequence[ReadDone]) -> None:
        """Replicas settled these."""
        for done in reads:
            waiting = self._waiting.get(done.number)
            if waiting is not None:
                waiting.op = done.op
                waiting.is_done.set()

    def close(self) -> None:
        """Nothing is settled any more."""
        for waiting in self._waiting.values():
            waiting.is_done.set()
