from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import limits
from wire.errors import FrameError
from wire.frames import LENGTH_BYTES, FrameDecoder, encode_frame

PAYLOADS = st.lists(st.binary(min_size=1, max_size=300), max_size=12)


def decode_pieces(pieces: list[bytes]) -> list[bytes]:
    decoder = FrameDecoder()
    return [bytes(frame) for piece in pieces for frame in decoder.feed(piece)]


def test_frame_is_length_and_payload() -> None:
    assert encode_frame(b"abc") == b"\0\0\0\3abc"


@given(payloads=PAYLOADS, cuts=st.lists(st.integers(0, 4000), max_size=8))
def test_frames_come_back_however_the_stream_is_cut(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode_frame, payloads))
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]

    assert decode_pieces(pieces) == payloads


def test_frames_come_back_when_cut_at_every_byte() -> None:
    payloads = [b"a", b"bc" * 40, b"d" * 7]
    stream = b"".join(map(encode_frame, payloads))
    for cut in range(len(stream) + 1):
        assert decode_pieces([stream[:cut], stream[cut:]]) == payloads
    assert decode_pieces([stream[at : at + 1] for at in range(len(stream))]) == payloads


def test_longest_frame_passes_and_a_longer_one_does_not() -> None:
    longest = bytes(limits.FRAME_BYTES_MAX)

    assert decode_pieces([encode_frame(longest)]) == [longest]
    with pytest.raises(FrameError):
        decode_pieces([struct.pack(">I", limits.FRAME_BYTES_MAX + 1)])


@pytest.mark.parametrize("size", [0, limits.FRAME_BYTES_MAX + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_forbidden_length_is_refused_before_anything_behind_it_is_kept(size: int) -> None:
    decoder = FrameDecoder()

    with pytest.raises(FrameError):
        decoder.feed(struct.pack(">I", size) + bytes(1000))

    assert decoder.pending_bytes == 0


def test_forbidden_length_is_refused_when_it_arrives_byte_by_byte() -> None:
    decoder = FrameDecoder()
    for byte in b"\xff\xff\xff":
        assert decoder.feed(bytes([byte])) == []

    with pytest.raises(FrameError):
        decoder.feed(b"\xff")


def test_decoder_holds_no_more_than_the_unfinished_frame() -> None:
    decoder = FrameDecoder()
    frame = encode_frame(bytes(1000))

    decoder.feed(frame * 3 + frame[:500])

    assert decoder.pending_bytes == 500


def test_stream_that_ends_within_a_frame_can_be_told() -> None:
    decoder = FrameDecoder()

    decoder.feed(encode_frame(b"whole"))
    assert decoder.pending_bytes == 0

    decoder.feed(encode_frame(b"cut")[:-1])
    assert decoder.pending_bytes == LENGTH_BYTES + 2


def test_whole_frames_are_views_of_what_was_received() -> None:
    stream = encode_frame(b"one") + encode_frame(b"two")

    frames = FrameDecoder().feed(stream)

    assert all(frame.obj is stream for frame in frames)


@given(data=st.binary(max_size=2000))
def test_garbage_is_frames_or_a_frame_error(data: bytes) -> None:
    decoder = FrameDecoder()
    try:
        frames = decoder.feed(data)
    except FrameError:
        return
    assert sum(len(frame) + LENGTH_BYTES for frame in frames) + decoder.pending_bytes == len(data)
