"""A network of cores in virtual time: a heap of datagrams and deadlines, everything from one seed.

Latency, loss and silence are per network; addresses are one /24 per node, so that the rules on addresses hold.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Sequence

from dht.dht import Dht
from dht.events import Event, ItemFound, LookupEnded, PutEnded, PutResult
from dht.items import MutableItem
from dht.node_id import Address
from dht.routing_table import Admission


class Network:
    """Cores by address. `lost` is the share of datagrams that vanish; `silent` addresses receive nothing."""

    def __init__(self, seed: int, *, lost: float = 0.0, latency_s: float = 0.05) -> None:
        self.rng = random.Random(seed)
        self.now = 1_000.0
        self.lost = lost
        self.latency_s = latency_s
        self.nodes: dict[Address, Dht] = {}
        self.silent: set[Address] = set()
        self.events: dict[Address, list[Event]] = {}
        self.delivered = 0
        self._heap: list[tuple[float, int, Address, bytes, Address]] = []
        self._ticks: dict[Address, float] = {}
        self._number = itertools.count()
        self._addresses = itertools.count()

    def add(
        self,
        *,
        bootstrap: Sequence[Address] = (),
        read_only: bool = False,
        allowed: Sequence[Address] | None = None,
        own_id: bytes | None = None,
        restrict_ips: bool = True,
    ) -> Address:
        """Add a node and return its address."""
        number = next(self._addresses)
        address = (f"{20 + number // 65536}.{number // 256 % 256}.{number % 256}.7", 7610)
        self.nodes[address] = Dht(
            own_id=own_id,
            admission=Admission.of(allowed, restrict_ips=restrict_ips),
            entropy=self.rng.randbytes,
            now=self.now,
            read_only=read_only,
            bootstrap=bootstrap,
        )
        self.events[address] = []
        self.after(address)
        return address

    def grow(self, count: int) -> list[Address]:
        """Add nodes that join through the first one; return all addresses."""
        first = self.add() if not self.nodes else next(iter(self.nodes))
        for _ in range(count - len(self.nodes)):
            address = self.add(bootstrap=[first])
            core = self.nodes[address]
            core.find(core.own_id, self.now)
            self.after(address)
            self.run(1.0)
        return list(self.nodes)

    def after(self, address: Address) -> None:
        """Take what a core wants sent and done, after something happened to it."""
        core = self.nodes[address]
        for datagram, to in core.take_datagrams():
            if self.rng.random() >= self.lost and to not in self.silent:
                delay = self.latency_s * self.rng.lognormvariate(0, 0.3)
                heapq.heappush(self._heap, (self.now + delay, next(self._number), to, datagram, address))
        self.events[address] += core.take_events()
        deadline = core.next_deadline()
        if self._ticks.get(address, float("inf")) > deadline:
            self._ticks[address] = deadline
            heapq.heappush(self._heap, (deadline, next(self._number), address, b"", address))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            when, _, to, datagram, sender = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            core = self.nodes.get(to)
            if core is None or to in self.silent:
                continue
            if datagram:
                self.delivered += 1
                core.receive(datagram, sender, self.now)
            elif self._ticks.get(to) == when:
                del self._ticks[to]
                core.tick(self.now)
            else:
                continue  # an alarm that an earlier one replaced
            self.after(to)
        self.now = end

    def drop(self, address: Address) -> None:
        """Switch a node off for good."""
        del self.nodes[address]
        self.silent.add(address)

    def get(
        self, address: Address, item: MutableItem, *, seeds: Sequence[Address] = ()
    ) -> tuple[MutableItem | None, float]:
        """Return what a get at a node ends with, and the seconds to the first item (infinity for none)."""
        core, began = self.nodes[address], self.now
        number = core.get(item.public_key, item.salt, self.now, seeds=seeds)
        first = float("inf")
        self.after(address)
        while True:
            for event in self.events[address]:
                if isinstance(event, ItemFound) and event.operation == number:
                    first = min(first, self.now - began)
                if isinstance(event, LookupEnded) and event.operation == number:
                    return event.item, first
            assert self.now - began < 60, "a get ends"
            self.run(0.01)

    def put(self, address: Address, item: MutableItem, **how: int) -> PutResult:
        """Return what a put at a node ends with."""
        core, began = self.nodes[address], self.now
        number = core.put(item, self.now, cas=how.get("cas"), unless_held=how.get("unless_held"))
        self.after(address)
        while True:
            for event in self.events[address]:
                if isinstance(event, PutEnded) and event.operation == number:
                    return event.result
            assert self.now - began < 60, "a put ends"
            self.run(0.01)
