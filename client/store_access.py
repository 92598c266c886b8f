"""The profile's store, from trio: one call at a time, in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

from client.store import Store

_Result = TypeVar("_Result")


class StoreAccess(Protocol):
    """The profile's store, from trio: one call at a time, in a thread."""

    async def run(self, act: Callable[[Store], _Result]) -> _Result:
        """Run `act` with the store."""


class StoreThread:
    """The store behind a limiter: one call at a time, in a worker thread (`StoreAccess`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limiter = trio.CapacityLimiter(1)

    async def run(self, act: Callable[[Store], _Result]) -> _Result:
        # Not abandoned on cancel: half a transaction must not meet a closed file.
        return await trio.to_thread.run_sync(act, self._store, limiter=self._limiter)
