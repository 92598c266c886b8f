from __future__ import annotations

import pytest

from tests.vr.storage.memory_file_system import MemoryFileSystem
from tests.vr.storage.records import GROUP, entry, meta
from vr.storage.limits import PAGE_BYTES
from vr.storage.log_opening import open_log, scan_log
from vr.storage.segment import encode_segment_header, segment_name
from vr.storage.write_ahead_log import WriteAheadLog, WriteAheadLogOptions

SEGMENT_BYTES = 16 * PAGE_BYTES


def filled(files: MemoryFileSystem, count: int = 20) -> WriteAheadLog:
    log, _ = WriteAheadLog.open(
        files, "wal", options=WriteAheadLogOptions(segment_bytes=SEGMENT_BYTES, entropy=files.entropy)
    )
    for op in range(1, count + 1):
        log.write([entry(op, size=PAGE_BYTES)])
        log.sync()
    return log


def test_a_new_log_is_durable_before_it_is_used() -> None:
    files = MemoryFileSystem()

    segments, settled, recovery = open_log(files, "wal", segment_bytes=SEGMENT_BYTES, entropy=files.entropy)
    files.lose_power()

    assert [segment.number for segment in segments] == [1]
    assert settled.offset == PAGE_BYTES
    assert recovery.groups == {}
    assert [one.number for one in scan_log(files, "wal")] == [1]


def test_half_made_and_released_files_are_removed() -> None:
    files = MemoryFileSystem()
    filled(files)
    names = list(files.list("wal"))
    files.open("wal/spare.tmp", create=True)
    stale = files.open(f"wal/{segment_name(77)}", create=True)
    stale.write_at(0, encode_segment_header(1, b"somesalt"))

    open_log(files, "wal", segment_bytes=SEGMENT_BYTES, entropy=files.entropy)

    assert list(files.list("wal")) == names


def test_a_cut_segment_is_cleared_and_synced_before_it_is_written_again() -> None:
    files = MemoryFileSystem()
    log = filled(files, 2)
    log.write([entry(3, size=PAGE_BYTES)])
    log.write([entry(4, size=PAGE_BYTES)])
    content = files.files[f"wal/{segment_name(1)}"]
    content.cached[5 * PAGE_BYTES + 300] ^= 1
    content.cached[6 * PAGE_BYTES - 1] ^= 1

    _, settled, recovery = open_log(files, "wal", segment_bytes=SEGMENT_BYTES, entropy=files.entropy)

    assert recovery.cut_frames == 2
    assert settled.offset == 5 * PAGE_BYTES
    assert not any(content.durable[5 * PAGE_BYTES :])


def test_scanning_changes_nothing() -> None:
    files = MemoryFileSystem()
    filled(files)
    files.effects.clear()

    scanned = scan_log(files, "wal")

    assert sum(len(one.frames) for one in scanned) == 20
    assert files.effects == []


@pytest.mark.parametrize("page", [1, 2])
def test_the_one_copy_of_metas_that_is_left_is_doubled_again(page: int) -> None:
    """A torn frame that has its front alone counts; the disk may lose that page next (seed 600044236)."""
    files = MemoryFileSystem()
    log, _ = WriteAheadLog.open(
        files, "wal", options=WriteAheadLogOptions(segment_bytes=SEGMENT_BYTES, entropy=files.entropy)
    )
    log.write([meta(view=7)])
    content = files.files[f"wal/{segment_name(1)}"]
    sound = bytes(content.cached)
    content.cached[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)

    open_log(files, "wal", segment_bytes=SEGMENT_BYTES, entropy=files.entropy)
    mended = bytes(content.durable)
    other = 3 - page
    content.cached[other * PAGE_BYTES : (other + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
    _, _, recovery = open_log(files, "wal", segment_bytes=SEGMENT_BYTES, entropy=files.entropy)

    assert mended == sound
    assert recovery.groups[GROUP].meta == meta(view=7).payload


def test_a_rotten_copy_of_a_segment_s_header_is_written_again() -> None:
    files = MemoryFileSystem()
    filled(files, 2)
    content = files.files[f"wal/{segment_name(1)}"]
    sound = bytes(content.cached[:PAGE_BYTES])
    content.cached[3] ^= 1

    open_log(files, "wal", segment_bytes=SEGMENT_BYTES, entropy=files.entropy)
    files.lose_power()

    assert files.files[f"wal/{segment_name(1)}"].cached[:PAGE_BYTES] == sound
