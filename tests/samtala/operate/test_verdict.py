from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from room_server.report import DhtReport, NodeReport, Reachability, RouterReport
from samtala.operate.verdict import Severity, judge, worst
from tests.samtala.operate.reports import GB, backup, node_report, peer, reach, rooms

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
LONELY = DhtReport(nodes=0, oldest_record_age_s=0.0)

FAULTS = [
    (node_report(rooms=rooms(diverged=1)), "diverged-rooms", Severity.CRITICAL),
    (node_report(rooms=rooms(undecidable=2)), "rooms-undecidable", Severity.CRITICAL),
    (node_report(rooms=rooms(margin=-1)), "rooms-unavailable", Severity.CRITICAL),
    (node_report(full=True), "storage-full", Severity.CRITICAL),
    (node_report(rooms=rooms(margin=0)), "next-failure-stops-rooms", Severity.WARNING),
    (node_report(free_bytes=9 * GB), "disk-full-soon", Severity.WARNING),
    (node_report(peers=(peer("b", up=False), peer("c"))), "peer-unreachable", Severity.WARNING),
    (node_report(peers=(peer("b", lag_ops=5000),)), "peer-lagging", Severity.WARNING),
    (node_report(peers=(peer("b", rtt_ms=600.0),)), "peer-slow", Severity.WARNING),
    (node_report(backup=backup(None)), "backup-missing", Severity.WARNING),
    (node_report(backup=backup(40 * 3600.0)), "backup-stale", Severity.WARNING),
    (node_report(backup=backup(60.0)), "backup-unverified", Severity.WARNING),
    (node_report(backup=backup(60.0, 9 * 86_400.0)), "backup-unverified", Severity.WARNING),
    (node_report(rooms=rooms(damaged=1)), "rooms-damaged", Severity.WARNING),
    (node_report(peers=(peer("b", clock_offset_s=-0.6), peer("c"))), "clock-offset", Severity.WARNING),
    (node_report(not_ready_because="draining"), "not-ready", Severity.WARNING),
    (node_report(reach=reach(Reachability.NO)), "unreachable", Severity.WARNING),
    (node_report(dht=LONELY), "dht-empty", Severity.WARNING),
]


def test_healthy_node_has_no_findings() -> None:
    assert judge(node_report()) == []
    assert worst([]) is Severity.OK


@pytest.mark.parametrize(("report", "name", "severity"), FAULTS, ids=[name for _, name, _ in FAULTS])
def test_each_fault_is_found_alone_with_a_way_out(report: NodeReport, name: str, severity: Severity) -> None:
    [finding] = judge(report)

    assert (finding.name, finding.severity) == (name, severity)
    assert "\n" not in finding.why
    assert finding.fix
    for word in finding.fix.split():
        if word.startswith("docs/runbooks/"):
            assert (RUNBOOKS / Path(word).name).exists(), word


def test_new_server_or_one_without_rooms_needs_no_copy_yet() -> None:
    assert judge(node_report(backup=backup(None, node_age_s=6 * 86_400.0))) == []
    assert judge(node_report(backup=backup(None), rooms=rooms(hosted=0, margin=None))) == []
    assert judge(node_report(backup=backup(60.0, node_age_s=3600.0))) == []


@pytest.mark.parametrize("state", [Reachability.YES, Reachability.UNKNOWN])
def test_server_that_is_reached_or_cannot_know_is_well(state: Reachability) -> None:
    assert judge(node_report(reach=reach(state))) == []


def test_worst_comes_first() -> None:
    findings = judge(node_report(full=True, peers=(peer("b", up=False),), rooms=rooms(margin=0, undecidable=1)))

    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), reverse=True
    )
    assert worst(findings) is Severity.CRITICAL


def test_nobody_asks_for_discovery_while_no_peer_is_there_or_it_is_off() -> None:
    assert judge(node_report(dht=None)) == []
    assert [finding.name for finding in judge(node_report(dht=LONELY, peers=(peer("b", up=False),)))] == [
        "peer-unreachable"
    ]


@pytest.mark.parametrize(
    ("ports", "trouble", "name"),
    [
        ((), "PCP result 2", "router-forwards-nothing"),
        (("TCP 7610",), "no answer from the router", "router-forwards-nothing"),
        (("TCP 7611", "UDP 7610"), "", "router-port-differs"),
        (("TCP 7610", "UDP 7610"), "", None),
    ],
)
def test_what_the_home_router_does_is_judged(ports: tuple[str, ...], trouble: str, name: str | None) -> None:
    router = RouterReport(ports=ports, host="", trouble=trouble)
    found = judge(msgspec.structs.replace(node_report(), address="home.example:7610", router=router))

    assert [finding.name for finding in found] == ([] if name is None else [name])
