from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht import bencode
from dht.errors import DecodeError
from dht.limits import BENCODE_DEPTH_MAX

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "dht.json").read_text())

values = st.recursive(
    st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def depth(value: bencode.Value) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 0


@pytest.mark.parametrize("case", VECTORS["bencode_must_reject"], ids=lambda case: case["ascii"])
def test_refuses_second_spellings_and_cut_values(case: dict[str, str]) -> None:
    with pytest.raises(DecodeError):
        bencode.decode(bytes.fromhex(case["bytes_hex"]))


@pytest.mark.parametrize("text", VECTORS["bencode_must_roundtrip"])
def test_decodes_and_encodes_back(text: str) -> None:
    assert bencode.encode(bencode.decode(text.encode())) == text.encode()


@pytest.mark.parametrize("case", VECTORS["krpc_bep5"], ids=lambda case: case["bencoded"][:30])
def test_messages_of_bep5_survive(case: dict[str, str]) -> None:
    assert bencode.encode(bencode.decode(case["bencoded"].encode())) == case["bencoded"].encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"e",
        b"i18446744073709551616e",
        b"i-9223372036854775809e",
        b"i" + b"9" * 30 + b"e",
        b"di1e1:ae",
        b"dlee",
        b"x",
    ],
    ids=repr,
)
def test_refuses_other_broken_values(data: bytes) -> None:
    with pytest.raises(DecodeError):
        bencode.decode(data)


def test_takes_nesting_up_to_the_limit() -> None:
    deepest = b"l" * BENCODE_DEPTH_MAX + b"e" * BENCODE_DEPTH_MAX

    assert bencode.encode(bencode.decode(deepest)) == deepest
    with pytest.raises(DecodeError, match="deep"):
        bencode.decode(b"l" + deepest + b"e")


@given(values.filter(lambda value: depth(value) <= BENCODE_DEPTH_MAX))
def test_every_value_survives(value: bencode.Value) -> None:
    assert bencode.decode(bencode.encode(value)) == value


@given(st.binary(max_size=60) | st.text(alphabet="ilde0123456789:-ab", max_size=30).map(str.encode))
def test_any_bytes_have_one_spelling_or_are_refused(data: bytes) -> None:
    try:
        value = bencode.decode(data)
    except DecodeError:
        return
    assert bencode.encode(value) == data
