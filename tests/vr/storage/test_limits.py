from __future__ import annotations

from vr.storage import limits


def test_a_full_frame_fits_the_default_segment_beside_its_header() -> None:
    assert limits.FRAME_BYTES_MAX + limits.PAGE_BYTES <= limits.SEGMENT_BYTES


def test_sizes_are_whole_pages() -> None:
    for size in (limits.SEGMENT_BYTES, limits.SEGMENT_BYTES_MIN, limits.FRAME_BYTES_MAX, limits.ZERO_CHUNK_BYTES):
        assert size % limits.PAGE_BYTES == 0
