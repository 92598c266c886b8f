"""What is wrong with a node, judged from its own report: `status`, `check` and `doctor` say the same. Pure.

    NodeReport ─▶ judge ─▶ findings, the worst first; each one line why, and the command or page that mends it

Severity follows the alerts of `deploy/prometheus`: critical is what pages somebody at night.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from room_server.report import NodeReport, Reachability
from samtala.operate.units import counted, milliseconds, size, span

FREE_FRACTION_MIN: Final = 0.10
"""Of the disk: below, somebody should make room this week."""
RTT_MS_MAX: Final = 400.0
"""Between servers: above, every message waits noticeably (alert PeerSlow)."""
CLOCK_OFFSET_S_MAX: Final = 0.5
"""Between servers: above, messages stand in an order that surprises people (alert ClockOffset)."""
LAG_OPS_MAX: Final = 1000
"""Operations a living peer may be behind: above, it would take seconds to take over."""


BACKUP_AGE_S_MAX: Final = 36 * 3600.0
"""A copy is taken every hour or every night: above, at least one night's is missing (alert BackupStale)."""
VERIFIED_AGE_S_MAX: Final = 8 * 86_400.0
"""Of the newest copy that was found whole: a week and a day (alert BackupUnverified)."""
UNSAVED_S_MAX: Final = 7 * 86_400.0
"""That a server with rooms may be without any copy (alert BackupMissing)."""


class Severity(IntEnum):
    """How bad; the numbers are exit codes of `samtala check` (Nagios plugin API)."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that should not be so. `why` is one line; `fix` a command to type or a page to read."""

    severity: Severity
    name: str
    why: str
    fix: str
    subject: str = ""
    """Which of several, as the name of a peer."""


def worst(findings: list[Finding]) -> Severity:
    """The severity of the whole; UNKNOWN never hides CRITICAL."""
    severities = {finding.severity for finding in findings}
    for severity in (Severity.CRITICAL, Severity.UNKNOWN, Severity.WARNING):
        if severity in severities:
            return severity
    return Severity.OK


def ranked(findings: list[Finding]) -> list[Finding]:
    """The worst first."""
    order = (Severity.CRITICAL, Severity.UNKNOWN, Severity.WARNING, Severity.OK)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def judge(report: NodeReport) -> list[Finding]:
    """Everything that is wrong, the worst first."""
    return ranked(
        [
            *_rooms(report),
            *_disk(report),
            *_backup(report),
            *_peers(report),
            *_readiness(report),
            *_discovery(report),
            *_router(report),
            *_reach(report),
        ]
    )


def _rooms(report: NodeReport) -> list[Finding]:
    rooms, found = report.rooms, []
    if rooms.diverged:
        why = f"another server's copy of {counted(rooms.diverged, 'room')} differs from ours: one of them is wrong"
        found.append(critical("diverged-rooms", why, page("diverged-rooms")))
    if rooms.undecidable:
        why = f"{counted(rooms.undecidable, 'room')} cannot go on: disks lost an operation that may be committed"
        found.append(critical("rooms-undecidable", why, page("rooms-undecidable")))
    if rooms.damaged:
        why = f"{counted(rooms.damaged, 'room')} cannot run here: this disk lost what was promised in them"
        found.append(warning("rooms-damaged", why, page("rooms-damaged")))
    if rooms.margin is not None and rooms.margin < 0:
        why = f"{counted(rooms.at_margin, 'room')} without a majority of the servers: read-only"
        found.append(
            critical("rooms-unavailable", why, f"start the servers that are down; {page('rooms-unavailable')}")
        )
    elif rooms.margin == 0:
        why = f"{counted(rooms.at_margin, 'room')} will stop when one more server fails"
        found.append(warning("next-failure-stops-rooms", why, page("next-failure-stops-rooms")))
    return found


def _disk(report: NodeReport) -> list[Finding]:
    disk = report.disk
    left = f"{size(disk.free_bytes)} of {size(disk.total_bytes)} free where {disk.data} is"
    if disk.full:
        return [critical("storage-full", f"new messages are refused: {left}", page("storage-full"))]
    if disk.free_bytes < disk.total_bytes * FREE_FRACTION_MIN:
        return [warning("disk-full-soon", left, f"du -xh {disk.data} | sort -h | tail; {page('disk-full-soon')}")]
    return []


