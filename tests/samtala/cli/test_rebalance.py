from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from room_server.cluster_report import RebalanceReport, RoomChangeReport, ServerLoad
from samtala.cli import main
from tests.samtala.cli.admin_double import serving_answers

DONE = RebalanceReport(
    rooms=3,
    changes=(),
    changes_in_all=0,
    placed=(),
    under_way=(),
    held=(),
    leaderless=(),
    pinned=(),
    servers=(
        ServerLoad(name="a", now=3, then=2, why_none=""),
        ServerLoad(name="b", now=0, then=None, why_none="it is down"),
        ServerLoad(name="c", now=1, then=None, why_none=""),
    ),
)
CHANGES = tuple(RoomChangeReport(room=f"room{number}", now=("a", "b"), then=("a", "c")) for number in range(25))


def run(path: Path, report: RebalanceReport | bytes, *arguments: str) -> int:
    (path / "s").unlink(missing_ok=True)
    answer = report if isinstance(report, bytes) else msgspec.json.encode(report)
    with serving_answers(path / "s", {"/cluster/rebalance": answer}) as socket:
        return main(["cluster", "rebalance", *arguments, "--socket", str(socket)])


def test_a_plan_shows_each_server_and_the_first_rooms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = msgspec.structs.replace(
        DONE, changes=CHANGES, changes_in_all=1025, under_way=("x",), held=("y",), pinned=("z",)
    )

    assert run(tmp_path, planned) == 0

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:4] == [
        "a            3 rooms, then 2",
        "b            0 rooms, and gets none: it is down",
        "c            1 room, and shall have none",
        "room0  a,b -> a,c",
    ]
    assert "… and 1005 rooms more" in lines
    assert "1 room on their way: x" in lines
    assert "held: y: there is no other server for them" in lines
    assert "pinned: z: their owners move them (samtala room move)" in lines
    assert "add --apply" in err


def test_what_is_even_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, DONE, "--apply") == 0
    assert "Nothing is to be done." in capsys.readouterr().out
    assert run(tmp_path, DONE, "--stop", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rooms"] == 3


def test_a_room_that_had_to_stay_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, msgspec.structs.replace(DONE, pinned=("z",)), "--without", "b", "--apply") == 7
    assert "1 room had to stay on b" in capsys.readouterr().err


def test_a_room_that_does_not_get_there_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stuck = msgspec.structs.replace(
        DONE, changes=CHANGES[:1], changes_in_all=1, placed=("room0",), under_way=("room0",)
    )

    assert run(tmp_path, stuck, "--apply") == 5
    assert "room room0 does not get where it is wanted" in capsys.readouterr().err


def test_time_that_is_over_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    under_way = msgspec.structs.replace(DONE, under_way=("room0",))

    assert run(tmp_path, under_way, "--apply", "--timeout", "1") == 5
    assert "the servers go on" in capsys.readouterr().err


def test_refusals_are_told_as_they_were_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, b"409 no server 'x' in the cluster; there are a, b\n", "--without", "x") == 4
    assert "no server 'x' in the cluster" in capsys.readouterr().err
