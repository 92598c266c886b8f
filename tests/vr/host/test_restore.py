from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.vr.storage.records import GROUP, checkpoint, committed
from vr.host.archive import ArchiveJob, do_archive_job
from vr.host.errors import GroupDamaged
from vr.host.restore import restore_group
from vr.ready import DurableState, SnapshotPart
from vr.replica import FaultyEntry
from vr.storage.history import History, StoredGroup
from vr.storage.recovery import RecoveredEntry, RecoveredGroup
from vr.types import Checksum, OpNumber, ViewNumber

STORED = StoredGroup(group=GROUP, configuration=b"", genesis=b"")


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History.open(f"{tmp_path}/history.db")
    history.create_group(STORED)
    yield history
    history.close()


def state(base_op: int = 0) -> bytes:
    return DurableState(
        view=ViewNumber(2),
        log_view=ViewNumber(2),
        commit=OpNumber(base_op),
        base_op=OpNumber(base_op),
        base_checksum=Checksum(bytes(16)),
    ).to_bytes()


def recovered(
    *ops: int, meta: bytes | None = state(), rotten: tuple[int, ...] = (), meta_faulty: bool = False
) -> RecoveredGroup:
    entries = [
        RecoveredEntry(
            op=op,
            view=1,
            checksum=committed(op).entry.checksum,
            payload=None if op in rotten else committed(op).entry.data,
        )
        for op in ops
    ]
    return RecoveredGroup(meta=meta, meta_faulty=meta_faulty, entries=entries, head_certain=True)


def test_a_group_that_promised_nothing_starts_fresh(history: History) -> None:
    restored = restore_group(STORED, recovered(meta=None), history)

    assert restored.state is None
    assert restored.head_certain


def test_log_and_checkpoint_are_put_together(history: History) -> None:
    history.save_checkpoint(GROUP, checkpoint(5))

    began = (OpNumber(5), Checksum(bytes(16)))
    restored = restore_group(replace(STORED, began=began), recovered(6, 7, meta=state(5)), history)

    assert restored.checkpoint == checkpoint(5)
    assert restored.began == began
    assert [entry.op for entry in restored.entries] == [6, 7]
    assert restored.state is not None
    assert restored.state.view == 2


def test_what_rotted_is_handed_on_as_faulty(history: History) -> None:
    restored = restore_group(STORED, recovered(1, 2, 3, rotten=(2,)), history)

    assert restored.entries[1] == FaultyEntry(op=OpNumber(2), checksum=committed(2).entry.checksum)


def test_bytes_that_are_no_entry_are_faulty_too(history: History) -> None:
    group = recovered(1)
    entries = [RecoveredEntry(op=1, view=1, checksum=None, payload=b"noise")]

    restored = restore_group(
        STORED, RecoveredGroup(meta=group.meta, meta_faulty=False, entries=entries, head_certain=True), history
    )

    assert restored.entries == [FaultyEntry(op=OpNumber(1), checksum=None)]


def test_after_a_fallback_to_an_older_checkpoint_history_fills_the_gap(history: History) -> None:
    history.append(GROUP, [committed(op) for op in range(1, 9)])
    history.save_checkpoint(GROUP, checkpoint(4))

    restored = restore_group(STORED, recovered(9, 10, meta=state(8)), history)

    assert [entry.op for entry in restored.entries] == [5, 6, 7, 8, 9, 10]
    assert not any(isinstance(entry, FaultyEntry) for entry in restored.entries)


def test_a_gap_that_history_cannot_fill_is_faulty(history: History) -> None:
    restored = restore_group(STORED, recovered(9, meta=state(8)), history)

    assert restored.entries[0] == FaultyEntry(op=OpNumber(1), checksum=None)


@pytest.mark.parametrize(
    ("group", "why"),
    [
        (None, "does not"),
        (recovered(1, meta_faulty=True), "unreadable"),
        (recovered(1, meta=None), "no durable state"),
        (recovered(1, meta=b"\xc1"), "does not decode"),
    ],
)
def test_lost_promises_keep_a_group_from_running(history: History, group: RecoveredGroup | None, why: str) -> None:
    with pytest.raises(GroupDamaged, match=why):
        restore_group(STORED, group, history)


def test_parts_of_a_snapshot_on_its_way_are_handed_on(history: History) -> None:
    part = SnapshotPart(offer=b"offer", number=3, data=b"chunk")
    do_archive_job(history, ArchiveJob(parts=[(GROUP, [part])]))

    assert restore_group(STORED, recovered(1), history).parts == [part]
