from __future__ import annotations

from pathlib import Path

import pytest

from tests.vr.storage.memory_file_system import MemoryFileSystem
from vr.storage.errors import FolderInUse
from vr.storage.file_system import FileSystem, RealFileSystem


@pytest.fixture(params=["real", "memory"])
def files(request: pytest.FixtureRequest) -> FileSystem:
    """The fake is tested like the real one."""
    return RealFileSystem() if request.param == "real" else MemoryFileSystem()


def test_bytes_written_anywhere_are_read_back(files: FileSystem, tmp_path: Path) -> None:
    file = files.open(f"{tmp_path}/file", create=True)

    file.write_at(5000, b"far")
    file.write_at(0, memoryview(b"near"))
    file.sync()

    assert file.size() == 5003
    assert file.read_at(0, 6) == b"near\0\0"
    assert file.read_at(5000, 100) == b"far"
    assert file.read_at(9000, 10) == b""
    file.close()
    file.close()


def test_allocation_grows_with_zeros_and_keeps_what_is_there(files: FileSystem, tmp_path: Path) -> None:
    file = files.open(f"{tmp_path}/file", create=True)
    file.write_at(0, b"kept")

    file.allocate(3_000_000)
    file.allocate(10)

    assert file.size() == 3_000_000
    assert file.read_at(0, 8) == b"kept\0\0\0\0"
    file.close()


def test_names_are_listed_renamed_and_removed(files: FileSystem, tmp_path: Path) -> None:
    folder = f"{tmp_path}/a/b"
    assert list(files.list(folder)) == []
    files.make_directory(folder)
    files.make_directory(folder)
    for name in ("two", "one"):
        files.open(f"{folder}/{name}", create=True).close()

    files.rename(f"{folder}/two", f"{folder}/one")
    files.sync_directory(folder)

    assert list(files.list(folder)) == ["one"]
    files.remove(f"{folder}/one")
    assert list(files.list(folder)) == []
    with pytest.raises(FileNotFoundError):
        files.open(f"{folder}/one")


def test_a_lock_excludes_others_until_it_is_released(files: FileSystem, tmp_path: Path) -> None:
    lock = files.lock(f"{tmp_path}/lock")

    with pytest.raises(FolderInUse):
        files.lock(f"{tmp_path}/lock")
    lock.release()
    lock.release()

    files.lock(f"{tmp_path}/lock").release()


def test_free_space_is_told(files: FileSystem, tmp_path: Path) -> None:
    assert files.free_bytes(str(tmp_path)) > 0
