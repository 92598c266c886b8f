from __future__ import annotations

import json
from pathlib import Path

import pytest

from samtala.cli import main


def of(tmp_path: Path, name: str, *arguments: str) -> int:
    return main(["--profile", str(tmp_path / name), *arguments])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    facts: dict[str, str] = json.loads(capsys.readouterr().out)
    return facts


def test_two_people_see_the_same_safety_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = []
    for name in ("alice", "bob"):
        assert of(tmp_path, name, "me", "--json") == 0
        keys.append(told(capsys)["key"])

    numbers = []
    for name, other in (("alice", keys[1]), ("bob", keys[0])):
        assert of(tmp_path, name, "me", "--with", other, "--json") == 0
        numbers.append(told(capsys)["safety_number"])

    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 60
    assert of(tmp_path, "alice", "me", "--with", "abc") == 2


def test_recovery_brings_the_key_back_and_keeps_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "recovery")
    assert of(tmp_path, "alice", "me", "--json") == 0
    key = told(capsys)["key"]
    assert of(tmp_path, "alice", "recovery", "create", file, "--json") == 0
    code = told(capsys)["code"]
    assert of(tmp_path, "alice", "recovery", "create", file) == 2
    assert of(tmp_path, "again", "recovery", "restore", file, "--code", code[:-1] + "?") == 2
    capsys.readouterr()

    assert of(tmp_path, "again", "recovery", "restore", file, "--code", code) == 0

    capsys.readouterr()
    assert of(tmp_path, "again", "me", "--json") == 0
    assert told(capsys)["key"] == key
