from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.items import MutableItem, sign_item_with_seed, signed_buffer
from wire.descriptor import (
    PADDED_BYTES,
    REPLICAS_MAX,
    VALUE_BYTES_MAX,
    Descriptor,
    DescriptorError,
    ForgedError,
    MalformedError,
    Replica,
    RoomRoot,
    SealError,
    WrongKeyError,
    blinded_public_key,
    decode_descriptor,
    descriptor_seq,
    encode_descriptor,
    open_descriptor,
)
from wire.errors import LocalError

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "dht.json").read_text())
BLINDING = VECTORS["proposal_blinding"]
VECTOR = VECTORS["proposal_descriptor"]
ROOT = RoomRoot(bytes.fromhex(VECTOR["root_seed"]))
SECRET = bytes.fromhex(VECTOR["link_secret"])
PLAIN = bytes.fromhex(VECTOR["plain"])

addresses4 = st.none() | st.ip_addresses(v=4).map(str)
addresses6 = st.none() | st.ip_addresses(v=6).map(str)
replicas = st.builds(
    Replica,
    node_key=st.binary(min_size=32, max_size=32),
    port=st.integers(0, 65535),
    ipv4=addresses4,
    ipv6=addresses6,
)
descriptors = st.builds(
    Descriptor,
    issued_hours=st.integers(0, (1 << 32) - 1),
    valid_hours=st.integers(0, (1 << 16) - 1),
    flags=st.integers(0, 255),
    capabilities=st.integers(0, (1 << 16) - 1),
    protocol=st.integers(0, 255),
    replicas=st.lists(replicas, max_size=REPLICAS_MAX).map(tuple),
)


def a_descriptor(count: int = 3) -> Descriptor:
    some = tuple(Replica(node_key=bytes([n]) * 32, port=7610, ipv4=f"203.0.113.{n}") for n in range(count))
    return Descriptor(issued_hours=490_000, valid_hours=500, replicas=some)


def open_it(item: MutableItem, **change: Any) -> Descriptor:
    return open_descriptor(item, **{"root_public": ROOT.public, "link_secret": SECRET, **change})


@pytest.mark.parametrize("case", BLINDING["cases"], ids=lambda case: str(case["period"]))
def test_blinded_keys_are_those_of_the_vector(case: dict[str, Any]) -> None:
    root = RoomRoot(bytes.fromhex(BLINDING["root_seed"]))
    secret = bytes.fromhex(BLINDING["link_secret"])

    assert root.public.hex() == BLINDING["root_public_key"]
    assert blinded_public_key(root.public, secret, case["period"]).hex() == case["blinded_public_key"]


@pytest.mark.parametrize("case", BLINDING["cases"], ids=lambda case: str(case["period"]))
def test_blinded_signatures_are_those_of_the_vector(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wire.descriptor._seal", lambda *_, **__: bytes.fromhex(case["value"]))

    item = ROOT.sign_descriptor(a_descriptor(), link_secret=SECRET, seq=case["seq"], period=case["period"])

    assert item.signature.hex() == case["signature"]
    assert item.target.hex() == case["target"]


def test_the_sealed_record_is_that_of_the_vector() -> None:
    descriptor = decode_descriptor(PLAIN)

    item = ROOT.sign_descriptor(descriptor, link_secret=SECRET, seq=VECTOR["seq"], period=VECTOR["period"])

    assert encode_descriptor(descriptor) == PLAIN
    assert len(descriptor.replicas) == VECTOR["node_count"]
    assert item.value.hex() == VECTOR["v"]
    assert item.public_key.hex() == VECTOR["k"]
    assert item.signature.hex() == VECTOR["sig"]
    assert item.target.hex() == VECTOR["target"]
    assert open_it(item) == descriptor
    assert descriptor.replicas[0].addresses == (("203.0.113.1", 7447), ("2001:db8::1", 7447))


@given(descriptors, st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 32) - 1))
@settings(max_examples=50)
def test_every_descriptor_opens_again(descriptor: Descriptor, seq: int, period: int) -> None:
    item = ROOT.sign_descriptor(descriptor, link_secret=SECRET, seq=seq, period=period)

    assert open_it(item, period=period) == descriptor
    assert len(item.value) <= VALUE_BYTES_MAX


def test_sizes_tell_only_a_class() -> None:
    sizes = [
        len(ROOT.sign_descriptor(a_descriptor(count), link_secret=SECRET, seq=1).value)
        for count in range(REPLICAS_MAX + 1)
    ]

    assert {size - 40 for size in sizes} <= set(PADDED_BYTES)
    assert sizes[1] == sizes[3]


