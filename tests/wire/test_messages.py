from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.builders import MESSAGE_TYPES, instances
from wire.errors import DecodeError, RefusalCode
from wire.ids import NodeKey, RoomEpoch, RoomId
from wire.messages import (
    Append,
    PeerHello,
    Ping,
    Refused,
    decode,
    encode,
    peer_proof_message,
    proof_message,
)
from wire.room import Purpose

ANY_MESSAGE = st.one_of(*map(instances, MESSAGE_TYPES))


@given(message=ANY_MESSAGE)
@settings(max_examples=300)
def test_every_message_comes_back(message: msgspec.Struct) -> None:
    assert decode(encode(message)) == message  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", MESSAGE_TYPES)
def test_every_message_has_a_docstring_and_a_tag_of_its_own(kind: type[msgspec.Struct]) -> None:
    tags = [other.__struct_config__.tag for other in MESSAGE_TYPES]

    assert kind.__doc__
    assert isinstance(kind.__struct_config__.tag, int)
    assert tags.count(kind.__struct_config__.tag) == 1


@given(message=ANY_MESSAGE, at=st.integers(0, 10_000), cut=st.integers(0, 3), junk=st.binary(max_size=3))
@settings(max_examples=400)
def test_mutated_messages_only_ever_raise_decode_error(message: msgspec.Struct, at: int, cut: int, junk: bytes) -> None:
    data = encode(message)  # type: ignore[arg-type]
    at %= len(data)
    mutated = data[:at] + junk + data[at + cut :]

    try:
        decode(mutated)
    except DecodeError:
        return


@given(data=st.binary(max_size=100))
@settings(max_examples=300)
def test_garbage_only_ever_raises_decode_error(data: bytes) -> None:
    try:
        decode(data)
    except DecodeError:
        return


@given(message=ANY_MESSAGE)
def test_every_cut_of_a_message_is_refused(message: msgspec.Struct) -> None:
    data = encode(message)  # type: ignore[arg-type]
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:size])


@pytest.mark.parametrize(
    "data",
    [
        msgspec.msgpack.encode([5, 1]) + b"\0",
        msgspec.msgpack.encode([5]),
        msgspec.msgpack.encode([5, "1"]),
        msgspec.msgpack.encode([999, 1]),
        msgspec.msgpack.encode({"type": 5, "id": 1}),
        msgspec.msgpack.encode([7, 1, 999, "text", 0.0]),
        b"\x92\x07" + b"\xa4\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\x93\x05\x01" + b"\x91" * 100_000,
    ],
)
def test_wrong_shapes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


def test_messages_of_a_later_minor_version_are_understood() -> None:
    """Fields are only ever added at the end, so an older program skips what it does not know."""
    assert decode(msgspec.msgpack.encode([5, 1, "a later field"])) == Ping(1)


def test_messages_are_small() -> None:
    append = Append(RoomId(b"r" * 16), b"c" * 16, 1, 1, (b"x" * 300,))  # type: ignore[arg-type]

    assert len(encode(append)) - 300 < 64
    assert encode(Refused(1, RefusalCode.BUSY, "")) == msgspec.msgpack.encode([7, 1, 9, "", 0.0])


PROOF = {
    "purpose": Purpose.READ,
    "node_key": NodeKey(b"k" * 32),
    "server_nonce": b"s" * 32,
    "client_nonce": b"c" * 32,
    "room_id": RoomId(b"r" * 16),
    "epoch": RoomEpoch(7),
}


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": Purpose.WRITE},
        {"node_key": b"K" * 32},
        {"server_nonce": b"S" * 32},
        {"client_nonce": b"C" * 32},
        {"room_id": b"R" * 16},
        {"epoch": 8},
    ],
)
def test_proof_covers_every_field(change: dict[str, object]) -> None:
    assert proof_message(**PROOF) != proof_message(**(PROOF | change))  # type: ignore[arg-type]


def test_peer_proof_is_unambiguous_and_directed() -> None:
    one = PeerHello(1, b"r", "n", "s", NodeKey(b"k" * 32), b"n" * 32)
    other = PeerHello(1, b"q", "n", "s", NodeKey(b"l" * 32), b"m" * 32)
    shifted = PeerHello(1, b"rq", "n", "s", NodeKey(b"k" * 32), b"n" * 32)
    proofs = {
        peer_proof_message(acceptor=one, dialer=other),
        peer_proof_message(acceptor=other, dialer=one),
        peer_proof_message(acceptor=shifted, dialer=other),
    }

    assert len(proofs) == 3
