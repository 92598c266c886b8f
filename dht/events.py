"""What a node tells whoever drives it: found items and ended operations."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from dht.items import MutableItem


class PutResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a put achieved.

    `stored` nodes have the item now, those that had exactly this version included; `refused` counts the others' codes
    (BEP 44); `closest_queried` nodes were asked to store; `held` had this version before; `newer` is a later version
    that was seen on the way.
    """

    stored: int
    refused: dict[int, int]
    closest_queried: int
    held: int = 0
    newer: MutableItem | None = None


class ItemFound(msgspec.Struct, frozen=True, kw_only=True):
    """A get found a valid item, newer than any it found before."""

    operation: int
    item: MutableItem


class LookupEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A get or find is over. `answered` of `queries` nodes answered.

    `hops` is how many of them led to the first version found: 1 when a node of our own table had it.
    """

    operation: int
    item: MutableItem | None
    queries: int
    answered: int
    hops: int | None = None


class PutEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A put is over."""

    operation: int
    result: PutResult


Event: TypeAlias = ItemFound | LookupEnded | PutEnded
