from __future__ import annotations

from tests.vr.storage.memory_file_system import MemoryFileSystem
from tests.vr.storage.records import GROUP, OTHER_GROUP, entry, meta
from vr.storage.folder import Folder
from vr.storage.inspection import inspect_folder
from vr.storage.limits import FORMAT, PAGE_BYTES
from vr.storage.meta import birth_record
from vr.storage.segment import segment_name
from vr.storage.write_ahead_log import WriteAheadLog, WriteAheadLogOptions


def test_a_folder_is_described_with_its_damage_and_not_touched() -> None:
    files = MemoryFileSystem()
    folder = Folder.open(files, "data")
    options = WriteAheadLogOptions(segment_bytes=16 * PAGE_BYTES, entropy=files.entropy)
    log, _ = WriteAheadLog.open(files, folder.log_path, options=options)
    for records in ([birth_record(OTHER_GROUP), meta()], [entry(1)], [entry(2)], []):
        log.write(records)
        log.sync()
    files.files[f"data/wal/{segment_name(1)}"].cached[3 * PAGE_BYTES + 150] ^= 1
    files.effects.clear()

    lines = list(inspect_folder(files, "data"))

    assert files.effects == []
    assert lines[0] == f"replica {folder.replica_id.hex()}, format {FORMAT}"
    assert f"group {GROUP.hex()}: base 0, operations 1 to 2" in "\n".join(lines)
    assert "1 operations rotted" in "\n".join(lines)
    assert f"group {OTHER_GROUP.hex()}: base 0, no operations, promised nothing" in lines
    assert any(line.startswith("damage: ") for line in lines)


def test_an_empty_folder_is_described_too() -> None:
    lines = list(inspect_folder(MemoryFileSystem(), "nowhere"))

    assert lines == [
        "replica unknown: no replica_id file",
        "history missing",
        "log: 0 frames, last 0, known synced through 0",
    ]
