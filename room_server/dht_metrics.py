"""What operators watch of discovery. The DHT node counts by itself and knows no metrics; at a scrape its counts come here.

All children are made at once, from words that are fixed here: what the node counts under another word is not shown, so
nobody on the network can make us grow series.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dht.krpc import ErrorCode
from dht.node import NodeStats

Label = TypeVar("Label")
PREFIX: Final = "samtala_dht"
PUBLIC_PREFIX: Final = "samtala_public_dht"
LOOKUP_RESULTS: Final = ("found", "missing", "complete")
DISJOINT_RESULTS: Final = ("found", "missing")
ANSWERED_METHODS: Final = ("ping", "find_node", "get", "put", "get_peers", "unknown")
ASKED_METHODS: Final = ("ping", "find_node", "get", "put")
OUTCOMES: Final = ("answered", "refused", "silent")
DROP_REASONS: Final = (
    "malformed", "unsolicited", "rate_limited", "read_only", "own", "egress_limited", "socket_error",
)  # fmt: skip


class DhtMetrics:
    """The families of one discovery network. `publication_duration` and the counts of publications are for the announcer."""

    def __init__(self, registry: CollectorRegistry, prefix: str = PREFIX) -> None:
        self._registry = registry
        self._prefix = prefix
        self._risen: dict[Counter, int] = {}
        self.oldest_record_age = self._gauge(
            "oldest_record_age_seconds", "Since the stalest hosted room was last published"
        )
        published = self._counter("publications", "Room descriptors published", "result")
        self.published_ok, self.published_failed = published.labels("ok"), published.labels("failed")
        self.publication_duration = Histogram(
            f"{prefix}_lookup_duration_seconds", "One publication, its lookup included", registry=registry
        )
        self._lookups()
        self._queries()
        self._state()

    def _lookups(self) -> None:
        ended = self._counter("lookups", "Lookups in the discovery network that ended", "result")
        self._lookup = {result: ended.labels(result) for result in LOOKUP_RESULTS}
        disjoint = self._counter(
            "disjoint_lookups", "Lookups that found nothing at first and went on along disjoint paths", "result"
        )
        self._disjoint = {result: disjoint.labels(result) for result in DISJOINT_RESULTS}
        self._rejected = self._counter("items_rejected", "Records in answers that did not verify")

    def _queries(self) -> None:
        answered = self._counter("queries_answered", "Queries of others that were answered", "method")
        self._answered = {method: answered.labels(method) for method in ANSWERED_METHODS}
        asked = self._counter("queries_sent", "Our queries that are over, by what came of them", "method", "outcome")
        self._asked = {
            (method, outcome): asked.labels(method, outcome) for method in ASKED_METHODS for outcome in OUTCOMES
        }
        dropped = self._counter(
            "datagrams_dropped", "Datagrams that got no answer; egress_limited: its bytes were refused", "reason"
        )
        self._dropped = {reason: dropped.labels(reason) for reason in DROP_REASONS}
        refused = self._counter("puts_refused", "Records of others that were not stored, by KRPC error code", "code")
        self._refused = {int(code): refused.labels(str(int(code))) for code in ErrorCode}
        bytes_ = self._counter("bytes", "Bytes of datagrams", "direction")
        self._bytes = {direction: bytes_.labels(direction) for direction in ("in", "out")}

    def _state(self) -> None:
        self._nodes = self._gauge("nodes", "Nodes in the discovery tables")
        table = self._gauge("table_nodes", "Nodes in the table of each address family", "family")
        self._table = {family: table.labels(family) for family in ("ipv4", "ipv6")}
        items = self._gauge("items", "Records stored: others' that expire, and our own rooms'", "kind")
        self._items = {kind: items.labels(kind) for kind in ("kept", "pinned")}

    def follow(self, stats: NodeStats) -> None:
        """Show what the node counts and holds now."""
        counters = stats.counters
        self._nodes.set(stats.nodes)
        self._table["ipv4"].set(stats.nodes - stats.nodes_ipv6)
        self._table["ipv6"].set(stats.nodes_ipv6)
        self._items["kept"].set(stats.items - stats.pinned)
        self._items["pinned"].set(stats.pinned)
        self._rise(self._rejected, counters.items_rejected)
        self._rise(self._bytes["in"], counters.bytes_in)
        self._rise(self._bytes["out"], counters.bytes_out)
        self._rise_all(self._lookup, counters.lookups)
        self._rise_all(self._disjoint, counters.disjoint)
        self._rise_all(self._answered, counters.answered)
        self._rise_all(self._asked, counters.asked)
        self._rise_all(self._dropped, counters.dropped)
        self._rise_all(self._refused, counters.refused)

    def _rise_all(self, children: Mapping[Label, Counter], totals: Mapping[Label, int]) -> None:
        for label, child in children.items():
            self._rise(child, totals.get(label, 0))

    def _rise(self, child: Counter, total: int) -> None:
        child.inc(total - self._risen.get(child, 0))
        self._risen[child] = total

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{self._prefix}_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{self._prefix}_{name}", text, labels, registry=self._registry)
