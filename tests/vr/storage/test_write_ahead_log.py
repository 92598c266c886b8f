from __future__ import annotations

import errno
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vr.storage.memory_file_system import MemoryFileSystem
from tests.vr.storage.records import GROUP, OTHER_GROUP, entry, meta
from vr.storage.errors import RecordTooLarge, StorageError, StoragePoisoned
from vr.storage.file_system import RealFileSystem
from vr.storage.frame import Record, RecordKind
from vr.storage.limits import PAGE_BYTES
from vr.storage.meta import birth_record
from vr.storage.segment import segment_name
from vr.storage.write_ahead_log import Recovery, WriteAheadLog, WriteAheadLogOptions
from vr.types import GroupId

SEGMENT_BYTES = 16 * PAGE_BYTES


def open_log(files: MemoryFileSystem) -> tuple[WriteAheadLog, Recovery]:
    options = WriteAheadLogOptions(segment_bytes=SEGMENT_BYTES, entropy=files.entropy)
    return WriteAheadLog.open(files, "wal", options=options)


def ops(recovery: Recovery, group: GroupId = GROUP) -> list[int]:
    return [one.op for one in recovery.groups[group].entries] if group in recovery.groups else []


def write_synced(log: WriteAheadLog, *records: Record) -> None:
    log.write(records)
    log.sync()


def file_bytes(files: MemoryFileSystem, number: int = 1) -> bytearray:
    return files.files[f"wal/{segment_name(number)}"].cached


class Model:
    """What the log must hold after a list of batches: per group the newest meta and the operations."""

    def __init__(self) -> None:
        self.metas: dict[GroupId, bytes] = {}
        self.logs: dict[GroupId, dict[int, bytes]] = {}

    def apply(self, batch: Sequence[Record]) -> None:
        for record in batch:
            log = self.logs.setdefault(record.group, {})
            if record.kind is RecordKind.META:
                self.metas[record.group] = record.payload
                for op in [op for op in log if op <= record.op]:
                    del log[op]
            else:
                for op in [op for op in log if op >= record.op]:
                    del log[op]
                log[record.op] = record.payload

    def matches(self, recovery: Recovery) -> bool:
        logs = {group_id: {one.op: one.payload for one in group.entries} for group_id, group in recovery.groups.items()}
        metas = {group_id: group.meta for group_id, group in recovery.groups.items() if group.meta is not None}
        return logs == self.logs and metas == self.metas


def model_of(batches: Sequence[Sequence[Record]]) -> Model:
    model = Model()
    for batch in batches:
        model.apply(batch)
    return model


@st.composite
def histories(draw: st.DrawFn) -> list[list[Record]]:
    """Batches as replicas make them: contiguous appends, suffixes replaced in later views, metas with rising bases."""
    heads = {GROUP: 0, OTHER_GROUP: 0}
    bases = {GROUP: 0, OTHER_GROUP: 0}
    view = 0
    batches: list[list[Record]] = []
    for _ in range(draw(st.integers(1, 12))):
        batch: list[Record] = []
        for _ in range(draw(st.integers(0, 4))):
            group = draw(st.sampled_from([GROUP, OTHER_GROUP]))
            what = draw(st.sampled_from(["append", "append", "append", "replace", "meta"]))
            if what == "meta":
                bases[group] = draw(st.integers(bases[group], heads[group]))
                batch.append(meta(group=group, view=view, base_op=bases[group], padding=draw(st.integers(0, 3000))))
                continue
            if what == "replace" and heads[group] > bases[group]:
                view += 1
                heads[group] = draw(st.integers(bases[group], heads[group] - 1))
            heads[group] += 1
            batch.append(entry(heads[group], group=group, view=view, size=draw(st.integers(0, 9000))))
        batches.append(batch)
    return batches


@given(histories())
@settings(deadline=None)
def test_what_was_written_is_recovered_after_a_clean_end(batches: list[list[Record]]) -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    for batch in batches:
        write_synced(log, *batch)
    files.lose_power()

    _, recovery = open_log(files)
    _, again = open_log(files)

    assert model_of(batches).matches(recovery)
    assert not recovery.report
    assert again == recovery
    assert all(group.head_certain and not group.meta_faulty for group in recovery.groups.values())


