from __future__ import annotations

from pathlib import Path

import pytest

from room_server.backup import create_backup
from room_server.errors import BackupError
from room_server.forcing import ForcedRoom, open_folder, rooms_in
from room_server.restoring import RestoredRoom, restore_backup
from room_server.rooms import configuration_of
from tests.room_server.builders import genesis
from tests.room_server.test_backup import chain, checkpoint
from tests.wire.certificates import identity
from vr.storage.history import History, StoredGroup
from vr.types import GroupId
from wire.room import Genesis, GenesisMember, encode_genesis

MEMBERS = tuple(GenesisMember(bytes([n]) * 16, identity(n).public, "127.0.0.1", 7600 + n) for n in (1, 2, 3))
ROOM = genesis(members=MEMBERS)
GROUP = GroupId(ROOM.room_id)


def copied(folder: Path, *, operations: int = 12, room: Genesis = ROOM) -> Path:
    """A copy of a lost server that had this room."""
    lost, target = folder / "lost", folder / "copy"
    lost.mkdir()
    history = History.open(f"{lost}/history.db")
    first = configuration_of(room)
    history.create_group(StoredGroup(group=GROUP, configuration=first.to_bytes(), genesis=encode_genesis(room)))
    if operations:
        history.append(GROUP, saved := chain(1, operations, first.genesis_checksum()))
        history.save_checkpoint(GROUP, checkpoint(saved[operations // 2]))
    history.close()
    create_backup(str(lost), target, now_us=1)
    return target


def restored(folder: Path, target: Path, *, name: int = 1) -> list[RestoredRoom]:
    storage = open_folder(str(folder))
    try:
        return list(restore_backup(storage, target, identity=identity(name)))
    finally:
        storage.close()


def only(folder: Path) -> ForcedRoom:
    storage = open_folder(str(folder))
    (room,) = rooms_in(storage)
    storage.close()
    return room


def test_a_room_comes_back_whole_as_the_next_epoch_of_a_new_replica(tmp_path: Path) -> None:
    target = copied(tmp_path)

    (told,) = restored(tmp_path / "new", target)

    assert (told.last_op, told.epoch, told.problem) == (12, 1, "")
    room = only(tmp_path / "new")
    assert room.survivor is not None
    assert (room.survivor.kept, room.survivor.commit, room.survivor.is_whole) == (12, 12, True)
    assert room.survivor.configuration.epoch == 1
    assert [member.replica_id for member in room.survivor.configuration.members] == [room.survivor.replica_id]
    assert room.is_forced


def test_doing_it_again_after_a_crash_is_harmless_and_afterwards_refused(tmp_path: Path) -> None:
    target = copied(tmp_path)
    storage = open_folder(str(tmp_path / "new"))
    storage.history.create_group(StoredGroup(group=GROUP, configuration=b"", genesis=encode_genesis(ROOM)))
    storage.history.append(GROUP, chain(1, 3, configuration_of(ROOM).genesis_checksum()))
    storage.close()

    assert restored(tmp_path / "new", target)[0].problem == ""
    with pytest.raises(BackupError, match="rooms of its own"):
        restored(tmp_path / "new", target)
    assert only(tmp_path / "new").survivor is not None


def test_a_key_without_a_vote_brings_nothing_back(tmp_path: Path) -> None:
    (told,) = restored(tmp_path / "new", copied(tmp_path), name=9)

    assert "had no vote" in told.problem
    assert restored(tmp_path / "new", tmp_path / "copy")[0].problem == "", "nothing was written"


def test_a_damaged_copy_brings_nothing_back(tmp_path: Path) -> None:
    target = copied(tmp_path)
    (operations,) = (target / GROUP.hex()).glob("operations-*")
    operations.write_bytes(operations.read_bytes()[:-1] + b"x")

    (told,) = restored(tmp_path / "new", target)

    assert "damaged" in told.problem
    storage = open_folder(str(tmp_path / "new"))
    assert storage.history.groups() == []
    storage.close()


def test_a_room_without_operations_is_told(tmp_path: Path) -> None:
    assert "no operation" in restored(tmp_path / "new", copied(tmp_path, operations=0))[0].problem


def test_a_folder_without_a_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="holds no copy"):
        restored(tmp_path / "new", tmp_path)
