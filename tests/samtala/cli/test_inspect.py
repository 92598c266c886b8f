from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest

from room_server.report import MemberReport, RoomDetail
from samtala.cli import main
from samtala.cli.inspect import detail_lines
from tests.samtala.cli.admin_double import serving_answers
from tests.samtala.cli.test_top import room


def detail(*, why: str | None = None, quota_bytes: int | None = None) -> RoomDetail:
    return RoomDetail(
        room=room(margin=0),
        why_not_progressing=why,
        applied=18_230,
        view_changes=2,
        members=(
            MemberReport(name="a", here=True, leads=True, up=True, lag_ops=None),
            MemberReport(name="c", here=False, leads=False, up=False, lag_ops=11),
        ),
        stored_bytes=17_400_000,
        quota_bytes=quota_bytes,
    )


def test_room_is_shown_with_its_servers_and_what_is_wrong() -> None:
    lines = [click.unstyle(line) for line in detail_lines(detail(why="1 of 3 replicas are up"))]

    assert lines == [
        "room 74a0df41  normal · view 4 · survives 0 more",
        "operations   18231 logged, 18231 committed, 18230 applied",
        "view changes 2 since this server started",
        "stored       17 MB",
        "  a*  up    leads",
        "  c   DOWN  lag 11",
        "stands still: 1 of 3 replicas are up",
    ]


@pytest.mark.parametrize(
    ("quota_bytes", "said"),
    [(20_000_000, "17 MB of 20 MB"), (17_000_000, "17 MB of 17 MB: full, it takes no messages")],
)
def test_a_room_s_quota_is_shown(quota_bytes: int, said: str) -> None:
    lines = [click.unstyle(line) for line in detail_lines(detail(quota_bytes=quota_bytes))]

    assert f"stored       {said}" in lines


@pytest.mark.parametrize(("why", "code"), [(None, 0), ("the disk is slow", 1)])
def test_exit_code_says_whether_it_gets_on(
    why: str | None, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_answers(tmp_path / "s", {"/room": msgspec.json.encode(detail(why=why))}) as path:
        assert main(["room", "inspect", "74a0df41", "--socket", str(path), "--json"]) == code

    assert msgspec.json.decode(capsys.readouterr().out, type=RoomDetail) == detail(why=why)


def test_room_that_is_not_here_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving_answers(tmp_path / "s", {}) as path:
        assert main(["room", "inspect", "x", "--socket", str(path)]) == 4
    assert "no such thing" in capsys.readouterr().err