@given(histories(), st.data())
@settings(deadline=None, max_examples=150)
def test_a_crash_at_any_byte_of_the_unsynced_tail_leaves_a_prefix(
    batches: list[list[Record]], draw: st.DataObject
) -> None:
    synced = draw.draw(st.integers(0, len(batches)))
    files = MemoryFileSystem()
    log, _ = open_log(files)
    for batch in batches[:synced]:
        write_synced(log, *batch)
    before = {name: bytes(content.cached) for name, content in files.files.items()}
    for batch in batches[synced:]:
        log.write(batch)
    unsynced = [
        (name, offset)
        for name, content in sorted(files.files.items())
        for offset in range(PAGE_BYTES, len(content.cached), 512)  # headers are synced when a segment is made
        if content.cached[offset : offset + 512] != before.get(name, bytes(SEGMENT_BYTES))[offset : offset + 512]
    ]
    lost = draw.draw(st.sets(st.sampled_from(unsynced))) if unsynced else set()
    for name, offset in lost:
        old = before.get(name, bytes(SEGMENT_BYTES))
        files.files[name].cached[offset : offset + 512] = old[offset : offset + 512]

    log, recovery = open_log(files)

    kept = [count for count in range(synced, len(batches) + 1) if model_of(batches[:count]).matches(recovery)]
    assert kept, "neither lost what was synced nor invented a mixture"
    assert all(group.head_certain and not group.meta_faulty for group in recovery.groups.values())

    # Life goes on from the cut, and what was dropped does not come back.
    later = [entry(1, view=99, size=5000), entry(2, view=99, size=3000)]
    write_synced(log, *later)
    files.lose_power()
    _, recovery = open_log(files)
    assert any(model_of([*batches[:count], later]).matches(recovery) for count in kept)


def test_every_torn_length_of_the_last_frame_cuts_exactly_that_frame() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, entry(1))
    log.write([entry(2, size=5000), meta(view=1)])
    whole = bytes(file_bytes(files))
    end = 2 * PAGE_BYTES + 4 * PAGE_BYTES

    for torn_at in range(2 * PAGE_BYTES, end, 101):
        torn = MemoryFileSystem()
        torn.open(f"wal/{segment_name(1)}", create=True).write_at(0, whole[:torn_at] + bytes(len(whole) - torn_at))
        _, recovery = open_log(torn)
        assert ops(recovery) in ([1], [1, 2])
        assert (ops(recovery) == [1, 2]) == (recovery.groups[GROUP].meta is not None), "the batch counts whole"


@given(histories(), st.data())
@settings(deadline=None, max_examples=150)
def test_rot_below_the_synced_mark_is_reported_and_never_cut(batches: list[list[Record]], draw: st.DataObject) -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    for batch in batches:
        write_synced(log, *batch)
    log.write_sync_mark()
    clean = model_of(batches)
    names = [name for name, content in sorted(files.files.items()) if any(content.cached[PAGE_BYTES:])]
    content = files.files[draw.draw(st.sampled_from(names))].cached
    # The mark itself, the last page written, is the residual that no log can prove.
    last_page = max(
        offset for offset in range(0, len(content), PAGE_BYTES) if any(content[offset : offset + PAGE_BYTES])
    )
    limit = last_page if content is files.files[names[-1]].cached else len(content)
    offset = draw.draw(st.integers(0, max(0, limit - 1)))
    length = draw.draw(st.sampled_from([1, 512, PAGE_BYTES, 3 * PAGE_BYTES]))
    for position in range(offset, min(offset + length, limit)):
        content[position] ^= 0x5A

    _, recovery = open_log(files)
    _, again = open_log(files)

    assert again.groups == recovery.groups, "damage does not vanish by restarting"
    assert recovery.cut_frames == 0
    for group_id, log_model in clean.logs.items():
        recovered = recovery.groups.get(group_id)
        if recovered is None:
            assert not recovery.complete
            continue
        if recovered.head_certain:
            assert [one.op for one in recovered.entries] == sorted(log_model), "no operation is silently missing"
            assert all(one.payload in (None, log_model[one.op]) for one in recovered.entries)
        if not recovered.meta_faulty:
            assert recovered.meta == clean.metas.get(group_id)
    assert clean.matches(recovery) or not recovery.complete or recovery.faulty_entries


