"""Disjoint lookups: what is tried when a get found nothing (S/Kademlia 4.4).

    get ─▶ one lookup ─▶ found nothing, and did not ask everybody ─▶ d paths that share no node ─▶ found, or missing

Whoever is asked decides who is asked next, so one liar near the target can lead a lookup among its fellows. Each path
begins with other nodes of our table, and no node is asked by two of them, nor are two nodes of one network: a liar can
spoil the path that it is on and no other. A node belongs to the path that asks it first, not to the one that hears of
it first, or a liar could take honest nodes from the other paths by naming them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from dht.krpc import Answer, Arguments
from dht.limits import DISJOINT_PATHS
from dht.lookup import Candidate, Lookup
from dht.node_id import Address, network_of
from dht.routing_table import Admission
from dht.storage import SignedValue

Begin = Callable[[Callable[[Address], bool]], Lookup]
"""Makes one path's lookup, given what says whether it may ask an address."""


class Claims:
    """Which path asks whom. One address, and one network where those are restricted, is one path's."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._owners: dict[Address | bytes, int] = {}

    def take(self, path: int, address: Address) -> bool:
        """Return whether a path may ask an address, which is then its own."""
        key = network_of(address[0]) if self._admission.restricts(address[0]) else address
        return self._owners.setdefault(key, path) == path

    def owner(self, address: Address) -> int | None:
        """Return the path that asked an address, or its network."""
        key = network_of(address[0]) if self._admission.restricts(address[0]) else address
        return self._owners.get(key)


class DisjointLookup:
    """Several lookups for one item, in the place of one.

    Args:
        first: the lookup that found nothing; late answers to it still count.
        begin: makes a path.
        admission: says which networks count as one node.
    """

    def __init__(self, first: Lookup, begin: Begin, *, admission: Admission) -> None:
        assert first.best is None, "only what was not found is looked for again"
        self.target = first.target
        self.wanted = first.wanted
        self._first = first
        self._claims = Claims(admission)
        self._paths = [begin(partial(self._claims.take, path)) for path in range(DISJOINT_PATHS)]
        self._best: SignedValue | None = None
        self.hops: int | None = None

    @property
    def best(self) -> SignedValue | None:
        """The newest valid item that any path found."""
        return self._best

    @property
    def queries(self) -> int:
        """Queries of all, the first lookup included."""
        return sum(lookup.queries for lookup in self._all())

    @property
    def rejected(self) -> int:
        """Answers of all that held something else than the item."""
        return sum(lookup.rejected for lookup in self._all())

    @property
    def deadline(self) -> float | None:
        """When it is over by itself."""
        return min((path.deadline for path in self._paths if path.deadline is not None), default=None)

    def add_seeds(self, seeds: Iterable[tuple[bytes | None, Address]]) -> None:
        """Deal nodes that we trust to be nodes to the paths in turn."""
        for place, seed in enumerate(seeds):
            self._paths[place % len(self._paths)].add_seeds([seed])

    def next_queries(self) -> list[Candidate]:
        """Return the candidates that the paths ask now, one path after the other."""
        return [candidate for path in self._paths for candidate in path.next_queries()]

    def query(self) -> tuple[bytes, Arguments]:
        """Return method and arguments (without our id) of the queries; all paths ask the same."""
        return self._paths[0].query()

    def on_answer(self, answer: Answer, address: Address, now: float) -> SignedValue | None:
        """Take an answer. Return the item in it if it is valid and newer than what was found before."""
        lookup = self._of(address)
        found = lookup.on_answer(answer, address, now)
        if found is None:
            return None
        self.hops = lookup.hops if self.hops is None else self.hops
        self.on_local(found, now)
        return found

    def on_local(self, item: SignedValue, now: float) -> None:
        """Take what was found, here or elsewhere, and verified."""
        if self._best is None or item.seq > self._best.seq:
            self._best = item
        for path in self._paths:
            path.on_local(item, now)

    def on_slow(self, address: Address) -> None:
        """Note that a query is slow."""
        self._of(address).on_slow(address)

    def on_failed(self, address: Address) -> None:
        """Note that a query failed."""
        self._of(address).on_failed(address)

    def is_finished(self, now: float) -> bool:
        """Whether no path expects anything more."""
        return all(path.is_finished(now) for path in self._paths)

    def closest(self, count: int) -> list[Candidate]:
        """Return candidates that answered, those of the first lookup first."""
        return [candidate for lookup in self._all() for candidate in lookup.closest(count)][:count]

    def _all(self) -> list[Lookup]:
        return [self._first, *self._paths]

    def _of(self, address: Address) -> Lookup:
        owner = self._claims.owner(address)
        return self._first if owner is None else self._paths[owner]