def _backup(report: NodeReport) -> list[Finding]:
    backup, fix = report.backup, "systemctl status samtala-backup.timer samtala-backup.service"
    if backup is None:
        return []
    if backup.age_s is None:
        if backup.node_age_s < UNSAVED_S_MAX or not report.rooms.hosted:
            return []
        why = f"no copy of the rooms was ever made, in {span(backup.node_age_s)}"
        return [warning("backup-missing", why, f"samtala backup create TARGET; {page('backup-missing')}")]
    if backup.age_s > BACKUP_AGE_S_MAX:
        why = f"the last copy of the rooms was made {span(backup.age_s)} ago"
        return [warning("backup-stale", why, f"{fix}; {page('backup-stale')}")]
    unproven_s = backup.node_age_s if backup.verified_age_s is None else backup.verified_age_s
    if unproven_s > VERIFIED_AGE_S_MAX:
        why = "no copy of the rooms of the last week was found whole"
        return [warning("backup-unverified", why, f"samtala backup verify TARGET; {page('backup-unverified')}")]
    return []


def _peers(report: NodeReport) -> list[Finding]:
    found = []
    for peer in report.peers:
        if not peer.up:
            why = f"no link to {peer.name} at {peer.address}"
            fix = f"on {peer.name}: samtala status; {page('peer-unreachable')}"
            found.append(warning("peer-unreachable", why, fix, subject=peer.name))
        elif peer.lag_ops > LAG_OPS_MAX:
            why = f"{peer.name} is {peer.lag_ops} operations behind"
            found.append(warning("peer-lagging", why, f"on {peer.name}: samtala doctor; {page('peer-lagging')}"))
        if peer.up and peer.rtt_ms is not None and peer.rtt_ms > RTT_MS_MAX:
            why = f"{milliseconds(peer.rtt_ms)} to {peer.name} and back: every message waits for that"
            found.append(warning("peer-slow", why, f"mtr {peer.address.rpartition(':')[0]}; {page('peer-slow')}"))
        if peer.clock_offset_s is not None and abs(peer.clock_offset_s) > CLOCK_OFFSET_S_MAX:
            side = "ahead of" if peer.clock_offset_s > 0 else "behind"
            why = f"the clock of {peer.name} is {abs(peer.clock_offset_s):.1f} s {side} ours"
            fix = f"timedatectl, here and on {peer.name}; {page('clock-offset')}"
            found.append(warning("clock-offset", why, fix, subject=peer.name))
    return found


def _readiness(report: NodeReport) -> list[Finding]:
    if report.not_ready_because is None:
        return []
    return [warning("not-ready", report.not_ready_because, "samtala status --watch")]


def _discovery(report: NodeReport) -> list[Finding]:
    if report.dht is None or report.dht.nodes or not any(peer.up for peer in report.peers):
        return []
    why = "no other node of the discovery network is known: links may not be found"
    return [warning("dht-empty", why, f"open UDP {report.address} in the firewall; {page('links-go-stale')}")]


def _router(report: NodeReport) -> list[Finding]:
    router, port = report.router, report.address.rpartition(":")[2]
    if router is None:
        return []
    if router.trouble:
        why = f"the home router does not forward our port: {router.trouble}"
        fix = (
            f'switch on PCP, NAT-PMP or "port sharing by devices" in the router, or forward TCP and UDP {port} by hand'
        )
        return [warning("router-forwards-nothing", why, fix)]
    if any(mapped.rpartition(" ")[2] != port for mapped in router.ports):
        why = f"the home router forwards {', '.join(router.ports)}, but this server announces port {port}"
        fix = "`advertise` in node.toml with the router's TCP port; systemctl restart samtala"
        return [warning("router-port-differs", why, fix)]
    return []


def _reach(report: NodeReport) -> list[Finding]:
    if report.reach is None or report.reach.state is not Reachability.NO:
        return []
    return [warning("unreachable", report.reach.why, f"samtala doctor; {page('unreachable')}")]


def page(name: str) -> str:
    """Where a runbook is."""
    return f"docs/runbooks/{name}.md"


def critical(name: str, why: str, fix: str, *, subject: str = "") -> Finding:
    """Something that should wake somebody."""
    return Finding(severity=Severity.CRITICAL, name=name, why=why, fix=fix, subject=subject)


def warning(name: str, why: str, fix: str, *, subject: str = "") -> Finding:
    """Something for the morning."""
    return Finding(severity=Severity.WARNING, name=name, why=why, fix=fix, subject=subject)
