"""Lone cores and what they send, for tests that play the network themselves."""

from __future__ import annotations

from dht.dht import Dht
from dht.items import MutableItem, sign_item_with_seed
from dht.krpc import Query, decode, encode_query
from dht.node_id import Address
from dht.routing_table import Admission

ASKER = b"a" * 20
HERE = ("192.0.2.1", 7610)


def item(seq: int = 1, value: bytes = b"hej", seed: int = 0) -> MutableItem:
    return sign_item_with_seed(bytes([seed]) * 32, seq=seq, value=value)


def core(**change: bool) -> Dht:
    numbers = iter(range(1, 1 << 30))

    def entropy(size: int) -> bytes:
        return (next(numbers) * 0x9E3779B97F4A7C15 % (1 << 8 * size)).to_bytes(size, "big")

    return Dht(
        own_id=b"m" * 20, admission=Admission(), entropy=entropy, now=0.0, read_only=change.get("read_only", False)
    )


def ping(sender: bytes = ASKER, **how: bool) -> bytes:
    return encode_query(b"ping", {b"id": sender}, transaction=b"xy", read_only=how.get("read_only", False))


def queries_of(some: Dht) -> list[tuple[Query, Address]]:
    decoded = [(decode(datagram), address) for datagram, address in some.take_datagrams()]
    return [(message, address) for message, address in decoded if isinstance(message, Query)]
