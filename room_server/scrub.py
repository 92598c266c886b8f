"""Reads the whole data folder once in a while, so that rot is found while other servers can still mend it.

    due ─▶ `python -m vr.storage verify --gently` in a process of its own ─▶ findings: logged, counted, remembered in scrub.json

Only reads, and needs nothing of the running node; a file that is being written is no finding. A process of its own, at the lowest
priority, because decoding everything would hold up the event loop. Servers that start together scrub at different times. A scrub that
the node's end cut off begins anew.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from room_server import limits
from room_server.metrics import NodeMetrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

STATE_NAME: Final = "scrub.json"
_DAY_S: Final = 86_400.0
_US: Final = 1e6
_CODES: Final = frozenset({0, 1})
"""Of `verify`: whole, or findings."""


class ScrubState(msgspec.Struct, frozen=True, kw_only=True):
    """When the last scrub ended, unix microseconds (0: never), and how many findings it had."""

    finished_us: int = 0
    findings: int = 0


def due_s(state: ScrubState, now_us: int, *, days: int, random01: float) -> float:
    """Seconds until the next scrub: the first within a day, then every so many days, up to a tenth more."""
    if not state.finished_us:
        return random01 * _DAY_S
    period_s = days * _DAY_S * (1 + random01 / 10)
    return max(state.finished_us / _US + period_s - now_us / _US, 0.0)


class Scrub:
    """See the module.

    Args:
        data: the data folder.
        days: between two scrubs; 0: never.
        metrics: what is told.
        wall_us: the clock, unix microseconds.
        random01: a random number from 0 to 1.
    """

    def __init__(
        self, data: str, *, days: int, metrics: NodeMetrics, wall_us: Callable[[], int], random01: Callable[[], float]
    ) -> None:
        self._data = data
        self._days = days
        self._metrics = metrics
        self._wall_us = wall_us
        self._random01 = random01

    async def run(self) -> None:
        """Scrub when it is due, until cancelled."""
        state = await trio.to_thread.run_sync(self._read)
        self._tell(state)
        while self._days:
            await trio.sleep(due_s(state, self._wall_us(), days=self._days, random01=self._random01()))
            found = await self._scrub()
            if found is None:
                await trio.sleep(limits.SCRUB_RETRY_S)
                continue
            state = ScrubState(finished_us=self._wall_us(), findings=found)
            self._tell(state)
            await trio.to_thread.run_sync(self._write, state)

    async def _scrub(self) -> int | None:
        """How much is wrong; None: it could not be found out."""
        most = str(limits.SCRUB_FINDINGS_MAX)
        done = await trio.run_process(
            [sys.executable, "-m", "vr.storage", "verify", "--gently", "--most", most, self._data],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        lines = done.stdout.decode(errors="replace").splitlines()
        if done.returncode not in _CODES:
            log.warning("scrub_failed", code=done.returncode, reason=lines[-1] if lines else "")
            return None
        for line in lines[:-1]:
            log.error("scrub_found", finding=line)
        log.info("scrub_ended", verdict=lines[-1])
        return len(lines) - 1

    def _tell(self, state: ScrubState) -> None:
        self._metrics.scrub_findings.set(state.findings)
        self._metrics.scrub_completed.set(state.finished_us / _US)

    def _read(self) -> ScrubState:
        try:
            return msgspec.json.decode((Path(self._data) / STATE_NAME).read_bytes(), type=ScrubState)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return ScrubState()

    def _write(self, state: ScrubState) -> None:
        path = Path(self._data) / STATE_NAME
        try:
            path.with_suffix(".new").write_bytes(msgspec.json.encode(state))
            path.with_suffix(".new").replace(path)
        except OSError as error:
            log.warning("scrub_not_remembered", reason=str(error))
