from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mls.codec import Reader, decode, optional, u16_list, vector, vector_length
from mls.errors import DecodeError, LimitExceeded
from mls.limits import MESSAGE_BYTES_MAX
from tests.mls.vectors import hex_bytes, load


@pytest.mark.parametrize("entry", load("deserialization"))
def test_official_vector_lengths_decode_and_encode(entry: dict[str, str | int]) -> None:
    header, length = hex_bytes(str(entry["vlbytes_header"])), int(entry["length"])

    assert Reader(header).length() == length
    assert vector_length(length) == header


@given(st.integers(min_value=0, max_value=(1 << 30) - 1))
def test_lengths_come_back_in_their_shortest_form(length: int) -> None:
    encoded = vector_length(length)

    assert Reader(encoded).length() == length
    assert len(encoded) == (1 if length < 64 else 2 if length < 16_384 else 4)


@pytest.mark.parametrize(
    "encoded", ["4000", "403f", "80000000", "80003fff", "c0", "ffffffffffffffff", "", "40", "800000"]
)
def test_long_reserved_and_torn_lengths_are_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        Reader(bytes.fromhex(encoded)).length()


def test_a_vector_longer_than_its_message_is_refused() -> None:
    with pytest.raises(DecodeError):
        Reader(b"\x05abcd").opaque()
    with pytest.raises(DecodeError):
        Reader(b"\x05abcd").section()


def test_an_inner_vector_cannot_reach_past_its_outer_one() -> None:
    reader = Reader(b"\x02\x05ab" + b"cdefg").section()

    with pytest.raises(DecodeError):
        reader.opaque()


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(DecodeError):
        decode(b"\x01a!", Reader.opaque)


def test_a_message_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(LimitExceeded):
        decode(bytes(MESSAGE_BYTES_MAX + 1), Reader.opaque)


def test_too_many_entries_are_refused() -> None:
    encoded = vector(b"\x01a" * 5)

    assert Reader(encoded).items(Reader.opaque, count_max=5) == (b"a",) * 5
    with pytest.raises(LimitExceeded):
        Reader(encoded).items(Reader.opaque, count_max=4)


@pytest.mark.parametrize("flag", [2, 255])
def test_a_presence_byte_is_zero_or_one(flag: int) -> None:
    with pytest.raises(DecodeError):
        Reader(bytes([flag])).present()

    assert Reader(optional(b"x")).present()
    assert not Reader(optional(None)).present()


@given(st.lists(st.integers(min_value=0, max_value=65_535), max_size=200))
def test_lists_of_numbers_come_back(values: list[int]) -> None:
    assert Reader(u16_list(tuple(values))).u16_list() == tuple(values)


def test_lists_of_numbers_with_a_remainder_are_refused() -> None:
    with pytest.raises(DecodeError):
        Reader(vector(b"abc")).u16_list()
    with pytest.raises(DecodeError):
        Reader(vector(b"abcde")).u32_list()


def test_a_vector_of_a_wrong_fixed_size_is_refused() -> None:
    assert Reader(vector(b"abcd")).fixed(4, "tag") == b"abcd"
    with pytest.raises(DecodeError, match="tag has 3 bytes"):
        Reader(vector(b"abc")).fixed(4, "tag")
