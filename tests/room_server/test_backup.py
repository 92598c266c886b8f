from __future__ import annotations

from pathlib import Path

import pytest

from room_server.backup import MANIFEST_NAME, create_backup, read_manifest, verify_backup
from room_server.errors import BackupError
from room_server.roster import GENESIS_MARK
from tests.vr.storage.records import GROUP, committed
from vr.configuration import Configuration, Member
from vr.log import make_entry
from vr.ready import Checkpoint, CommittedOp
from vr.storage.history import History, StoredGroup
from vr.types import Checksum, GroupId, OpNumber, ReplicaId, ViewNumber

CONFIGURATION = Configuration(group=GROUP, members=(Member(ReplicaId(bytes(16)), b"key"),))


FIRST = Checksum(bytes(16))


def chain(first: int, last: int, parent: Checksum = FIRST, *, salt: int = 0) -> list[CommittedOp]:
    """Operations as they follow one another."""
    operations: list[CommittedOp] = []
    for op in range(first, last + 1):
        requests = committed(op, size=10 + salt).requests
        entry = make_entry(
            view=ViewNumber(0),
            op=OpNumber(op),
            commit=OpNumber(op - 1),
            parent=parent,
            timestamp_us=op,
            requests=requests,
        )
        operations.append(CommittedOp(entry=entry, requests=requests, results=[b"done"], mark=op))
        parent = entry.checksum
    return operations


def checkpoint(operation: CommittedOp) -> Checkpoint:
    """The state after an operation."""
    entry = operation.entry
    return Checkpoint(op=entry.op, checksum=entry.checksum, timestamp_us=entry.op, sessions=b"", service=b"state")


def node(path: Path, operations: list[CommittedOp]) -> History:
    path.mkdir(exist_ok=True)
    history = History.open(f"{path}/history.db")
    history.create_group(StoredGroup(group=GROUP, configuration=CONFIGURATION.to_bytes(), genesis=b"genesis"))
    history.append(GROUP, operations)
    return history


def files_of(target: Path) -> set[str]:
    return {path.name for path in (target / GROUP.hex()).iterdir()}


def test_each_run_saves_what_is_new_while_the_database_is_open(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "copy"
    history = node(data, first := chain(1, 5))

    one = create_backup(str(data), target, now_us=1)
    history.append(GROUP, second := chain(6, 9, first[-1].entry.checksum))
    history.save_checkpoint(GROUP, checkpoint(second[1]))
    two = create_backup(str(data), target, now_us=2)
    history.save_checkpoint(GROUP, checkpoint(second[3]))
    three = create_backup(str(data), target, now_us=3)
    history.close()

    assert [made.rooms[0].last_op for made in (one, two, three)] == [5, 9, 9]
    assert files_of(target) == {
        "genesis", "operations-000000000001-000000000005", "operations-000000000006-000000000009",
        "checkpoint-000000000009",
    }  # fmt: skip
    assert list(verify_backup(target)) == []
    assert read_manifest(target) == three


def test_another_history_is_refused_and_the_copy_stays(tmp_path: Path) -> None:
    data, other, target = tmp_path / "data", tmp_path / "other", tmp_path / "copy"
    node(data, chain(1, 5)).close()
    made = create_backup(str(data), target, now_us=1)
    node(other, chain(1, 8, salt=1)).close()

    with pytest.raises(BackupError, match="does not follow what was saved"):
        create_backup(str(other), target, now_us=2)

    assert read_manifest(target) == made
    assert list(verify_backup(target)) == []


def test_a_history_that_was_trimmed_begins_anew_behind_its_checkpoint(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "copy"
    history = node(data, operations := chain(1, 4))
    create_backup(str(data), target, now_us=1)
    history.append(GROUP, later := chain(5, 12, operations[-1].entry.checksum))
    history.save_checkpoint(GROUP, checkpoint(later[4]))
    history.forget_entries(GROUP, 8)

    made = create_backup(str(data), target, now_us=2)
    history.close()

    assert [(file.first_op, file.last_op) for file in made.rooms[0].files] == [(9, 12)]
    assert list(verify_backup(target)) == []


def test_what_a_run_that_was_cut_off_left_is_removed(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "copy"
    node(data, chain(1, 3)).close()
    create_backup(str(data), target, now_us=1)
    (target / GROUP.hex() / "operations-000000000004-000000000009").write_bytes(b"half")

    assert list(verify_backup(target)) == []
    create_backup(str(data), target, now_us=2)

    assert files_of(target) == {"genesis", "operations-000000000001-000000000003"}


def test_every_byte_that_changes_is_found(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "copy"
    history = node(data, operations := chain(1, 3))
    history.save_checkpoint(GROUP, checkpoint(operations[1]))
    history.close()
    create_backup(str(data), target, now_us=1)

    for path in [path for path in target.rglob("*") if path.is_file()]:
        sound = path.read_bytes()
        for at in range(len(sound)):
            path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << at % 8]) + sound[at + 1 :])
            assert is_noticed(target), f"{path.name} at {at}"
        for at in (0, len(sound) // 2, len(sound) - 1):
            path.write_bytes(sound[:at])
            assert is_noticed(target), f"{path.name} cut at {at}"
        path.write_bytes(sound)
        path.rename(moved := path.with_name("elsewhere"))
        assert is_noticed(target)
        moved.rename(path)
    assert list(verify_backup(target)) == []


def test_a_manifest_is_one_text(tmp_path: Path) -> None:
    """Spare bits of its base64 change nothing that is decoded, and bytes that are no text at all are an error like others."""
    data, target = tmp_path / "data", tmp_path / "copy"
    node(data, chain(1, 2)).close()
    create_backup(str(data), target, now_us=1)
    path = target / MANIFEST_NAME
    sound = path.read_bytes()

    for changed in (sound.replace(b"==", b"=="[::-1] + b" "), sound + b"\n", b"\xff" + sound[1:]):
        path.write_bytes(changed)
        with pytest.raises(BackupError, match="damaged"):
            read_manifest(target)


def is_noticed(target: Path) -> bool:
    try:
        return bool(list(verify_backup(target)))
    except BackupError:
        return True


def test_a_checkpoint_of_another_history_is_found(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "copy"
    history = node(data, chain(1, 3))
    history.save_checkpoint(GROUP, checkpoint(chain(1, 3, salt=1)[1]))
    history.close()
    create_backup(str(data), target, now_us=1)

    assert "not of the operations that were saved" in "".join(verify_backup(target))


def test_a_node_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="could not be made"):
        create_backup(str(tmp_path / "nowhere"), tmp_path / "copy", now_us=1)
    assert read_manifest(tmp_path / "copy") is None
    with pytest.raises(BackupError, match="no copy"):
        list(verify_backup(tmp_path))


def test_a_cluster_s_roster_is_no_room_and_is_left_out(tmp_path: Path) -> None:
    history = node(tmp_path / "data", chain(1, 3))
    roster = StoredGroup(group=GroupId(b"c" * 16), configuration=b"", genesis=GENESIS_MARK + b"...")
    history.create_group(roster)

    manifest = create_backup(str(tmp_path / "data"), tmp_path / "copy", now_us=1)
    history.close()

    assert [room.group for room in manifest.rooms] == [GROUP]
