from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import DecodeError
from dht.node_id import (
    distance,
    is_exempt,
    is_loopback,
    is_secure,
    is_usable,
    masked_crc32c,
    network_of,
    pack_address,
    pack_node,
    secure_node_id,
    shared_prefix_bits,
    unpack_address,
    unpack_nodes,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "dht.json").read_text())
ids = st.binary(min_size=20, max_size=20)
addresses = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))


@pytest.mark.parametrize("case", VECTORS["bep42_ipv4"], ids=lambda case: case["ip"])
def test_vectors_of_bep42(case: dict[str, Any]) -> None:
    node_id = bytes.fromhex(case["node_id"])

    assert masked_crc32c(case["ip"], case["rand"] & 7) == int(case["crc32c_of_masked"], 16)
    assert is_secure(node_id, case["ip"])
    assert not is_secure(bytes([node_id[0] ^ 1]) + node_id[1:], case["ip"])
    assert not is_secure(node_id, "8.8.8.8")


@pytest.mark.parametrize("case", VECTORS["bep42_ipv6_computed"], ids=lambda case: case["ip"])
def test_checksums_of_ipv6(case: dict[str, Any]) -> None:
    assert masked_crc32c(case["ip"], case["r"]) == int(case["crc32c_of_masked"], 16)


@given(st.ip_addresses().map(str), ids)
def test_ids_made_for_an_address_belong_to_it(host: str, entropy: bytes) -> None:
    node_id = secure_node_id(host, entropy)

    assert len(node_id) == 20
    assert is_secure(node_id, host)
    assert node_id[3:] == entropy[3:]


@pytest.mark.parametrize("network", VECTORS["bep42_rules"]["exempt"])
def test_private_addresses_are_exempt(network: str) -> None:
    host = network.partition("/")[0].removesuffix(".0") + ".9"

    assert is_exempt(host)
    assert is_secure(bytes(20), host)


@given(ids, ids, ids)
def test_distance_is_a_metric(a: bytes, b: bytes, c: bytes) -> None:
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@given(ids, ids)
def test_shared_prefix_is_where_ids_part(a: bytes, b: bytes) -> None:
    bits_a, bits_b = (format(int.from_bytes(each, "big"), "0160b") for each in (a, b))
    expected = next((n for n in range(160) if bits_a[n] != bits_b[n]), 160)

    assert shared_prefix_bits(a, b) == expected


@given(addresses)
def test_compact_addresses_survive(address: tuple[str, int]) -> None:
    assert unpack_address(pack_address(address)) == address


@given(st.lists(st.tuples(ids, st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535))), max_size=12))
def test_compact_nodes_survive_up_to_the_limit(nodes: list[tuple[bytes, tuple[str, int]]]) -> None:
    packed = b"".join(pack_node(*node) for node in nodes)

    assert unpack_nodes(packed, nodes_max=8) == nodes[:8]


@given(st.lists(st.tuples(ids, st.tuples(st.ip_addresses(v=6).map(str), st.integers(0, 65535))), max_size=4))
def test_compact_nodes_of_ipv6_survive(nodes: list[tuple[bytes, tuple[str, int]]]) -> None:
    assert unpack_nodes(b"".join(pack_node(*node) for node in nodes), node_bytes=38, nodes_max=8) == nodes


def test_cut_lists_are_refused() -> None:
    with pytest.raises(DecodeError):
        unpack_nodes(bytes(27), nodes_max=8)
    with pytest.raises(DecodeError):
        unpack_address(bytes(5))


@pytest.mark.parametrize("host", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "0.1.2.3", "::", "ff02::1", "240.0.0.1"])
def test_addresses_that_no_node_has(host: str) -> None:
    assert not is_usable(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "127.0.0.1", "10.1.2.3", "2a01:4f8::1", "::1"])
def test_addresses_that_nodes_have(host: str) -> None:
    assert is_usable(host)


def test_networks_are_what_one_owner_has() -> None:
    assert network_of("192.0.2.1") == network_of("192.0.2.254") != network_of("192.0.3.1")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert is_loopback("127.0.0.9")
    assert is_loopback("::1")
