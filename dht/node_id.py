"""Node ids and addresses: 160-bit ids, the XOR metric, ids bound to addresses (BEP 42), compact encodings (BEP 5, 32).

distance(a, b) = a XOR b, as a number        shared prefix = leading bits that two ids have in common
network        = /24 of IPv4, /64 of IPv6: what one owner has cheaply many addresses of
"""

from __future__ import annotations

import ipaddress
import struct
from functools import lru_cache
from typing import Final, TypeAlias

from dht.errors import DecodeError

Address: TypeAlias = tuple[str, int]
"""Host as a numeric address in text, and port."""

NODE_ID_BYTES: Final = 20
NODE_ID_BITS: Final = 160
_IPV4_MASK: Final = bytes.fromhex("030f3fff")
_IPV6_MASK: Final = bytes.fromhex("0103070f1f3f7fff")
_CASTAGNOLI: Final = 0x82F63B78
_CACHE: Final = 4_096


def distance(node_id: bytes, target: bytes) -> int:
    """Return the XOR distance of two 20-byte ids (Kademlia 2.1)."""
    return int.from_bytes(node_id, "big") ^ int.from_bytes(target, "big")


def shared_prefix_bits(node_id: bytes, target: bytes) -> int:
    """Return how many leading bits two ids share, 160 when they are equal."""
    return NODE_ID_BITS - distance(node_id, target).bit_length()


@lru_cache(maxsize=_CACHE)
def network_of(host: str) -> bytes:
    """Return the /24 (IPv4) or /64 (IPv6) of a numeric address."""
    packed = ipaddress.ip_address(host).packed
    return packed[:3] if len(packed) == 4 else packed[:8]


@lru_cache(maxsize=_CACHE)
def is_loopback(host: str) -> bool:
    """Whether a numeric address is this machine: there is nobody to be protected from by counting addresses."""
    return ipaddress.ip_address(host).is_loopback


@lru_cache(maxsize=_CACHE)
def is_usable(host: str) -> bool:
    """Whether a numeric address can be a node's at all: not multicast, unspecified, broadcast or class E."""
    address = ipaddress.ip_address(host)
    if address.is_loopback:  # ::1 counts as reserved, too
        return True
    return not (address.is_multicast or address.is_unspecified or address.is_reserved or host.startswith("0."))


@lru_cache(maxsize=_CACHE)
def is_exempt(host: str) -> bool:
    """Whether BEP 42 leaves an address out: private, link-local and loopback ones say nothing about their owner."""
    address = ipaddress.ip_address(host)
    return address.is_private or address.is_link_local or address.is_loopback


def secure_node_id(host: str, entropy: bytes) -> bytes:
    """Return an id bound to an address (BEP 42). `entropy` is 20 random bytes; the last one becomes `rand`."""
    prefix = _secure_prefix(host, entropy[19])
    third = prefix[2] & 0xF8 | entropy[2] & 0x07
    return prefix[:2] + bytes([third]) + entropy[3:NODE_ID_BYTES]


def is_secure(node_id: bytes, host: str) -> bool:
    """Whether an id belongs to an address as BEP 42 has it, or the address is exempt."""
    if is_exempt(host):
        return True
    prefix = _secure_prefix(host, node_id[19])
    return node_id[:2] == prefix[:2] and node_id[2] & 0xF8 == prefix[2] & 0xF8


@lru_cache(maxsize=_CACHE)
def _secure_prefix(host: str, rand: int) -> bytes:
    return struct.pack(">I", masked_crc32c(host, rand & 0x07))


def masked_crc32c(host: str, r: int) -> int:
    """Return the checksum that BEP 42 takes an id's first 21 bits from; `r` is 3 bits."""
    packed = ipaddress.ip_address(host).packed
    mask = _IPV4_MASK if len(packed) == 4 else _IPV6_MASK
    masked = bytearray(byte & keep for byte, keep in zip(packed, mask, strict=False))
    masked[0] |= r << 5
    crc = 0xFFFFFFFF
    for byte in masked:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@lru_cache(maxsize=_CACHE)
def pack_address(address: Address) -> bytes:
    """Return 6 bytes (IPv4) or 18 (IPv6) (BEP 5, 32)."""
    host, port = address
    return ipaddress.ip_address(host).packed + port.to_bytes(2, "big")


@lru_cache(maxsize=_CACHE)
def unpack_address(data: bytes) -> Address:
    """Return the address of 6 or 18 bytes.

    Raises:
        DecodeError: another size.
    """
    if len(data) not in (6, 18):
        raise DecodeError("a compact address has 6 or 18 bytes")
    return str(ipaddress.ip_address(data[:-2])), int.from_bytes(data[-2:], "big")


def pack_node(node_id: bytes, address: Address) -> bytes:
    """Return 26 bytes (IPv4) or 38 (IPv6): id and address (BEP 5, 32)."""
    return node_id + pack_address(address)


def unpack_nodes(data: bytes, *, node_bytes: int = 26, nodes_max: int) -> list[tuple[bytes, Address]]:
    """Return at most `nodes_max` (id, address) pairs of a compact list; `node_bytes` is 26 for IPv4, 38 for IPv6.

    Raises:
        DecodeError: the length is no multiple of a node's.
    """
    if len(data) % node_bytes:
        raise DecodeError(f"a compact list of nodes has {node_bytes} bytes each")
    ends = range(node_bytes, min(len(data), node_bytes * nodes_max) + 1, node_bytes)
    nodes = [data[end - node_bytes : end] for end in ends]
    return [(node[:NODE_ID_BYTES], unpack_address(node[NODE_ID_BYTES:])) for node in nodes]
