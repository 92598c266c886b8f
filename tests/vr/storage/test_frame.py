from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vr.storage.records import GROUP, entry, meta
from vr.storage.frame import (
    HEAD_MAGIC,
    FrameDescription,
    FrameHeader,
    Record,
    RecordKind,
    decode_head,
    decode_tail,
    encode_frame,
    frame_bytes_of,
    salt_of,
)
from vr.storage.limits import PAGE_BYTES
from vr.storage.meta import birth_record

SALT = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def header(**changes: object) -> FrameHeader:
    values: dict[str, object] = {
        "salt": SALT,
        "lsn": 7,
        "synced_lsn": 6,
        "meta_lsn": 2,
        "segment": 3,
        "oldest_segment": 1,
        "offset": 4096,
        "more": False,
    }
    return FrameHeader(**(values | changes))  # type: ignore[arg-type]  # a test's keyword table


records = st.lists(
    st.one_of(
        st.builds(lambda op, size: entry(op, size=size), st.integers(1, 2**63), st.integers(0, 9000)),
        st.builds(lambda base, padding: meta(base_op=base, padding=padding), st.integers(0, 99), st.integers(0, 5000)),
        st.just(birth_record(GROUP)),
    ),
    max_size=12,
)


def payloads(data: bytes, description: FrameDescription) -> list[bytes]:
    return [data[record.offset : record.offset + record.payload_bytes] for record in description.records]


@given(records)
def test_a_frame_reads_back_from_either_end(batch: list[Record]) -> None:
    data = encode_frame(header(more=True), batch)

    head = decode_head(data, 0, SALT)
    tail = decode_tail(data, len(data), SALT)

    assert head is not None
    assert head == tail
    assert head.header == header(more=True)
    assert head.frame_bytes == len(data) == frame_bytes_of(batch)
    assert payloads(data, head) == [record.payload for record in batch]
    assert [(r.kind, r.op, r.view, r.group) for r in head.records] == [(r.kind, r.op, r.view, r.group) for r in batch]
    assert all(r.payload == b.payload for r, b in zip(head.records, batch, strict=True) if b.kind is RecordKind.META)


@given(records, st.data())
def test_one_damaged_page_never_takes_both_descriptions_of_metas(batch: list[Record], draw: st.DataObject) -> None:
    data = bytearray(encode_frame(header(), [meta(view=3), *batch]))
    page = draw.draw(st.integers(0, len(data) // PAGE_BYTES - 1)) * PAGE_BYTES
    data[page : page + PAGE_BYTES] = bytes(PAGE_BYTES)

    descriptions = [decode_head(bytes(data), 0, SALT), decode_tail(bytes(data), len(data), SALT)]

    # A description longer than half the frame spans the damaged page from both ends only when it is several pages long.
    if frame_bytes_of([meta(view=3), *batch]) == 2 * PAGE_BYTES:
        assert any(description is not None for description in descriptions)


def test_frames_are_whole_pages_and_metas_take_two() -> None:
    assert len(encode_frame(header(), [])) == PAGE_BYTES
    assert len(encode_frame(header(), [entry(1)])) == PAGE_BYTES
    assert len(encode_frame(header(), [entry(1), meta()])) == 2 * PAGE_BYTES


@given(st.integers(0, 8 * PAGE_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_in_a_description_makes_it_unreadable_not_different(position: int, flip: int) -> None:
    batch = [entry(1, size=9000), meta(view=2), entry(2, size=9000), entry(3, size=9000)]
    data = bytearray(encode_frame(header(), batch))
    original = decode_head(bytes(data), 0, SALT)
    data[position % len(data)] ^= flip

    assert decode_head(bytes(data), 0, SALT) in (None, original)
    assert decode_tail(bytes(data), len(data), SALT) in (None, original)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_arbitrary_bytes_are_no_frame(noise: bytes, offset: int) -> None:
    data = HEAD_MAGIC + SALT + noise

    assert decode_head(data, offset, SALT) is None
    assert decode_tail(data, offset, SALT) is None


@pytest.mark.parametrize("offset", [0, 1, PAGE_BYTES])
def test_a_frame_of_an_earlier_use_of_the_segment_is_none_of_ours(offset: int) -> None:
    data = encode_frame(header(), [entry(1)])

    assert decode_head(data, offset, b"\x00" * 8) is None


def test_the_salt_can_be_had_from_the_first_frame_of_the_right_segment_only() -> None:
    data = encode_frame(header(segment=3), [])

    assert salt_of(data, 0, 3) == SALT
    assert salt_of(data, 0, 4) is None
    assert salt_of(data[:10], 0, 3) is None
