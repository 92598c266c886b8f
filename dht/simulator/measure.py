"""Figures of a simulated network: what reads cost, what they find, what tables hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from dht.items import MutableItem
from dht.node_id import Address
from dht.simulator.network import Network
from dht.simulator.world import new_item


class ReadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Reads by random honest nodes. `first_p50_s` and `first_p99_s` are the time to the first valid value."""

    reads: int
    found: int
    first_p50_s: float
    first_p99_s: float
    hops_median: int
    queries_median: int
    copies_mean: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed; infinity of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(share * len(ranked)) - 1)] if ranked else math.inf


def publish(network: Network, count: int) -> list[MutableItem]:
    """Put so many new items, each from a random honest node; return those that somebody stored."""
    items = []
    for _ in range(count):
        item = new_item(network)
        if network.put(network.rng.choice(list(network.nodes)), item).stored:
            items.append(item)
    return items


def read(network: Network, items: Sequence[MutableItem], reads: int) -> ReadFigures:
    """Read random items from random honest nodes that do not hold them."""
    times: list[float] = []
    hops: list[int] = []
    queries: list[int] = []
    for _ in range(reads):
        item = network.rng.choice(items)
        ended, first_s = network.watch_get(_stranger(network, item), item)
        queries.append(ended.queries)
        if ended.item is not None and ended.item.seq >= item.seq:
            times.append(first_s)
            hops.append(ended.hops or 0)
    return ReadFigures(
        reads=reads,
        found=len(times),
        first_p50_s=round(percentile(times, 0.5), 3),
        first_p99_s=round(percentile(times, 0.99), 3),
        hops_median=int(percentile(hops, 0.5)) if hops else 0,
        queries_median=int(percentile(queries, 0.5)),
        copies_mean=round(sum(copies(network, item) for item in items) / len(items), 1),
    )


def copies(network: Network, item: MutableItem) -> int:
    """Return how many honest nodes hold this version of an item."""
    stored = (core.storage.get(item.target, network.now) for core in network.nodes.values())
    return sum(getattr(held, "seq", None) == item.seq for held in stored)


def dead_share(network: Network) -> float:
    """Return the share of entries in honest nodes' tables whose host is gone."""
    entries = [contact.address for core in network.nodes.values() for contact in core.table]
    return sum(address not in network.hosts for address in entries) / max(1, len(entries))


def _stranger(network: Network, item: MutableItem) -> Address:
    """Return a random honest node that has to ask others."""
    strangers = list(network.nodes)
    while True:
        address = network.rng.choice(strangers)
        if network.nodes[address].storage.get(item.target, network.now) is None:
            return address
