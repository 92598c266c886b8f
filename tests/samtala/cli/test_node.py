"""`samtala node init` makes a node once, and says what to do with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from room_server.config import load_config
from samtala.cli import main as run_command


def init(folder: Path, *more: str) -> int:
    return run_command(["node", "init", "--data", str(folder), "--name", "a", "--listen", "127.0.0.1:7610", *more])


def test_init_writes_a_configuration_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path / "a") == 0

    out, err = capsys.readouterr()
    assert re.fullmatch(r"127\.0\.0\.1:7610#[a-z2-7]{52}\n", out)
    assert "samtala node serve" in err
    assert load_config(tmp_path / "a" / "node.toml").name == "a"


def test_init_as_json_names_file_address_and_replica(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path / "a", "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"config", "address", "replica_id"}


def test_init_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path / "a")
    key = (tmp_path / "a" / "identity.key").read_bytes()

    assert init(tmp_path / "a") == 1
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "a" / "identity.key").read_bytes() == key


def test_a_wrong_endpoint_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command(["node", "init", "--data", str(tmp_path / "a"), "--name", "a", "--listen", "nowhere"])

    assert code == 2
    assert "nowhere" in capsys.readouterr().err


def test_an_unknown_key_in_the_file_is_a_usage_error_with_the_nearest_right_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(tmp_path / "a")
    with (tmp_path / "a" / "node.toml").open("a") as file:
        file.write("\n[dht]\nbootsrap = []\n")

    assert run_command(["node", "serve", "--config", str(tmp_path / "a" / "node.toml")]) == 2
    assert "bootstrap" in capsys.readouterr().err


def test_a_missing_file_is_a_usage_error_with_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["node", "serve", "--config", str(tmp_path / "none.toml")]) == 2
    assert "samtala node init" in capsys.readouterr().err
