from __future__ import annotations

from pathlib import Path

import pytest

from tests.vr.storage.records import GROUP, OTHER_GROUP, entry, meta
from vr.configuration import Configuration, Member
from vr.host.embedder import HostOptions
from vr.host.opening import open_storage
from vr.storage.errors import FolderInUse, HistoryUnusable
from vr.storage.file_system import RealFileSystem
from vr.storage.history import History, StoredGroup
from vr.storage.limits import PAGE_BYTES
from vr.storage.meta import birth_record
from vr.types import GroupId, ReplicaId

OPTIONS = HostOptions(segment_bytes=32 * PAGE_BYTES)


def stored(group: GroupId, replica_id: ReplicaId) -> StoredGroup:
    configuration = Configuration(group=group, members=(Member(replica_id, b""),))
    return StoredGroup(group=group, configuration=configuration.to_bytes(), genesis=b"genesis")


def test_groups_come_back_or_are_named_damaged_each_for_its_reason(tmp_path: Path) -> None:
    storage = open_storage(RealFileSystem(), str(tmp_path), options=OPTIONS)
    own = storage.folder.replica_id
    only_in_history, foreign, rotten = (GroupId(name.ljust(16)) for name in (b"history", b"foreign", b"rotten"))
    only_in_log, half_born = (GroupId(name.ljust(16)) for name in (b"log", b"half born"))
    storage.log.write([birth_record(GROUP), birth_record(foreign), birth_record(rotten), birth_record(half_born)])
    storage.log.write([meta(group=only_in_log), birth_record(OTHER_GROUP), meta(group=OTHER_GROUP)])
    storage.log.sync()
    for group in (GROUP, OTHER_GROUP, only_in_history):
        storage.history.create_group(stored(group, own))
    storage.history.create_group(stored(foreign, ReplicaId(b"somebody else...")))
    storage.history.create_group(StoredGroup(group=rotten, configuration=b"noise", genesis=b""))
    storage.close()

    storage = open_storage(RealFileSystem(), str(tmp_path), options=OPTIONS)
    storage.close()

    assert [one.group for one, _ in storage.restored] == [GROUP, OTHER_GROUP]
    assert storage.restored[0][1].state is None
    assert storage.restored[1][1].state is not None
    assert set(storage.damaged) == {only_in_history, foreign, rotten, only_in_log}
    assert half_born not in storage.damaged, "its creation was never finished: it may be created again"
    assert len(storage.report) == 4


def test_everything_is_given_back_when_opening_fails(tmp_path: Path) -> None:
    open_storage(RealFileSystem(), str(tmp_path), options=OPTIONS).close()
    (tmp_path / "history.db").write_bytes(b"this is no database, but long enough to look at" * 100)

    with pytest.raises(HistoryUnusable):
        open_storage(RealFileSystem(), str(tmp_path), options=OPTIONS)

    (tmp_path / "history.db").unlink()
    storage = open_storage(RealFileSystem(), str(tmp_path), options=OPTIONS)
    with pytest.raises(FolderInUse):
        open_storage(RealFileSystem(), str(tmp_path), options=OPTIONS)
    storage.close()


def test_a_torn_tail_is_in_the_report(tmp_path: Path) -> None:
    storage = open_storage(RealFileSystem(), str(tmp_path), options=OPTIONS)
    storage.log.write([entry(1, size=2 * PAGE_BYTES)])
    storage.close()
    segment = next((tmp_path / "wal").iterdir())
    content = bytearray(segment.read_bytes())
    content[2 * PAGE_BYTES + 5] ^= 1
    segment.write_bytes(content)

    storage = open_storage(RealFileSystem(), str(tmp_path), options=OPTIONS)
    storage.close()

    assert "cut a torn tail" in storage.report[0]
    assert isinstance(storage.history, History)
