from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import limits
from client.payload import Payload, PayloadKind, decode_payload, encode_payload, padded_bytes, size_class
from wire.errors import DecodeError
from wire.ids import Sequence


def payload(text: str) -> Payload:
    return Payload(1, PayloadKind.TEXT, b"i" * 16, Sequence(1 << 40), b"c" * 32, text)


@given(st.text(max_size=3000))
def test_payloads_round_trip_in_a_size_class(text: str) -> None:
    encoded = encode_payload(payload(text))

    assert decode_payload(encoded) == payload(text)
    assert size_class(len(encoded)) == len(encoded)
    assert len(encoded) <= padded_bytes(text)


@pytest.mark.parametrize("size", [0, 1, 150, 200, 60_000])
def test_the_longest_text_fits_the_largest_class(size: int) -> None:
    assert len(encode_payload(payload("x" * size))) <= limits.PAYLOAD_BYTES_MAX


def test_short_messages_all_have_the_same_size() -> None:
    assert {len(encode_payload(payload("x" * size))) for size in range(100)} == {256}


@pytest.mark.parametrize(("content", "padded"), [(1, 256), (256, 256), (257, 512), (32_769, 65_024), (65_024, 65_024)])
def test_size_classes(content: int, padded: int) -> None:
    assert size_class(content) == padded


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        bytes(256),
        b"\x80",
        b"garbage\x80" + bytes(100),
        encode_payload(payload("x")).rstrip(b"\0")[:-1],
        msgspec.msgpack.encode(Payload(1, 1, b"short", Sequence(0), b"c" * 32, "")) + b"\x80",
        msgspec.msgpack.encode(Payload(1, 1, b"i" * 16, Sequence(0), b"short", "")) + b"\x80",
        msgspec.msgpack.encode(Payload(1, 1, b"i" * 16, Sequence(-1), b"c" * 32, "")) + b"\x80",
        msgspec.msgpack.encode(Payload(1, 1, b"i" * 16, Sequence(0), b"c" * 32, "x" * 60_001)) + b"\x80",
    ],
)
def test_what_is_no_payload_is_refused(broken: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_payload(broken)


def test_later_versions_may_add_fields() -> None:
    fields = [2, PayloadKind.TEXT, b"i" * 16, 0, b"c" * 32, "hej", {"reply_to": 7}]

    assert decode_payload(msgspec.msgpack.encode(fields) + b"\x80").text == "hej"