def test_a_rotten_entry_below_the_mark_is_faulty_and_keeps_its_identity() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    for op in (1, 2, 3):
        write_synced(log, entry(op))
    file_bytes(files)[2 * PAGE_BYTES + 150] ^= 1

    _, recovery = open_log(files)

    found = recovery.groups[GROUP].entries
    assert [one.payload is None for one in found] == [False, True, False]
    assert found[1].checksum == entry(2).checksum
    assert recovery.groups[GROUP].head_certain
    assert recovery.faulty_entries == 1
    assert "operation 2" in recovery.report[0]


def test_the_last_batch_is_cut_when_torn_but_faulty_once_a_mark_proves_it() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, entry(1))
    write_synced(log, entry(2))
    unmarked = bytes(file_bytes(files))
    log.write_sync_mark()
    marked = bytes(file_bytes(files))

    results = []
    for image in (unmarked, marked):
        disk = MemoryFileSystem()
        disk.open(f"wal/{segment_name(1)}", create=True).write_at(0, image)
        file_bytes(disk)[2 * PAGE_BYTES + 150] ^= 1
        results.append(open_log(disk)[1])

    assert [ops(result) for result in results] == [[1], [1, 2]]
    assert [result.cut_frames for result in results] == [1, 0]
    assert "cut a torn tail" in results[0].report[0]


def test_a_lost_frame_below_the_mark_makes_every_head_uncertain_but_metas_only_if_it_held_one() -> None:
    for lost_batch, meta_faulty in (([entry(2, size=9000)], False), ([entry(2, size=9000), meta(view=4)], True)):
        files = MemoryFileSystem()
        log, _ = open_log(files)
        write_synced(log, meta(), meta(group=OTHER_GROUP), entry(1))
        start = log._offset
        write_synced(log, *lost_batch)
        end = log._offset
        write_synced(log, entry(3))
        file_bytes(files)[start:end] = bytes(end - start)

        _, recovery = open_log(files)

        assert ops(recovery) == [1, 2, 3]
        assert recovery.groups[GROUP].entries[1].payload is None
        for group in recovery.groups.values():
            assert not group.head_certain
            assert group.meta_faulty == meta_faulty


def test_a_missing_segment_is_noticed_wherever_it_was() -> None:
    for missing in (1, 2, 3):
        files = MemoryFileSystem()
        log, _ = open_log(files)
        for op in range(1, 50):
            write_synced(log, entry(op, size=PAGE_BYTES))
        assert log.live_segments > 4
        files.remove(f"wal/{segment_name(missing)}")

        _, recovery = open_log(files)

        assert not recovery.groups[GROUP].head_certain
        assert recovery.report


def test_an_unreadable_newest_segment_makes_everything_uncertain_for_ever() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    while log.live_segments < 3:
        write_synced(log, meta(), entry(log.written_lsn + 1, size=PAGE_BYTES))
    file_bytes(files, 3)[: 4 * PAGE_BYTES] = bytes(4 * PAGE_BYTES)

    log, first = open_log(files)
    write_synced(log, entry(1000))
    _, second = open_log(files)

    for recovery in (first, second):
        assert not recovery.groups[GROUP].head_certain
        assert recovery.groups[GROUP].meta_faulty
    write_synced(log, meta(view=9), entry(1))
    _, third = open_log(files)
    assert third.groups[GROUP].head_certain
    assert not third.groups[GROUP].meta_faulty


