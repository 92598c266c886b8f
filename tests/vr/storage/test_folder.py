from __future__ import annotations

from pathlib import Path

import pytest

from tests.vr.storage.memory_file_system import MemoryFileSystem
from vr.storage.errors import FolderEmpty, FolderInUse, WrongFolder
from vr.storage.file_system import RealFileSystem
from vr.storage.folder import Folder
from vr.types import ReplicaId


def test_a_folder_keeps_its_identity(tmp_path: Path) -> None:
    files = RealFileSystem()
    first = Folder.open(files, f"{tmp_path}/data")
    first.close()

    second = Folder.open(files, f"{tmp_path}/data", expected=first.replica_id)

    assert second.replica_id == first.replica_id
    assert len(first.replica_id) == 16
    second.close()


def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    folder = Folder.open(RealFileSystem(), str(tmp_path))

    with pytest.raises(FolderInUse, match="another process"):
        Folder.open(RealFileSystem(), str(tmp_path))

    folder.close()
    Folder.open(RealFileSystem(), str(tmp_path)).close()


def test_an_empty_folder_under_a_known_identity_is_refused_and_stays_empty() -> None:
    files = MemoryFileSystem()

    with pytest.raises(FolderEmpty, match="replace the node"):
        Folder.open(files, "data", expected=ReplicaId(bytes(16)))

    assert not files.list("data")
    Folder.open(files, "data")


def test_another_identity_than_expected_is_refused_and_the_lock_is_free() -> None:
    files = MemoryFileSystem()
    Folder.open(files, "data").close()

    with pytest.raises(WrongFolder):
        Folder.open(files, "data", expected=ReplicaId(bytes(16)))

    Folder.open(files, "data").close()


@pytest.mark.parametrize("content", [b"", b"no hex", b"abcd", b"\xff\xfe", b"00" * 17])
def test_an_unreadable_identity_is_refused_not_replaced(content: bytes) -> None:
    files = MemoryFileSystem()
    files.open("data/replica_id", create=True).write_at(0, content)

    with pytest.raises(WrongFolder):
        Folder.open(files, "data")


def test_a_log_without_identity_is_refused() -> None:
    files = MemoryFileSystem()
    files.open("data/wal/000000000001.seg", create=True)

    with pytest.raises(WrongFolder, match="restore"):
        Folder.open(files, "data")


def test_the_identity_is_durable_before_anybody_hears_it() -> None:
    files = MemoryFileSystem()
    folder = Folder.open(files, "data")
    files.lose_power()

    assert Folder.open(files, "data", expected=folder.replica_id).replica_id == folder.replica_id
