"""Reports of clusters as tests want them."""

from __future__ import annotations

from room_server.cluster_report import ClusterNodeReport, ClusterReport, Role, VitalsReport, WaitingReport


def vitals(
    *,
    led: int = 1,
    stopped: int = 0,
    margin: int | None = 1,
    reason: str = "",
    critical: tuple[str, ...] = (),
    protocol: int = 1,
    backup_age_s: int | None = None,
) -> VitalsReport:
    return VitalsReport(
        version="0.4.1", protocol=protocol, reason=reason, led=led, hosted=3, stopped=stopped, margin=margin, lag_ops=0,
        disk_free=0.61, critical=critical, backup_age_s=backup_age_s,
    )  # fmt: skip


def node(
    name: str,
    told: VitalsReport | None = vitals(),  # noqa: B008 - frozen
    *,
    up: bool = True,
    role: Role = Role.VOTER,
    version: str = "0.4.1",
) -> ClusterNodeReport:
    return ClusterNodeReport(
        name=name, address=f"{name}.example:7610", version=version, here=name == "a", role=role, up=up,
        rtt_ms=None if name == "a" else 0.4, vitals=told,
    )  # fmt: skip


def report(*nodes: ClusterNodeReport, waiting: tuple[WaitingReport, ...] = ()) -> ClusterReport:
    return ClusterReport(
        name="Malmö makers", id="00" * 16, revision=3, leader="a", nodes=nodes or (node("a"), node("b"), node("c")),
        waiting=waiting, invitations=0, room_makers="everybody", room_replicas=3,
    )  # fmt: skip


OTTER = WaitingReport(name="d", address="d.example:7610", version="0.4.1", words="otter-lamp-brick")