@pytest.mark.parametrize("operation", ["write", "sync", "write_sync_mark", "release", "prepare_spare"])
def test_any_disk_error_poisons_the_log_for_ever(operation: str) -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    for op in range(1, 30):
        write_synced(log, entry(op, size=PAGE_BYTES))
    if operation == "sync":
        log.write([entry(30)])
    acts = {
        "write": lambda: log.write([entry(30)]),
        "sync": log.sync,
        "write_sync_mark": log.write_sync_mark,
        "release": lambda: log.release(GROUP, 29),
        "prepare_spare": log.prepare_spare,
    }
    files.fail_after = 0

    with pytest.raises(StoragePoisoned):
        acts[operation]()
    files.fail_after = None

    assert log.is_poisoned
    for act in (*acts.values(), lambda: log.release(GROUP, 1)):
        with pytest.raises(StoragePoisoned):
            act()


def test_whatever_fails_what_was_acknowledged_before_survives() -> None:
    """Every effect of a busy life fails once: power goes, and each acknowledged operation is there or above the base."""
    failures = 0
    for fail_after in itertools.count():
        files = MemoryFileSystem()
        log, _ = open_log(files)
        files.fail_after = fail_after
        acknowledged = base = 0
        try:
            for op in range(1, 40):
                write_synced(log, entry(op, size=PAGE_BYTES), *([meta(base_op=base)] if op % 5 == 0 else []))
                acknowledged = op
                if op % 7 == 0:
                    base = op - 3
                    log.release(GROUP, base)
        except StoragePoisoned:
            failures += 1
        done = files.fail_after is not None and files.fail_after > 0
        files.lose_power()
        _, recovery = open_log(files)
        entries = recovery.groups[GROUP].entries if GROUP in recovery.groups else []
        assert set(range(base + 1, acknowledged + 1)) <= set(ops(recovery))
        assert all(one.payload == entry(one.op, size=PAGE_BYTES).payload for one in entries)
        if done:
            break
    assert failures > 80


def test_released_segments_are_reused_and_metas_move_along() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, birth_record(OTHER_GROUP), meta(view=3))
    for op in range(1, 300):
        write_synced(log, entry(op, size=PAGE_BYTES))
        if op % 10 == 0:
            log.release(GROUP, op)
    files.lose_power()

    log, recovery = open_log(files)

    assert log.live_segments <= 3
    assert len(files.list("wal")) <= 5
    assert recovery.groups[GROUP].meta == meta(view=3).payload
    assert OTHER_GROUP in recovery.groups
    assert recovery.groups[OTHER_GROUP].meta is None
    assert ops(recovery)[-1] == 299
    assert recovery.groups[GROUP].head_certain
    assert not recovery.report


def test_a_meta_that_moves_along_does_not_truncate_again() -> None:
    """A view began with a truncation; what was appended, and acknowledged, after it must not fall to its repetition."""
    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, entry(1, size=PAGE_BYTES), entry(2, size=PAGE_BYTES))
    write_synced(log, meta(view=1, truncate_above=1), entry(2, view=1), entry(3, view=1))
    while log.live_segments < 4:
        write_synced(log, entry(1, group=OTHER_GROUP, size=PAGE_BYTES))
    write_synced(log, *(entry(op, view=1, size=PAGE_BYTES) for op in (2, 3, 4)))
    log.release(GROUP, 1)

    _, recovery = open_log(files)

    assert ops(recovery) == [2, 3, 4]
    assert recovery.groups[GROUP].head_certain


def test_a_quiet_group_pins_the_oldest_segment_and_is_named() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, entry(1, group=OTHER_GROUP))
    for op in range(1, 60):
        write_synced(log, entry(op, size=PAGE_BYTES))
    log.release(GROUP, 59)
    pinned = log.live_segments

    assert log.pinning_groups() == [OTHER_GROUP]

    log.release(OTHER_GROUP, 1)
    assert log.live_segments < pinned
    assert log.live_segments == 1


