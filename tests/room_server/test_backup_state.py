from __future__ import annotations

from pathlib import Path

import pytest

from room_server.backup_state import STATE_NAME, BackupState, note_backup, read_backup_state
from room_server.errors import BackupError


def test_newest_copy_and_newest_whole_one_are_remembered(tmp_path: Path) -> None:
    data = str(tmp_path)
    assert read_backup_state(data) == BackupState()

    note_backup(data, made_us=20)
    assert read_backup_state(data) == BackupState(made_us=20, verified_us=0)
    note_backup(data, made_us=20, is_verified=True)
    note_backup(data, made_us=30)
    note_backup(data, made_us=10, is_verified=True)  # Somebody looks at an old one: it proves nothing about the new.

    assert read_backup_state(data) == BackupState(made_us=30, verified_us=20)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_NAME]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"made_us": "x"}', b"\xff\xfe"])
def test_damaged_memory_is_as_none_and_the_next_copy_mends_it(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / STATE_NAME).write_bytes(damage)

    assert read_backup_state(str(tmp_path)) == BackupState()
    note_backup(str(tmp_path), made_us=5)
    assert read_backup_state(str(tmp_path)).made_us == 5


def test_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="cannot remember"):
        note_backup(str(tmp_path / "nowhere"), made_us=1)
