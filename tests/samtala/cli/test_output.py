"""Lines for people, JSON for programs."""

from __future__ import annotations

import json

import pytest

from samtala.cli.output import clock_time, emit, run, table


def test_json_is_one_line_and_keeps_every_letter(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"text": "hej på dig"}, as_json=True, text="")

    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"text": "hej på dig"}
    assert "på" in out


def test_people_get_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"text": "x"}, as_json=False, text="a line")

    assert capsys.readouterr().out == "a line\n"


def test_a_time_of_day_has_seconds() -> None:
    assert len(clock_time(1_700_000_000_000_000)) == len("12:34:56")


def test_work_runs_and_gives_its_result() -> None:
    async def work() -> int:
        return 7

    assert run(work) == 7


def test_a_table_lines_its_columns_up() -> None:
    drawn = table(("NODE", "LAG"), [("a*", "0"), ("long name", "11")]).splitlines()

    assert len(drawn) == 3
    assert drawn[1].index("0") == drawn[2].index("11")
