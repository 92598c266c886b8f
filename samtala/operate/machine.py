"""The machine under a node: its clock, and how many files a process may open."""

from __future__ import annotations

import ctypes
import re
import resource
import time
from pathlib import Path
from typing import Final

from samtala.operate.units import span
from samtala.operate.verdict import Finding, critical, warning

_EARLIEST_S: Final = 1_735_689_600
"""2025-01-01: no clock that is right shows less."""
_BACKWARDS_S: Final = 60.0
_TIME_ERROR: Final = 5
"""What adjtimex returns while nothing disciplines the clock (adjtimex(2))."""
_TIMEX_BYTES: Final = 256
"""More than struct timex has on any Linux."""
FILES_SPARE: Final = 256
"""Beyond connections: log, history, DHT, libraries."""


def examine_clock(data: Path) -> list[Finding]:
    """Whether the clock can be right."""
    return clock_findings(time.time(), newest_s=_newest(data), synchronised=_is_synchronised())


def clock_findings(now_s: float, *, newest_s: float, synchronised: bool | None) -> list[Finding]:
    """Judge a clock: `now_s` and `newest_s`, the last change of the data folder, are unix seconds; None: unknown."""
    if now_s < _EARLIEST_S:
        return [critical("clock-wrong", "the clock shows a time long past", "timedatectl set-ntp true; date")]
    if newest_s > now_s + _BACKWARDS_S:
        why = f"the clock went back: files of the data folder are {span(newest_s - now_s)} younger than now"
        return [critical("clock-went-back", why, "timedatectl set-ntp true; date")]
    if synchronised is False:
        why = "nothing keeps this machine's clock right: times of messages and of log lines will drift"
        return [warning("clock-unsynchronised", why, "timedatectl set-ntp true")]
    return []


def _newest(data: Path) -> float:
    try:
        return max((path.stat().st_mtime for path in (data, *data.iterdir())), default=0.0)
    except OSError:
        return 0.0


def _is_synchronised() -> bool | None:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def examine_open_files(connections: int, pid: int | None) -> list[Finding]:
    """Whether the node, or who would be it, may open as many files as it may have connections."""
    return open_files_findings(_limit_of(pid) or resource.getrlimit(resource.RLIMIT_NOFILE)[0], connections)


def open_files_findings(limit: int, connections: int) -> list[Finding]:
    """Judge a limit on open files; -1: none."""
    needed = connections + FILES_SPARE
    if limit in {-1, resource.RLIM_INFINITY} or limit >= needed:
        return []
    why = f"{limit} files may be open, but limits.connections = {connections} needs {needed}: connections will fail"
    fix = f"LimitNOFILE={needed} in the unit (or ulimit -n {needed}), or a lower limits.connections"
    return [warning("open-files", why, fix)]


def _limit_of(pid: int | None) -> int | None:
    """The soft limit of a running process, where /proc tells."""
    try:
        text = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return None
    found = re.search(r"^Max open files +(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None
