"""What an operator should know of a cluster, from what its servers say. Pure.

ClusterReport ─┬─ headline: what all rooms survive        (`samtala cluster status`)
└─ judge_upgrade: may each be stopped now? (`samtala cluster upgrade-check`)
"""

from __future__ import annotations

import msgspec

from room_server.cluster_report import ClusterNodeReport, ClusterReport, Role
from samtala.operate.units import counted


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one server may be stopped now. `why_not`: empty if it may."""

    node: str
    version: str
    protocol: int | None
    why_not: str
    level: int = 1


class UpgradeVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """`problems`: of the whole cluster, for which no server should be stopped. `level`: of formats, what servers write now."""

    versions: tuple[str, ...]
    problems: tuple[str, ...]
    nodes: tuple[Stop, ...]
    level: int = 1

    @property
    def formats(self) -> str:
        """What servers write, and whether one may go back to the version that it had."""
        behind = [node.node for node in self.nodes if node.level <= self.level]
        if len(behind) == len(self.nodes):
            return f"level {self.level}, known to all"
        return f"level {self.level}; a later one when {', '.join(behind)} knows it. Until then each server may go back to its older version"

    @property
    def is_good(self) -> bool:
        """Every server may be stopped, one at a time."""
        return not self.problems and not any(node.why_not for node in self.nodes)


def headline(report: ClusterReport) -> str:
    """What the cluster's rooms survive, in words."""
    told = [node.vitals for node in report.nodes if node.vitals is not None]
    stopped = max((vitals.stopped for vitals in told), default=0)
    if stopped:
        return f"{counted(stopped, 'room')} without a majority: read-only"
    margins = [vitals.margin for vitals in told if vitals.margin is not None]
    if not margins:
        return "no room yet"
    if min(margins) <= 0:
        return "some rooms survive no failure"
    return f"all rooms survive {counted(min(margins), 'failure')}"


def rooms_of(report: ClusterReport) -> int:
    """Rooms that somebody leads; each is led once."""
    return sum(node.vitals.led for node in report.nodes if node.vitals is not None)


def state_of(node: ClusterNodeReport) -> str:
    """How a server is, in a word or two."""
    if not node.up:
        return "DOWN"
    if node.vitals is None:
        return "silent"
    return node.vitals.reason or "ok"


def judge_upgrade(report: ClusterReport) -> UpgradeVerdict:
    """May each server be stopped now, to be upgraded? Formats change only when all servers know them."""
    problems = []
    protocols = {node.vitals.protocol for node in report.nodes if node.vitals is not None}
    if len(protocols) > 1:
        problems.append(f"servers speak different protocols ({_listed(protocols)}): bring all to one version first")
    stopped = max((node.vitals.stopped for node in report.nodes if node.vitals is not None), default=0)
    if stopped:
        problems.append(f"{counted(stopped, 'room')} without a majority: bring the missing servers back first")
    return UpgradeVerdict(
        versions=tuple(sorted({node.version for node in report.nodes})),
        problems=tuple(problems),
        nodes=tuple(_stop(node, report) for node in report.nodes),
        level=report.level,
    )


def _stop(node: ClusterNodeReport, report: ClusterReport) -> Stop:
    return Stop(
        node=node.name,
        version=node.version,
        protocol=None if node.vitals is None else node.vitals.protocol,
        why_not=_why_not(node, report),
        level=node.level,
    )


def _why_not(node: ClusterNodeReport, report: ClusterReport) -> str:
    if not node.up:
        return "it is down already"
    silent = [other.name for other in report.nodes if other.up and other.vitals is None]
    if silent:
        return f"{', '.join(silent)} has not told how it is: ask again in a few seconds"
    critical = [other.name for other in report.nodes if other.vitals is not None and node.name in other.vitals.critical]
    if critical:
        return f"a room led by {', '.join(critical)} would lose its majority"
    busy = [other for other in report.nodes if other is not node and other.up and other.vitals and other.vitals.reason]
    if busy:
        return f"{busy[0].name} is not ready yet: {busy[0].vitals.reason if busy[0].vitals else ''}"
    if _is_last_vote(node, report):
        return "the roster would lose its majority"
    return ""


def _is_last_vote(node: ClusterNodeReport, report: ClusterReport) -> bool:
    """More than one server decides on the roster, and without this one too few would."""
    voters = [one for one in report.nodes if one.role is Role.VOTER]
    left = sum(one.up for one in voters if one is not node)
    return len(voters) > 1 and node.role is Role.VOTER and left < len(voters) // 2 + 1


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
