"""`samtala version` answers, for people and for programs."""

from __future__ import annotations

import json

import pytest

from samtala.cli import main as run_command


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["version"]) == 0
    assert capsys.readouterr().out.startswith("samtala ")


def test_the_version_is_json_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["version", "--json"]) == 0
    assert "version" in json.loads(capsys.readouterr().out)


def test_a_mistyped_command_gets_the_nearest_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["joni", "SAMTALA:X"]) == 2
    assert "did you mean 'join'" in capsys.readouterr().err


def test_a_mistyped_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["version", "--jsn"]) == 2
    assert "--json" in capsys.readouterr().err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("chat", "demo", "join", "node", "room", "send", "tail"))
