"""All checks of `samtala doctor`, node up or not, and their order of rank.

A check that cannot be done is a finding too, never an exception; network checks run together and each is bounded.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from room_server.config import NodeConfig
from room_server.report import NodeReport
from samtala.operate.machine import examine_clock, examine_open_files
from samtala.operate.network import examine_peers, examine_ports
from samtala.operate.reach import examine_reach
from samtala.operate.storage import examine_storage, examine_sync
from samtala.operate.verdict import Finding, critical, judge, ranked


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A node to examine. `report`: what it says itself, None if it does not answer; `silence`: then, why."""

    config: NodeConfig
    report: NodeReport | None
    silence: str = ""


async def examine(subject: Subject) -> list[Finding]:
    """Everything that is wrong with a node, the worst first, nothing twice."""
    config, report = subject.config, subject.report
    data = Path(config.data)
    found = [*_silence(subject), *(judge(report) if report is not None else [])]
    found += await trio.to_thread.run_sync(_examine_disk, config)
    found += examine_clock(data)
    found += examine_open_files(config.limits.connections, None if report is None else report.pid)
    found += await examine_ports(config, report)
    found += await examine_peers(config, report)
    seen_now = await examine_reach(config, report)
    if seen_now:  # What the node was told a while ago, by another name perhaps.
        found = [finding for finding in found if finding.name != "unreachable"]
    found += seen_now
    return ranked(_once(found))


def _examine_disk(config: NodeConfig) -> list[Finding]:
    data = Path(config.data)
    return [*examine_storage(config), *(examine_sync(data) if data.is_dir() else [])]


def _silence(subject: Subject) -> list[Finding]:
    if subject.report is not None:
        return []
    return [critical("node-down", subject.silence, "systemctl start samtala; journalctl -u samtala -n 50")]


def _once(findings: list[Finding]) -> list[Finding]:
    """What the node says itself and what was seen from outside may be the same: the later look explains more."""
    unique: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        unique[finding.name, finding.subject] = finding
    return list(unique.values())
