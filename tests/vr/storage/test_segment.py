from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vr.storage.memory_file_system import MemoryFileSystem
from tests.vr.storage.records import entry
from vr.storage.frame import FrameHeader, encode_frame
from vr.storage.limits import PAGE_BYTES
from vr.storage.segment import (
    decode_segment_header,
    encode_segment_header,
    make_segment,
    scan_segment,
    segment_name,
    segment_number,
)

SALT = b"saltsalt"


def frame(
    lsn: int, *, at: int | None = None, pages: int = 1, payload: bytes | None = None, salt: bytes = SALT
) -> bytes:
    """Of segment 5; `at` is the page it is written to, else its number."""
    record = entry(lsn, size=(pages - 1) * PAGE_BYTES + 50)
    if payload is not None:
        record = msgspec.structs.replace(record, payload=payload)
    header = FrameHeader(
        salt=salt,
        lsn=lsn,
        synced_lsn=lsn - 1,
        meta_lsn=0,
        segment=5,
        oldest_segment=1,
        offset=(lsn if at is None else at) * PAGE_BYTES,
    )
    return encode_frame(header, [record])


def segment(*frames: bytes) -> bytearray:
    return bytearray(encode_segment_header(5, SALT) + b"".join(frames) + bytes(3 * PAGE_BYTES))


def test_names_sort_as_numbers_and_other_files_are_none() -> None:
    assert segment_number(segment_name(42)) == 42
    assert segment_name(9) < segment_name(10)
    for name in ("spare.tmp", "12.seg", "00000000000x.seg", "000000000001.seg.tmp", ""):
        assert segment_number(name) is None


@pytest.mark.parametrize("damaged", [0, PAGE_BYTES // 2])
def test_one_of_two_header_copies_is_enough(damaged: int) -> None:
    page = bytearray(encode_segment_header(5, SALT))
    page[damaged : damaged + 512] = bytes(512)

    assert decode_segment_header(bytes(page)) == (5, SALT)


def test_without_both_header_copies_the_first_frame_still_tells_the_salt() -> None:
    data = segment(frame(1), frame(2))
    data[:PAGE_BYTES] = bytes(PAGE_BYTES)

    assert [found.header.lsn for found in scan_segment(5, bytes(data)).frames] == [1, 2]

    data[PAGE_BYTES : PAGE_BYTES + 100] = bytes(100)
    assert scan_segment(5, bytes(data)).salt is None


def test_a_scan_finds_the_frames_on_both_sides_of_damage() -> None:
    data = segment(frame(1), frame(2, pages=3), frame(3, at=5))
    start = 2 * PAGE_BYTES
    data[start : start + 3 * PAGE_BYTES] = bytes(3 * PAGE_BYTES)

    scanned = scan_segment(5, bytes(data))

    assert [found.header.lsn for found in scanned.frames] == [1, 3]
    assert scanned.residue_offset is None


@pytest.mark.parametrize("damage", [slice(0, 8), slice(8, 16), slice(100, 140)])
def test_a_frame_with_a_damaged_head_is_read_by_its_tail(damage: slice) -> None:
    data = segment(frame(1), frame(2, pages=3), frame(3, at=5))
    data[2 * PAGE_BYTES + damage.start : 2 * PAGE_BYTES + damage.stop] = b"\xff" * (damage.stop - damage.start)

    found = scan_segment(5, bytes(data)).frames

    assert [(one.header.lsn, one.offset) for one in found] == [
        (1, PAGE_BYTES),
        (2, 2 * PAGE_BYTES),
        (3, 5 * PAGE_BYTES),
    ]
    assert not any(one.rotten for one in found)


def test_rotten_entries_are_named_and_the_others_are_not() -> None:
    data = segment(frame(1), frame(2, pages=3), frame(3, at=5))
    data[3 * PAGE_BYTES + 7] ^= 1

    assert [found.rotten for found in scan_segment(5, bytes(data)).frames] == [frozenset(), frozenset({0}), frozenset()]


def test_a_frame_planted_in_a_client_s_bytes_is_not_taken_for_one() -> None:
    planted = bytes(PAGE_BYTES - 72 - 60) + frame(9, salt=b"guessed!")
    planting = frame(2, payload=planted)
    data = segment(frame(1), planting, frame(3, at=2 + len(planting) // PAGE_BYTES))
    data[2 * PAGE_BYTES : 2 * PAGE_BYTES + 100] = bytes(100)
    last = len(data) - 3 * PAGE_BYTES
    data[last - 2 * PAGE_BYTES : last - PAGE_BYTES] = bytes(PAGE_BYTES)

    assert [found.header.lsn for found in scan_segment(5, bytes(data)).frames] == [1, 3]


def test_a_page_that_went_astray_is_not_taken_for_a_frame() -> None:
    """Its salt, number and checksums are right; where it lies is not."""
    data = segment(frame(1), frame(2), frame(3), frame(4))
    data[2 * PAGE_BYTES : 3 * PAGE_BYTES] = data[4 * PAGE_BYTES : 5 * PAGE_BYTES]
    data[4 * PAGE_BYTES : 5 * PAGE_BYTES] = bytes(PAGE_BYTES)

    scanned = scan_segment(5, bytes(data))

    assert [found.header.lsn for found in scanned.frames] == [1, 3]
    assert scanned.residue_offset == 2 * PAGE_BYTES


def test_a_header_of_another_number_is_a_released_file() -> None:
    scanned = scan_segment(6, bytes(segment(frame(1))))

    assert scanned.is_stale
    assert not scanned.frames


def test_a_torn_frame_leaves_a_residue() -> None:
    torn = frame(2, pages=3)[: 2 * PAGE_BYTES]
    data = segment(frame(1), torn)
    data[2 * PAGE_BYTES + 40] ^= 1

    assert scan_segment(5, bytes(data)).residue_offset == 2 * PAGE_BYTES


@given(st.binary(max_size=3 * PAGE_BYTES), st.booleans())
def test_arbitrary_bytes_scan_without_error(noise: bytes, with_header: bool) -> None:
    data = (encode_segment_header(5, SALT) if with_header else b"") + noise

    assert scan_segment(5, data).frames == []


@given(st.lists(st.tuples(st.integers(0, 12 * PAGE_BYTES), st.binary(min_size=1, max_size=600)), max_size=6))
def test_whatever_is_overwritten_only_original_frames_are_found(damages: list[tuple[int, bytes]]) -> None:
    data = segment(frame(1), frame(2, pages=3), frame(3, at=5), frame(4, at=6, pages=2), frame(5, at=8))
    size = len(data)
    originals = {(one.header.lsn, one.offset): one.records for one in scan_segment(5, bytes(data)).frames}
    for offset, junk in damages:
        data[offset : offset + len(junk)] = junk

    found = scan_segment(5, bytes(data[:size])).frames

    assert all(originals[one.header.lsn, one.offset] == one.records for one in found)


def test_a_segment_gets_its_name_only_when_its_header_is_durable() -> None:
    files = MemoryFileSystem()
    files.open("wal/spare.tmp", create=True).allocate(8 * PAGE_BYTES)
    files.effects.clear()

    made = make_segment(files, "wal", number=5, salt=SALT, temporary="wal/spare.tmp")

    assert files.effects == ["write", "sync", "rename", "sync_directory"]
    assert files.list("wal") == [segment_name(5)]
    assert made.size == 8 * PAGE_BYTES
