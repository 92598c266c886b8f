from __future__ import annotations

import pytest

from tests.vr.storage.records import GROUP, entry, meta
from vr.storage.frame import FrameHeader, Record, RecordSummary
from vr.storage.limits import HOLE_OPS_MAX, PAGE_BYTES
from vr.storage.meta import birth_record, meta_effect
from vr.storage.recovery import Settled, is_torn, settle
from vr.storage.segment import ScannedFrame, ScannedSegment

SALT = b"saltsalt"


def frame(
    lsn: int, *records: Record, synced: int | None = None, rotten: bool = False, meta_lsn: int = 0, more: bool = False
) -> ScannedFrame:
    """One page per frame, placed by its number in segment 1."""
    summaries = [
        RecordSummary(
            group=record.group,
            kind=record.kind,
            view=record.view,
            op=record.op,
            checksum=record.checksum,
            payload=record.payload,
            offset=200,
            payload_bytes=len(record.payload),
            payload_crc=0,
        )
        for record in records
    ]
    header = FrameHeader(
        salt=SALT,
        lsn=lsn,
        synced_lsn=lsn - 1 if synced is None else synced,
        meta_lsn=meta_lsn,
        segment=1,
        oldest_segment=1,
        offset=lsn * PAGE_BYTES,
        more=more,
    )
    return ScannedFrame(
        segment=1,
        offset=lsn * PAGE_BYTES,
        frame_bytes=PAGE_BYTES,
        header=header,
        records=summaries,
        rotten=frozenset({0}) if rotten else frozenset(),
    )


def judge(*frames: ScannedFrame) -> Settled:
    return settle([ScannedSegment(number=1, salt=SALT, frames=list(frames), residue_offset=None)], meta_effect)


def ops(settled: Settled) -> list[int]:
    return [slot.op for slot in settled.groups[GROUP].slots] if GROUP in settled.groups else []


@pytest.mark.parametrize(
    ("first_missing", "lsn", "synced", "rotten", "torn"),
    [
        (5, 5, 4, False, False),  # nothing is wrong
        (5, 5, 4, True, True),  # rotten and unproven: a torn write
        (5, 5, 5, True, False),  # rotten and proven: faulty
        (4, 5, 3, False, True),  # 4 is missing and unproven
        (4, 5, 4, False, False),  # 4 is missing and proven: lost, never cut
        (3, 6, 4, False, True),  # 3 and 4 lost, but 5 torn
    ],
)
def test_the_mark_tells_torn_from_rotted(first_missing: int, lsn: int, synced: int, rotten: bool, torn: bool) -> None:
    judged = is_torn(first_missing=first_missing, frame=frame(lsn, entry(1), rotten=rotten), synced_lsn=synced)

    assert judged == torn


def test_a_lost_first_frame_is_noticed_by_its_place() -> None:
    settled = judge(frame(2, entry(2), synced=1), frame(3, entry(3)))

    assert ops(settled) == [2, 3]
    assert not settled.groups[GROUP].head_certain
    assert not settled.complete


def test_a_lost_beginning_may_have_held_any_meta() -> None:
    settled = judge(frame(3, entry(7), synced=2, meta_lsn=1))

    assert settled.groups[GROUP].meta_lost


def test_a_torn_first_frame_cuts_everything() -> None:
    settled = judge(frame(2, entry(2), synced=0))

    assert settled.frames == []
    assert settled.cut_frames == 1
    assert settled.offset == PAGE_BYTES


def test_a_batch_without_its_last_frame_does_not_count() -> None:
    settled = judge(frame(1, entry(1)), frame(2, entry(2), more=True), frame(3, entry(3), synced=1, more=True))

    assert ops(settled) == [1]
    assert settled.last_lsn == 1
    assert settled.must_clear


def test_certainty_returns_when_the_base_passes_what_was_lost() -> None:
    lost = (frame(1, entry(1)), frame(3, entry(5), entry(6), synced=2))

    assert not judge(*lost).groups[GROUP].head_certain
    assert not judge(*lost, frame(4, meta(base_op=3))).groups[GROUP].head_certain
    assert judge(*lost, frame(4, meta(base_op=4))).groups[GROUP].head_certain
    assert judge(*lost, frame(4, entry(1), entry(2))).groups[GROUP].head_certain
    assert not judge(*lost, frame(4, entry(2))).groups[GROUP].head_certain


def test_a_lost_meta_makes_the_meta_faulty_until_the_next_one() -> None:
    lost = (frame(1, meta(view=1)), frame(3, entry(1), synced=2, meta_lsn=2))

    assert judge(*lost).groups[GROUP].meta_lost
    assert not judge(*lost, frame(4, meta(view=2))).groups[GROUP].meta_lost
    assert not judge(lost[0], frame(3, entry(1), synced=2, meta_lsn=1)).groups[GROUP].meta_lost


def test_a_birth_begins_anew_whatever_was_lost() -> None:
    settled = judge(frame(2, entry(4), synced=1, meta_lsn=1), frame(3, birth_record(GROUP)), frame(4, entry(1)))

    assert ops(settled) == [1]
    assert settled.groups[GROUP].head_certain
    assert not settled.groups[GROUP].meta_lost


def test_truncation_and_base_of_a_meta_come_before_later_entries() -> None:
    batch = [entry(op) for op in range(1, 9)]

    assert ops(judge(frame(1, *batch), frame(2, meta(truncate_above=5), entry(6, view=1)))) == [1, 2, 3, 4, 5, 6]
    assert ops(judge(frame(1, *batch), frame(2, meta(base_op=3)))) == [4, 5, 6, 7, 8]
    assert ops(judge(frame(1, *batch), frame(2, meta(base_op=30), entry(31)))) == [31]


def test_a_hole_is_presented_as_faulty_unless_it_is_absurd() -> None:
    settled = judge(frame(1, entry(1)), frame(2, entry(4)))
    assert [(slot.op, slot.is_rotten) for slot in settled.groups[GROUP].slots] == [
        (1, False),
        (2, True),
        (3, True),
        (4, False),
    ]

    settled = judge(frame(1, entry(1)), frame(2, entry(HOLE_OPS_MAX + 100)))
    assert ops(settled) == [HOLE_OPS_MAX + 100]
    assert not settled.groups[GROUP].head_certain


def test_a_frame_out_of_order_is_ignored_and_reported() -> None:
    later = frame(3, entry(9))
    stale = ScannedFrame(
        segment=1,
        offset=9 * PAGE_BYTES,
        frame_bytes=PAGE_BYTES,
        header=frame(1).header,
        records=[],
        rotten=frozenset(),
    )

    settled = judge(frame(1, entry(7)), frame(2, entry(8)), later, stale)

    assert ops(settled) == [7, 8, 9]
    assert "out of order" in settled.report[0]
