from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vr.host.errors import PeerFrameError
from vr.host.limits import PEER_FRAME_BYTES_MAX, PEER_FRAME_PARTS_MAX
from vr.host.peer_frame import HEARTBEAT, VERSION, decode_peer_frame, encode_peer_frames

GROUP = b"g" * 16


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.binary(max_size=200)), max_size=30))
def test_parts_arrive_as_they_were_sent(parts: list[tuple[bytes, bytes]]) -> None:
    frames = list(encode_peer_frames(parts))

    assert len(frames) == 1
    assert [(group, bytes(message)) for group, message in decode_peer_frame(frames[0])] == parts


def test_what_does_not_fit_one_frame_goes_in_several_in_order() -> None:
    parts = [(GROUP, bytes([index]) * 300_000) for index in range(10)]

    frames = list(encode_peer_frames(parts))

    assert len(frames) == 4
    assert all(len(frame) <= PEER_FRAME_BYTES_MAX for frame in frames)
    received = [(group, bytes(message)) for frame in frames for group, message in decode_peer_frame(frame)]
    assert received == parts


def test_many_small_messages_are_split_too() -> None:
    frames = list(encode_peer_frames([(GROUP, b"")] * (PEER_FRAME_PARTS_MAX + 1)))

    assert [len(decode_peer_frame(frame)) for frame in frames] == [PEER_FRAME_PARTS_MAX, 1]


def test_a_heartbeat_is_a_frame_of_nothing() -> None:
    assert decode_peer_frame(HEARTBEAT) == []
    assert len(HEARTBEAT) <= 4


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_refused_by_type_or_harmless(data: bytes) -> None:
    try:
        parts = decode_peer_frame(data)
    except PeerFrameError:
        return

    assert all(len(group) == 16 for group, _ in parts)


@pytest.mark.parametrize(
    "frame",
    [
        msgspec.msgpack.encode((VERSION + 1, ())),
        msgspec.msgpack.encode((VERSION, ((b"short", b""),))),
        msgspec.msgpack.encode((VERSION, [(GROUP, b"")] * (PEER_FRAME_PARTS_MAX + 1))),
        msgspec.msgpack.encode((VERSION, ((GROUP, b"x" * PEER_FRAME_BYTES_MAX),))),
        b"",
    ],
    ids=["version", "group", "parts", "bytes", "empty"],
)
def test_frames_out_of_bounds_are_refused(frame: bytes) -> None:
    with pytest.raises(PeerFrameError):
        decode_peer_frame(frame)
