from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from room_server.report import NodeReport
from samtala.cli import main
from tests.samtala.cli.admin_double import serving_answers
from tests.samtala.operate.reports import node_report, peer, rooms

CASES = [
    (node_report(), 0, "SAMTALA OK - a is ready, 3 rooms | rooms=3 rooms_led=1 peers_up=2"),
    (node_report(peers=(peer(up=False),)), 1, "SAMTALA WARNING - no link to b"),
    (node_report(rooms=rooms(margin=-1)), 2, "SAMTALA CRITICAL - 3 rooms without a majority"),
]


@pytest.mark.parametrize(("report", "code", "line"), CASES)
def test_one_line_and_the_exit_code_that_monitoring_expects(
    report: NodeReport, code: int, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_answers(tmp_path / "s", {"/status": msgspec.json.encode(report)}) as path:
        assert main(["check", "--socket", str(path)]) == code
        out = capsys.readouterr().out
        assert main(["check", "--socket", str(path), "--format", "json"]) == code

    assert out.startswith(line)
    assert out.count("\n") == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["status"] == ("ok", "warning", "critical")[code]
    assert len(shown["findings"]) == (0 if code == 0 else 1)


def test_silence_of_the_server_is_critical(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--socket", str(tmp_path / "nobody")]) == 2
    assert capsys.readouterr().out.startswith("SAMTALA CRITICAL - no node answers")


def test_what_cannot_be_asked_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(tmp_path / "none.toml")]) == 3
    assert capsys.readouterr().out.startswith("SAMTALA UNKNOWN - ")
