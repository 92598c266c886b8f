from __future__ import annotations

import os
from pathlib import Path

import pytest

from samtala.operate.machine import clock_findings, examine_clock, examine_open_files, open_files_findings

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("now_s", "newest_s", "synchronised", "names"),
    [
        (NOW_S, NOW_S - 5, True, []),
        (NOW_S, NOW_S + 5, None, []),
        (NOW_S, NOW_S, False, ["clock-unsynchronised"]),
        (NOW_S, NOW_S + 3600, False, ["clock-went-back"]),
        (100.0, 0.0, None, ["clock-wrong"]),
    ],
)
def test_clock_is_judged(now_s: float, newest_s: float, synchronised: bool | None, names: list[str]) -> None:
    findings = clock_findings(now_s, newest_s=newest_s, synchronised=synchronised)

    assert [finding.name for finding in findings] == names


def test_file_from_the_future_tells_on_the_clock(tmp_path: Path) -> None:
    (tmp_path / "history.db").touch()
    os.utime(tmp_path / "history.db", (4e9, 4e9))

    assert [finding.name for finding in examine_clock(tmp_path)] == ["clock-went-back"]
    assert all(finding.name == "clock-unsynchronised" for finding in examine_clock(tmp_path / "missing"))


@pytest.mark.parametrize(("limit", "found"), [(1024, True), (10_256, False), (-1, False)])
def test_limit_on_open_files_has_to_carry_the_connections(limit: int, found: bool) -> None:
    findings = open_files_findings(limit, 10_000)

    assert bool(findings) is found
    assert all("LimitNOFILE=10256" in finding.fix for finding in findings)


def test_limit_of_the_running_process_counts() -> None:
    assert examine_open_files(10, os.getpid()) == []
    assert examine_open_files(2**31, os.getpid()) != []
    assert examine_open_files(10, None) == []
