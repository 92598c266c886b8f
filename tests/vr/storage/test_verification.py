from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vr.storage.records import GROUP, OTHER_GROUP, checkpoint, committed, entry, meta
from vr.configuration import Configuration, Member
from vr.log import make_entry
from vr.ready import CommittedOp
from vr.storage.file_system import RealFileSystem
from vr.storage.folder import Folder
from vr.storage.history import History, StoredGroup
from vr.storage.limits import PAGE_BYTES
from vr.storage.verification import Verified, verify_folder
from vr.storage.write_ahead_log import WriteAheadLog, WriteAheadLogOptions
from vr.types import Checksum, OpNumber, ViewNumber


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A folder as a stopped node leaves it: operations 1 to 4 in history, 3 to 6 in the log."""
    files = RealFileSystem()
    folder = Folder.open(files, f"{tmp_path}/data")
    log, _ = WriteAheadLog.open(files, folder.log_path, options=WriteAheadLogOptions(segment_bytes=16 * PAGE_BYTES))
    for records in ([meta(base_op=2)], *([entry(op)] for op in range(3, 7)), []):
        log.write(records)
        log.sync()
    log.close()
    history = History.open(folder.history_path)
    configuration = Configuration(group=GROUP, members=(Member(folder.replica_id, b"key"),))
    history.create_group(StoredGroup(group=GROUP, configuration=configuration.to_bytes(), genesis=b""))
    history.append(GROUP, chain(4))
    history.save_checkpoint(GROUP, checkpoint(2))
    history.save_checkpoint(GROUP, checkpoint(4))
    history.close()
    folder.close()
    return folder.path


def chain(count: int) -> list[CommittedOp]:
    """Operations as they follow one another."""
    operations: list[CommittedOp] = []
    parent = Checksum(bytes(16))
    for op in range(1, count + 1):
        made = make_entry(
            view=ViewNumber(1), op=OpNumber(op), commit=OpNumber(op - 1), parent=parent, timestamp_us=op,
            requests=committed(op).requests,
        )  # fmt: skip
        operations.append(CommittedOp(entry=made, requests=committed(op).requests, results=[b"done"], mark=op))
        parent = made.checksum
    return operations


def findings(path: str) -> list[str]:
    return list(verify_folder(RealFileSystem(), path, Verified()))


def test_a_whole_folder_has_no_findings_and_everything_was_looked_at(path: str) -> None:
    seen = Verified()

    assert list(verify_folder(RealFileSystem(), path, seen)) == []
    assert seen == Verified(groups=1, logged=4, operations=4, checkpoints=2)


def in_history(statement: str) -> Callable[[str], None]:
    def change(path: str) -> None:
        with sqlite3.connect(f"{path}/history.db") as database:
            database.execute(statement)
        database.close()

    return change


def flip_in_log(path: str) -> None:
    (segment,) = Path(path, "wal").iterdir()
    data = bytearray(segment.read_bytes())
    data[3 * PAGE_BYTES + 150] ^= 1
    segment.write_bytes(data)


def flip_page(path: str) -> None:
    file = Path(path, "history.db")
    data = bytearray(file.read_bytes())
    data[PAGE_BYTES : PAGE_BYTES + 8] = b"\xff" * 8
    file.write_bytes(data)


def lose_history(path: str) -> None:
    Path(path, "history.db").unlink()


def lose_identity(path: str) -> None:
    Path(path, "replica_id").unlink()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (flip_in_log, "cannot be read; the other replicas mend them"),
        (flip_page, "history.db"),
        (lose_history, "history.db is missing"),
        (lose_identity, "holds a log but no replica_id file"),
        (in_history("UPDATE checkpoints SET checkpoint = x'00' WHERE op = 2"), "1 of 2 checkpoints have rotted"),
        (in_history("UPDATE entries SET entry = x'00' WHERE op = 2"), "operation 2 cannot be read"),
        (in_history("UPDATE entries SET results = x'c1' WHERE op = 2"), "operation 2 cannot be read"),
        (in_history("UPDATE entries SET op = 9 WHERE op = 4"), "operation 9 is not what it is stored as"),
        (
            in_history("UPDATE entries SET entry = (SELECT entry FROM entries WHERE op = 2) WHERE op = 3"),
            "operation 3 is not",
        ),
        (in_history("DELETE FROM entries WHERE op = 3"), "operations 3 to 3 are missing"),
        (in_history("UPDATE groups SET configuration = x'00'"), "its configuration cannot be read"),
        (in_history(f"UPDATE groups SET group_id = x'{OTHER_GROUP.hex()}'"), "the log does not know it"),
        (in_history(f"UPDATE groups SET group_id = x'{OTHER_GROUP.hex()}'"), f"does not know group {GROUP.hex()}"),
    ],
)
def test_damage_is_found_and_named(path: str, damage: Callable[[str], None], finding: str) -> None:
    damage(path)

    assert finding in "\n".join(findings(path))


def test_operations_between_history_and_log_that_are_nowhere_are_found(path: str) -> None:
    in_history("DELETE FROM entries")(path)
    in_history("DELETE FROM checkpoints")(path)

    assert "operations 1 to 2 are neither in the log nor in history" in "\n".join(findings(path))


def test_the_command_says_it_with_its_exit_code_and_changes_nothing(path: str) -> None:
    before = {file: file.read_bytes() for file in Path(path).rglob("*") if file.is_file()}

    whole = verify(path)
    flip_in_log(path)
    damaged = verify(path)

    assert (whole.returncode, damaged.returncode) == (0, 1)
    assert whole.stdout == "1 groups, 4 operations in the log, 4 in history, 2 checkpoints: whole\n"
    assert "operation" in damaged.stdout
    assert verify(f"{path}/nowhere").stdout.startswith(f"{path}/nowhere holds no replica\n")
    after = {file: file.read_bytes() for file in Path(path).rglob("*") if file.is_file()}
    assert {file for file in after if after[file] != before.get(file)} == set(Path(path, "wal").iterdir())  # flipped


def verify(path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vr.storage", "verify", path], capture_output=True, text=True, check=False, timeout=30
    )
