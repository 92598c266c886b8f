"""What needs no servers; the whole way is in test_talk.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samtala.cli import main


def node(folder: Path) -> str:
    config = folder / "node.toml"
    code = main(
        [
            "node",
            "init",
            "--name",
            "a",
            "--data",
            str(folder / "data"),
            "--listen",
            "127.0.0.1:7610",
            "--config",
            str(config),
        ]
    )
    assert code == 0
    return str(config)


def test_a_server_without_rooms_has_nothing_to_recover(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = node(tmp_path)
    capsys.readouterr()

    assert main(["room", "recover", "--config", config]) == 0
    assert "no rooms" in capsys.readouterr().out
    assert main(["room", "recover", "--config", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rooms": []}


def test_what_is_to_be_lost_has_to_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = node(tmp_path)

    assert main(["room", "recover", "--config", config, "--accept-data-loss"]) == 2
    assert "name it" in capsys.readouterr().err
    assert main(["room", "recover", "74a0df41", "--config", config, "--accept-data-loss"]) == 3
    assert "no room of this server is called 74a0df41" in capsys.readouterr().err


def test_a_server_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["room", "recover", "--config", str(tmp_path / "nowhere.toml")]) != 0
    assert "nowhere.toml" in capsys.readouterr().err


def test_only_an_address_can_be_vouched_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["--profile", str(tmp_path / "me"), "room", "vouch", "lobby", str(tmp_path / "record"), "--epoch", "1"]

    assert main([*wrong, "--server", "nonsense"]) == 2
    assert not (tmp_path / "record").exists()
