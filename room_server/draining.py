"""An operator is about to stop this node: it leads nothing any more, and says so, but serves on until it is stopped.

    drain ─▶ every group that it leads gets another leader ─▶ again, should one come back ─▶ stop (SIGTERM), or undrain

Stopping does the same by itself (`room_server.handover`). What draining adds is that people can look before they stop: at the
rooms that would stand still, and at the moment when nothing is led from here.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog
import trio

from room_server import limits
from room_server.handover import hand_over, led_groups
from vr.host import Host

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class DrainReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the node is drained, and how many groups it leads still that another could lead."""

    is_draining: bool
    led: int


class Draining:
    """See the module.

    Args:
        host: whose groups are handed over.
        tell: whoever asks whether this node is ready has to be told no, or yes again.
    """

    def __init__(self, host: Host, *, tell: Callable[[bool], None]) -> None:
        self._host = host
        self._tell = tell
        self._is_on = False
        self._changed = trio.Event()

    def begin(self) -> DrainReport:
        """Lead nothing from now on."""
        return self._set(is_on=True)

    def end(self) -> DrainReport:
        """Be as other nodes again; groups come back as they please."""
        return self._set(is_on=False)

    def report(self) -> DrainReport:
        """How far it is."""
        return DrainReport(is_draining=self._is_on, led=len(led_groups(self._host)))

    def _set(self, *, is_on: bool) -> DrainReport:
        if is_on != self._is_on:
            self._is_on = is_on
            self._tell(is_on)
            self._changed.set()
            self._changed = trio.Event()
            log.info("drained" if is_on else "undrained")
        return self.report()

    async def run(self) -> None:
        """Hand over for as long as it is wanted, until cancelled."""
        while True:
            changed = self._changed
            if self._is_on:
                await hand_over(self._host)
            with trio.move_on_after(limits.DRAIN_LOOK_S if self._is_on else float("inf")):
                await changed.wait()
