"""Reports of nodes as tests want them."""

from __future__ import annotations

from room_server.report import (
    BackupReport,
    ClientsReport,
    DhtReport,
    DiskReport,
    NodeReport,
    PeerReport,
    Reachability,
    ReachReport,
    RoomsReport,
)

GB = 1_000_000_000


def rooms(
    *,
    hosted: int = 3,
    margin: int | None = 1,
    at_margin: int | None = None,
    diverged: int = 0,
    undecidable: int = 0,
    cold: int = 0,
    damaged: int = 0,
) -> RoomsReport:
    return RoomsReport(
        hosted=hosted,
        led=1,
        states={"normal": hosted},
        margin=margin,
        at_margin=hosted if at_margin is None else at_margin,
        diverged=diverged,
        undecidable=undecidable,
        cold=cold,
        damaged=damaged,
    )


def peer(
    name: str = "b",
    *,
    up: bool = True,
    lag_ops: int = 0,
    rtt_ms: float | None = 0.4,
    clock_offset_s: float | None = 0.001,
) -> PeerReport:
    return PeerReport(
        name=name, address=f"{name}.example:7610", up=up, lag_ops=lag_ops, rtt_ms=rtt_ms, clock_offset_s=clock_offset_s
    )


def backup(age_s: float | None, verified_age_s: float | None = None, node_age_s: float = 9e6) -> BackupReport:
    return BackupReport(age_s=age_s, verified_age_s=verified_age_s, node_age_s=node_age_s)


def reach(state: Reachability, why: str = "b tried 93.184.216.34:7610, and nothing answers") -> ReachReport:
    return ReachReport(state=state, why=why, age_s=60.0)


def node_report(
    *,
    rooms: RoomsReport = rooms(),  # noqa: B008 - frozen
    peers: tuple[PeerReport, ...] = (peer("b"), peer("c")),
    free_bytes: int = 50 * GB,
    full: bool = False,
    not_ready_because: str | None = None,
    backup: BackupReport | None = BackupReport(age_s=720.0, verified_age_s=720.0, node_age_s=9e6),  # noqa: B008 - frozen
    dht: DhtReport | None = DhtReport(nodes=2, oldest_record_age_s=720.0),  # noqa: B008 - frozen
    reach: ReachReport | None = None,
) -> NodeReport:
    return NodeReport(
        name="a",
        version="1.2.3",
        protocol=1,
        pid=42,
        address="a.example:7610",
        replica_id="00" * 16,
        uptime_s=11_520.0,
        not_ready_because=not_ready_because,
        rooms=rooms,
        peers=peers,
        disk=DiskReport(
            data="/var/lib/samtala",
            free_bytes=free_bytes,
            total_bytes=100 * GB,
            log_bytes=64_000_000,
            history_bytes=3_000_000,
            full=full,
        ),
        clients=ClientsReport(connections=3, waiting_bytes=0),
        dht=dht,
        backup=backup,
        reach=reach,
    )