def test_a_batch_larger_than_a_frame_counts_whole_or_not_at_all() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, entry(1))
    batch = [meta(view=5), *(entry(op, size=3 * PAGE_BYTES) for op in range(2, 20))]
    log.write(batch)
    frames = log.written_lsn

    _, recovery = open_log(files)
    assert frames > 3
    assert ops(recovery) == list(range(1, 20))

    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, entry(1))
    log.write(batch)
    newest = max(name for name, content in files.files.items() if any(content.cached[PAGE_BYTES:]))
    files.files[newest].cached[PAGE_BYTES:] = bytes(SEGMENT_BYTES - PAGE_BYTES)
    _, recovery = open_log(files)
    assert ops(recovery) == [1]
    assert recovery.groups[GROUP].meta is None


def test_a_record_that_fits_no_segment_is_refused_and_nothing_is_written() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)

    with pytest.raises(RecordTooLarge):
        log.write([entry(1), entry(2, size=SEGMENT_BYTES)])

    assert log.written_lsn == 0
    write_synced(log, entry(1))


def test_the_unproven_tail_is_written_again_before_it_is_vouched_for() -> None:
    """After a failed sync the page cache holds clean pages the platter lacks (ATC 2020)."""
    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, entry(1))
    write_synced(log, entry(2))
    files.crash()
    files.effects.clear()

    open_log(files)

    assert files.effects == ["write", "sync", "sync_directory"]


def test_an_idle_log_writes_one_mark_not_many() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    write_synced(log, entry(1))

    log.write_sync_mark()
    marked = log.written_lsn
    log.write_sync_mark()

    assert marked == 2
    assert log.written_lsn == 2


def test_the_next_segment_is_prepared_in_pieces_before_it_is_needed() -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    assert not log.wants_spare
    for op in range(1, 5):
        write_synced(log, entry(op, size=PAGE_BYTES))

    assert log.wants_spare
    while log.wants_spare:
        log.prepare_spare()
    files.effects.clear()
    for op in range(5, 12):
        write_synced(log, entry(op, size=PAGE_BYTES))

    assert log.live_segments == 2
    assert "allocate" not in files.effects


@given(st.lists(st.binary(max_size=2 * PAGE_BYTES), max_size=3))
@settings(deadline=None)
def test_arbitrary_files_are_recovered_or_refused_by_type(images: list[bytes]) -> None:
    files = MemoryFileSystem()
    for number, image in enumerate(images, start=1):
        files.open(f"wal/{segment_name(number)}", create=True).write_at(0, image)

    try:
        log, _ = open_log(files)
        write_synced(log, entry(1))
    except StorageError:
        return

    _, recovery = open_log(files)
    assert ops(recovery) == [1]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, SEGMENT_BYTES), st.binary(max_size=900)), max_size=8))
@settings(deadline=None, max_examples=150)
def test_a_mutilated_log_is_recovered_without_inventing_bytes(damages: list[tuple[int, int, bytes]]) -> None:
    files = MemoryFileSystem()
    log, _ = open_log(files)
    for op in range(1, 40):
        write_synced(log, entry(op, size=PAGE_BYTES), meta(view=op))
    for number, offset, junk in damages:
        file_bytes(files, number)[offset : offset + len(junk)] = junk

    _, recovery = open_log(files)

    for group in recovery.groups.values():
        for one in group.entries:
            assert one.payload in (None, entry(one.op, size=PAGE_BYTES).payload)


def test_a_log_in_real_files_survives_reopening(tmp_path: object) -> None:
    directory = f"{tmp_path}/wal"
    options = WriteAheadLogOptions(segment_bytes=SEGMENT_BYTES)
    log, _ = WriteAheadLog.open(RealFileSystem(), directory, options=options)
    for op in range(1, 60):
        log.write([entry(op, size=2000)])
        log.sync()
    log.release(GROUP, 30)
    log.close()

    log, recovery = WriteAheadLog.open(RealFileSystem(), directory, options=options)
    log.close()

    assert ops(recovery)[-1] == 59
    assert set(range(31, 60)) <= set(ops(recovery))
    assert recovery.report == []


def test_a_folder_that_cannot_be_read_is_a_typed_error() -> None:
    files = MemoryFileSystem()
    files.fail_after = 0
    files.error = OSError(errno.EACCES, "permission denied")

    with pytest.raises(StoragePoisoned, match="permission denied"):
        open_log(files)
