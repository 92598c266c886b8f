from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest

from room_server.report import NodeReport, Reachability
from samtala.cli import main
from samtala.cli.status import status_lines
from samtala.operate.verdict import judge
from tests.samtala.cli.admin_double import serving_answers
from tests.samtala.operate.reports import backup, node_report, peer, reach, rooms


def screen(report: NodeReport) -> str:
    return click.unstyle("\n".join(status_lines(report, judge(report))))


def test_screen_of_a_healthy_node() -> None:
    assert screen(node_report()) == (
        "a  ready · up 3 h 12 min · samtala 1.2.3 · protocol 1 · a.example:7610\n"
        "\n"
        "rooms     3 hosted, 1 led here · 3 normal\n"
        "margin    every room survives 1 more\n"
        "peers     b  up    lag 0        0.4 ms  b.example:7610\n"
        "          c  up    lag 0        0.4 ms  c.example:7610\n"
        "disk      50% free, 50 GB of 100 GB · log 64 MB, history 3.0 MB\n"
        "backup    last 12 min 0 s ago, found whole\n"
        "clients   3 connections\n"
        "dht       2 nodes · oldest record 12 min 0 s"
    )


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (node_report(rooms=rooms(hosted=0, margin=None)), "margin    no room yet"),
        (node_report(rooms=rooms(cold=2)), "rooms     3 hosted, 1 led here · 3 normal · 2 cold"),
        (node_report(rooms=rooms(margin=0)), "margin    no room survives another failure"),
        (node_report(rooms=rooms(margin=0, at_margin=2)), "margin    2 of 3 rooms would not survive another failure"),
        (node_report(rooms=rooms(margin=-1)), "margin    no room has a majority: read-only"),
        (node_report(rooms=rooms(margin=1, at_margin=2)), "margin    2 of 3 rooms survive 1 more, the others more"),
        (node_report(backup=None), "backup    unknown"),
        (node_report(backup=backup(None)), "backup    none yet"),
        (node_report(backup=backup(7200.0)), "backup    last 2 h 0 min ago, never verified"),
        (
            node_report(backup=backup(60.0, 7200.0)),
            "backup    last 1 min 0 s ago, the newest found whole is 2 h 0 min old",
        ),
        (node_report(dht=None), "dht       off"),
        (node_report(reach=reach(Reachability.YES, "b gets through")), "reached   yes: b gets through, 1 min 0 s ago"),
        (node_report(reach=reach(Reachability.NO, "b tried")), "reached   NO: b tried, 1 min 0 s ago"),
        (node_report(reach=reach(Reachability.NO, "b tried")), "warning: b tried"),
        (node_report(peers=()), "peers     none"),
        (node_report(peers=(peer("b", up=False),)), "warning: no link to b at b.example:7610"),
        (node_report(full=True), "critical: new messages are refused"),
    ],
)
def test_screen_says_what_is_so(report: NodeReport, line: str) -> None:
    assert any(shown.startswith(line) for shown in screen(report).splitlines()), screen(report)


@pytest.mark.parametrize(("report", "code"), [(node_report(), 0), (node_report(full=True), 1)])
def test_exit_code_says_whether_all_is_well(
    report: NodeReport, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_answers(tmp_path / "s", {"/status": msgspec.json.encode(report)}) as path:
        assert main(["status", "--socket", str(path), "--json"]) == code

    assert msgspec.json.decode(capsys.readouterr().out, type=NodeReport) == report


def test_no_server_is_said_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--socket", str(tmp_path / "nobody")]) == 5
    assert "samtala node serve" in capsys.readouterr().err
