"""Acts of a room's owner task that wait for their time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

Act: TypeAlias = Callable[[], None]
Give: TypeAlias = Callable[[Act], Awaitable[None]]
"""Takes acts for the owner's task."""


class Plan:
    """At most one act that waits for its time; `occasion` is what it is for."""

    def __init__(self) -> None:
        self.occasion: object = None
        self.scope = trio.CancelScope()

    def is_new(self, occasion: object) -> bool:
        """Tell whether something else is to be planned now; what was planned before is dropped then."""
        if occasion == self.occasion:
            return False
        self.occasion = occasion
        self.scope.cancel()
        self.scope = trio.CancelScope()
        return True

    async def later(self, give: Give, pause: tuple[float, float], act: Act) -> None:
        """Hand in an act after a pause of so many seconds (least, most), unless something else is planned by then."""
        with self.scope:
            await trio.sleep(random.uniform(*pause))  # noqa: S311 - a pause
            await give(act)
