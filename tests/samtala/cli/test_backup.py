"""What needs no servers; the whole way is in test_talk.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samtala.cli import main
from tests.samtala.cli.test_recover import node


def test_a_server_without_rooms_has_an_empty_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, target = node(tmp_path), str(tmp_path / "copy")
    (tmp_path / "data" / "history.db").touch()
    capsys.readouterr()

    assert main(["backup", "create", target, "--config", config]) == 1
    assert "could not be made" in capsys.readouterr().err
    assert main(["backup", "verify", target]) == 1
    assert "holds no copy" in capsys.readouterr().err


def test_data_loss_has_to_be_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = node(tmp_path)

    assert main(["backup", "restore", str(tmp_path), "--config", config]) == 7
    assert "--accept-data-loss" in capsys.readouterr().err
    assert main(["backup", "restore", str(tmp_path), "--config", config, "--accept-data-loss"]) == 1
    assert "holds no copy" in capsys.readouterr().err


def test_verify_speaks_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from room_server.backup import create_backup
    from vr.storage.history import History

    History.open(f"{tmp_path}/history.db").close()
    create_backup(str(tmp_path), tmp_path / "copy", now_us=0)

    assert main(["backup", "verify", str(tmp_path / "copy"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rooms"], told["findings"]) == (0, [])
    assert told["age_s"] > 1_000_000


def test_server_remembers_its_copies_and_only_those_found_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from room_server.backup_state import read_backup_state
    from vr.storage.history import History

    config, target = node(tmp_path), tmp_path / "copy"
    data = str(tmp_path / "data")
    History.open(f"{data}/history.db").close()

    assert main(["backup", "create", str(target), "--config", config]) == 0
    made = read_backup_state(data)
    assert (made.made_us > 0, made.verified_us) == (True, 0)
    assert main(["backup", "verify", str(target), "--config", config]) == 0
    assert read_backup_state(data).verified_us == made.made_us

    (tmp_path / "data" / "backup.json").unlink()
    (target / "manifest.json").write_bytes(b"{}")
    assert main(["backup", "verify", str(target), "--config", config]) == 1
    assert read_backup_state(data).verified_us == 0
    capsys.readouterr()


def test_damaged_copy_is_not_remembered_as_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from room_server.backup_state import read_backup_state
    from tests.room_server.test_backup import chain
    from tests.room_server.test_backup import node as with_history

    config, target = node(tmp_path), tmp_path / "copy"
    data = tmp_path / "data"
    with_history(data, chain(1, 5)).close()
    assert main(["backup", "create", str(target), "--config", config]) == 0
    [operations] = target.glob("*/operations-*")
    operations.write_bytes(operations.read_bytes()[:-1])

    assert main(["backup", "verify", str(target), "--config", config]) == 1
    assert "damaged" in capsys.readouterr().out
    assert read_backup_state(str(data)).verified_us == 0