@pytest.mark.parametrize(
    "change",
    [{"period": 1}, {"link_secret": bytes(16)}, {"root_public": RoomRoot(bytes(32)).public}],
    ids=lambda change: next(iter(change)),
)
def test_another_room_link_or_period_is_a_wrong_key(change: dict[str, Any]) -> None:
    item = ROOT.sign_descriptor(a_descriptor(), link_secret=SECRET, seq=1)

    with pytest.raises(WrongKeyError):
        open_it(item, **change)


@pytest.mark.parametrize(
    "change", [{"seq": 2}, {"value": b"x"}, {"signature": bytes(64)}], ids=lambda change: next(iter(change))
)
def test_a_changed_item_is_forged(change: dict[str, Any]) -> None:
    item = msgspec.structs.replace(ROOT.sign_descriptor(a_descriptor(), link_secret=SECRET, seq=1), **change)

    with pytest.raises(ForgedError):
        open_it(item)


def test_an_item_under_another_salt_is_not_the_record() -> None:
    item = msgspec.structs.replace(ROOT.sign_descriptor(a_descriptor(), link_secret=SECRET, seq=1), salt=b"x")

    with pytest.raises(WrongKeyError):
        open_it(item)


@pytest.mark.parametrize("sealed", [b"", bytes(256), bytes(255)], ids=len)
def test_a_signed_value_that_does_not_open_is_told(sealed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wire.descriptor._seal", lambda *_, **__: sealed)
    item = ROOT.sign_descriptor(a_descriptor(), link_secret=SECRET, seq=1)

    with pytest.raises(SealError):
        open_it(item)


def test_a_value_is_sealed_to_its_sequence_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner's old value cannot be signed into a newer item by mistake: it does not open."""
    old = ROOT.sign_descriptor(a_descriptor(), link_secret=SECRET, seq=1)
    monkeypatch.setattr("wire.descriptor._seal", lambda *_, **__: old.value)
    newer = ROOT.sign_descriptor(a_descriptor(), link_secret=SECRET, seq=2)

    with pytest.raises(SealError):
        open_it(newer)


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\x02" + PLAIN[1:],
        PLAIN[:-1],
        PLAIN + b"\0",
        PLAIN[:10] + b"\x0a" + PLAIN[11:],
        PLAIN[:44] + b"\x07" + PLAIN[45:],
        PLAIN[:20],
    ],
    ids=["empty", "version", "cut", "longer", "count", "address kind", "cut replica"],
)
def test_malformed_records_are_refused(plain: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_descriptor(plain)


@given(st.binary(max_size=80).map(lambda tail: b"\x01" + tail) | st.binary(max_size=20))
def test_any_record_is_read_or_refused(plain: bytes) -> None:
    try:
        descriptor = decode_descriptor(plain)
    except DescriptorError:
        return
    assert encode_descriptor(descriptor) == plain


@pytest.mark.parametrize(
    "change",
    [
        {"issued_hours": 1 << 32},
        {"valid_hours": -1},
        {"replicas": a_descriptor(REPLICAS_MAX).replicas * 2},
        {"replicas": (Replica(node_key=bytes(31), port=1),)},
        {"replicas": (Replica(node_key=bytes(32), port=1, ipv4="localhost"),)},
        {"replicas": (Replica(node_key=bytes(32), port=70_000),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_descriptors_out_of_bounds_are_not_signed(change: dict[str, Any]) -> None:
    with pytest.raises(LocalError):
        ROOT.sign_descriptor(msgspec.structs.replace(a_descriptor(), **change), link_secret=SECRET, seq=1)


def test_a_promise_runs_out_to_the_second() -> None:
    descriptor = Descriptor(issued_hours=100, valid_hours=2, replicas=())

    assert not descriptor.expired(102 * 3600 - 0.1)
    assert descriptor.expired(102 * 3600)


def test_a_newer_membership_beats_any_revision() -> None:
    assert descriptor_seq(17, 1) == VECTOR["seq"]
    assert descriptor_seq(2, 0) > descriptor_seq(1, (1 << 32) - 1)
    for epoch, revision in ((-1, 0), (1 << 31, 0), (0, -1), (0, 1 << 32)):
        with pytest.raises(LocalError):
            descriptor_seq(epoch, revision)


def test_keys_that_are_no_curve_points_are_refused() -> None:
    with pytest.raises(LocalError):
        blinded_public_key(bytes(32), SECRET)
    with pytest.raises(LocalError):
        blinded_public_key(b"short", SECRET)
    with pytest.raises(LocalError):
        RoomRoot(b"short")


def test_a_root_prints_nothing_and_its_signatures_do_not_give_the_seed_away() -> None:
    seed = bytes.fromhex(VECTOR["root_seed"])

    assert seed.hex() not in repr(ROOT)
    assert sign_item_with_seed(seed, seq=1, value=b"x").public_key != blinded_public_key(ROOT.public, SECRET)
    assert signed_buffer(1, b"", b"x") == b"3:seqi1e1:v1:x"
