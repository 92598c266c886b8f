from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht import bencode
from dht.errors import DecodeError, InvalidItem, InvalidSignature
from dht.items import (
    MutableItem,
    encoded_signed_buffer,
    immutable_target,
    mutable_target,
    sign_item,
    sign_item_with_seed,
    signed_buffer,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "dht.json").read_text())
MUTABLE = [case for case in VECTORS["bep44"] if case["name"] != "immutable"]
SEED = bytes(range(32))


def item_of(case: dict[str, Any]) -> MutableItem:
    value = bencode.decode(case["value_bencoded"].encode())
    assert isinstance(value, bytes)
    return MutableItem(
        public_key=bytes.fromhex(case["public_key"]),
        salt=(case["salt"] or "").encode(),
        seq=case["seq"],
        value=value,
        signature=bytes.fromhex(case["signature"]),
    )


@pytest.mark.parametrize("case", MUTABLE, ids=lambda case: case["name"])
def test_vectors_of_bep44_verify(case: dict[str, Any]) -> None:
    item = item_of(case)

    item.verify()
    assert item.target.hex() == case["target"]
    assert signed_buffer(item.seq, item.salt, item.value).decode() == case["signed_buffer"]


def test_immutable_target_of_bep44() -> None:
    case = next(case for case in VECTORS["bep44"] if case["name"] == "immutable")

    assert immutable_target(case["value_bencoded"].encode()).hex() == case["target"]


@pytest.mark.parametrize("case", VECTORS["bep46"], ids=lambda case: str(case.get("salt_hex")))
def test_targets_of_bep46(case: dict[str, str]) -> None:
    salt = bytes.fromhex(case.get("salt_hex", ""))

    assert mutable_target(bytes.fromhex(case["public_key"]), salt).hex() == case["target"]


@pytest.mark.parametrize(
    "change",
    [{"seq": 2}, {"value": b"other"}, {"salt": b"x"}, {"signature": bytes(64)}, {"public_key": bytes(32)}],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_field_does_not_verify(change: dict[str, Any]) -> None:
    item = msgspec.structs.replace(sign_item_with_seed(SEED, seq=1, value=b"hej"), **change)

    with pytest.raises(InvalidSignature):
        item.verify()


@pytest.mark.parametrize("field", ["signature", "public_key"])
def test_wrong_sizes_do_not_reach_the_library(field: str) -> None:
    item = msgspec.structs.replace(sign_item_with_seed(SEED, seq=1, value=b"hej"), **{field: b"short"})

    with pytest.raises(InvalidSignature):
        item.verify()


def test_the_largest_value_is_1000_bytes_bencoded() -> None:
    sign_item_with_seed(SEED, seq=0, value=bytes(996))

    with pytest.raises(InvalidItem, match="1000"):
        sign_item_with_seed(SEED, seq=0, value=bytes(997))


@pytest.mark.parametrize("change", [{"salt": bytes(65)}, {"seq": -1}, {"seq": 1 << 63}], ids=str)
def test_items_out_of_bounds_are_not_signed(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidItem):
        sign_item_with_seed(SEED, **{"seq": 1, "value": b"", **change})


def test_a_signer_of_another_key_is_noticed() -> None:
    with pytest.raises(InvalidSignature):
        sign_item(lambda _: bytes(64), public_key=bytes(32), seq=1, value=b"hej")


@given(st.binary(max_size=64), st.integers(0, (1 << 63) - 1), st.binary(max_size=300))
def test_stored_bytes_give_the_item_back(salt: bytes, seq: int, value: bytes) -> None:
    item = sign_item_with_seed(SEED, seq=seq, value=value, salt=salt)

    restored = MutableItem.from_bytes(item.to_bytes())

    assert restored == item
    restored.verify()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"k": bytes(32), b"salt": b"", b"seq": 1, b"sig": bytes(64)},
        {b"k": bytes(32), b"salt": b"", b"seq": 1, b"sig": bytes(64), b"v": 5},
        {b"k": bytes(32), b"salt": b"", b"seq": 1, b"sig": bytes(64), b"v": b"", b"x": b""},
        {b"k": bytes(31), b"salt": b"", b"seq": 1, b"sig": bytes(64), b"v": b""},
        {b"k": bytes(32), b"salt": b"", b"seq": -1, b"sig": bytes(64), b"v": b""},
    ],
    ids=str,
)
def test_other_bytes_are_no_item(fields: dict[bytes, bencode.Value]) -> None:
    with pytest.raises(DecodeError):
        MutableItem.from_bytes(bencode.encode(fields))


def test_a_value_that_is_bencoded_already_signs_the_same() -> None:
    assert encoded_signed_buffer(3, b"s", b"2:hi") == signed_buffer(3, b"s", b"hi")
