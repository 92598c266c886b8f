from __future__ import annotations

from pathlib import Path

import pytest

from room_server.cluster_file import ClusterFile, RememberedCluster
from room_server.errors import ClusterError, StartError
from room_server.roster import RosterService, encode_genesis
from tests.room_server.rosters import GENESIS

REMEMBERED = RememberedCluster(encode_genesis(GENESIS), RosterService(GENESIS).state())


def test_what_was_saved_is_read_back_until_it_is_removed(tmp_path: Path) -> None:
    file = ClusterFile(tmp_path)
    assert file.load() is None

    file.save(REMEMBERED)
    assert file.load() == REMEMBERED
    file.remove()
    file.remove()

    assert file.load() is None


def test_a_damaged_file_keeps_the_server_from_starting(tmp_path: Path) -> None:
    file = ClusterFile(tmp_path)
    file.save(REMEMBERED)
    data = bytearray(file.path.read_bytes())
    data[40] ^= 1
    file.path.write_bytes(data)

    with pytest.raises(StartError, match="is damaged"):
        file.load()


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot be written"):
        ClusterFile(tmp_path / "missing").save(REMEMBERED)
