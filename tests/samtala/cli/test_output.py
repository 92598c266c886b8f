"""Lines for people, JSON for programs."""

from __future__ import annotations

import json

import pytest

from samtala.cli.output import clock_time, emit, run


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
