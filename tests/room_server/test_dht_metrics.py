from __future__ import annotations

import pytest
import trio
from prometheus_client import CollectorRegistry

from dht.counters import Counters
from dht.items import sign_item_with_seed
from dht.node import NodeStats, open_node
from room_server.dht_metrics import DhtMetrics

ITEM = sign_item_with_seed(bytes(32), seq=1, value=b"hej")


class Shown:
    """A registry and what it shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = DhtMetrics(self.registry)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"samtala_dht_{name}", labels)

    def series(self) -> int:
        return sum(len(family.samples) for family in self.registry.collect())


def stats(counters: Counters) -> NodeStats:
    return NodeStats(
        nodes=5, nodes_ipv6=2, nodes_waiting=0, items=7, pinned=3, operations=0, external_host=None, counters=counters
    )


def test_counts_rise_by_what_was_added_since_the_last_scrape() -> None:
    shown, counters = Shown(), Counters()
    counters.drop("egress_limited")
    shown.metrics.follow(stats(counters))
    shown.metrics.follow(stats(counters))
    assert shown("datagrams_dropped_total", reason="egress_limited") == 1

    counters.drop("egress_limited")
    counters.end_query(b"get", "silent")
    counters.end_disjoint("found")
    counters.refuse(302)
    counters.bytes_out += 100
    shown.metrics.follow(stats(counters))

    assert shown("datagrams_dropped_total", reason="egress_limited") == 2
    assert shown("queries_sent_total", method="get", outcome="silent") == 1
    assert shown("disjoint_lookups_total", result="found") == 1
    assert shown("puts_refused_total", code="302") == 1
    assert shown("bytes_total", direction="out") == 100


def test_tables_and_storage_are_as_of_now() -> None:
    shown = Shown()
    shown.metrics.follow(stats(Counters()))

    assert shown("nodes") == 5
    assert (shown("table_nodes", family="ipv4"), shown("table_nodes", family="ipv6")) == (3, 2)
    assert (shown("items", kind="kept"), shown("items", kind="pinned")) == (4, 3)


def test_words_that_are_not_known_here_make_no_series() -> None:
    shown, counters = Shown(), Counters()
    before = shown.series()
    counters.drop("a new reason")
    counters.answer("method of a stranger")
    counters.refuse(999)
    counters.end_query(b"announce_peer", "answered")
    shown.metrics.follow(stats(counters))

    assert shown.series() == before <= 100


@pytest.mark.parametrize("method", ["get", "put"])
async def test_what_a_node_does_is_shown_by_both_sides(method: str) -> None:
    with trio.fail_after(20.0):
        async with open_node() as server, open_node(read_only=True) as client:
            if method == "put":
                await client.put(ITEM, seeds=[server.address])
            else:
                assert await client.get(ITEM.public_key, seeds=[server.address]) is None
            asked, answered = Shown(), Shown()
            asked.metrics.follow(client.stats())
            answered.metrics.follow(server.stats())

    assert asked("queries_sent_total", method=method, outcome="answered") == 1
    assert answered("queries_answered_total", method=method) == 1
    assert answered("items", kind="kept") == (method == "put")
