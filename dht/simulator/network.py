"""Hosts, and the heap of datagrams and alarms between them (dht.md 4).

    delay      half of a round trip is the sum of what both hosts add: lognormal per host, a little more per datagram
    lost       the share of datagrams that vanish
    silent     addresses that receive nothing, as if their machine were off
    natted     hosts that receive only from whom they sent to within `NAT_LIFE_S`

Every host has a /24 of its own, so that the rules on addresses hold. Nothing here knows the time or chance but from the
seed: the same calls give the same run, to the byte.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from dht.dht import Dht
from dht.events import Event, ItemFound, LookupEnded, PutEnded, PutResult
from dht.items import MutableItem
from dht.node_id import Address
from dht.routing_table import Admission

HOST_DELAY_S: Final = 0.0215
"""Median of what a host adds to a datagram's way: the median round trip is about 90 ms (Jimenez 2011)."""

HOST_DELAY_SIGMA: Final = 0.5
DATAGRAM_DELAY_SIGMA: Final = 0.1
NAT_LIFE_S: Final = 120.0
OPERATION_S_MAX: Final = 60.0
"""An operation that takes longer has no end, which is a fault of the node."""

_STEP_S: Final = 0.005

Payload: TypeAlias = "bytes | Callable[[], None] | None"
"""A datagram, something to be done, or None for a host's alarm."""


class Host(Protocol):
    """What stands at an address: an honest core, or a liar around one."""

    def receive(self, datagram: bytes, address: Address, now: float) -> None:
        """Take a datagram."""

    def tick(self, now: float) -> None:
        """Do what time brings."""

    def next_deadline(self) -> float:
        """Return when `tick` is next needed."""

    def take_datagrams(self) -> list[tuple[bytes, Address]]:
        """Return what is to be sent."""

    def take_events(self) -> list[Event]:
        """Return what happened."""


class Network:
    """Hosts by address. `nodes` are the honest cores among them; `sent` counts every datagram."""

    def __init__(self, seed: int, *, lost: float = 0.0, host_delay_s: float = HOST_DELAY_S) -> None:
        self.rng = random.Random(seed)
        self.now = 1_000.0
        self.lost = lost
        self.nodes: dict[Address, Dht] = {}
        self.hosts: dict[Address, Host] = {}
        self.silent: set[Address] = set()
        self.natted: set[Address] = set()
        self.delivered = 0
        self.sent = 0
        self._events: dict[Address, list[Event]] = {}
        self._host_delay_s = host_delay_s
        self._delays: dict[Address, float] = {}
        self._openings: dict[tuple[Address, Address], float] = {}
        self._heap: list[tuple[float, int, Address, Payload, Address]] = []
        self._ticks: dict[Address, float] = {}
        self._number = itertools.count()
        self._addresses = itertools.count()

    # Hosts

    def new_address(self) -> Address:
        """Return the next free address."""
        number = next(self._addresses)
        return f"{20 + number // 65536}.{number // 256 % 256}.{number % 256}.7", 7610

    def add(
        self,
        *,
        bootstrap: Sequence[Address] = (),
        read_only: bool = False,
        allowed: Sequence[Address] | None = None,
        own_id: bytes | None = None,
        restrict_ips: bool = True,
    ) -> Address:
        """Add an honest node and return its address."""
        address = self.new_address()
        self.nodes[address] = Dht(
            own_id=own_id,
            admission=Admission.of(allowed, restrict_ips=restrict_ips),
            entropy=self.rng.randbytes,
            now=self.now,
            read_only=read_only,
            bootstrap=bootstrap,
        )
        self.place(address, self.nodes[address])
        return address

    def place(self, address: Address, host: Host) -> None:
        """Put a host at an address."""
        self.hosts[address] = host
        self._events[address] = []
        self._delays[address] = self._host_delay_s * self.rng.lognormvariate(0, HOST_DELAY_SIGMA)
        self.after(address)

    def join(self, address: Address) -> None:
        """Let an honest node make itself known to its neighbourhood."""
        core = self.nodes[address]
        core.find(core.own_id, self.now)
        self.after(address)

    def grow(self, count: int, *, pause_s: float = 1.0) -> list[Address]:
        """Add honest nodes that join through known ones, one every `pause_s`; return all addresses."""
        if not self.nodes:
            self.add()
        known = list(self.nodes)
        while len(self.nodes) < count:
            known.append(self.add(bootstrap=[self.rng.choice(known)]))
            self.join(known[-1])
            self.run(pause_s)
        return known

    def drop(self, address: Address) -> None:
        """Switch a host off for good."""
        del self.hosts[address]
        self.nodes.pop(address, None)
        self._ticks.pop(address, None)
        self.silent.add(address)

    # Time

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._heap, (when, next(self._number), ("", 0), action, ("", 0)))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            when, _, to, payload, sender = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            if payload is None:
                self._alarm(to, when)
            elif isinstance(payload, bytes):
                self._deliver(to, payload, sender)
            else:
                payload()
        self.now = end

    def after(self, address: Address) -> None:
        """Take what a host wants sent and done, after something happened to it."""
        host = self.hosts[address]
        for datagram, to in host.take_datagrams():
            self._send(address, to, datagram)
        self._events[address] += host.take_events()
        deadline = host.next_deadline()
        if self._ticks.get(address, math.inf) > deadline:
            self._ticks[address] = deadline
            heapq.heappush(self._heap, (deadline, next(self._number), address, None, address))

    def _send(self, sender: Address, to: Address, datagram: bytes) -> None:
        self.sent += 1
        if sender in self.natted:
            self._openings[sender, to] = self.now
        if to not in self.hosts or to in self.silent or (self.lost and self.rng.random() < self.lost):
            return
        delay = (self._delays[sender] + self._delays[to]) * self.rng.lognormvariate(0, DATAGRAM_DELAY_SIGMA)
        heapq.heappush(self._heap, (self.now + delay, next(self._number), to, datagram, sender))

    def _deliver(self, to: Address, datagram: bytes, sender: Address) -> None:
        host = self.hosts.get(to)
        if host is None or to in self.silent:
            return
        if to in self.natted and self.now - self._openings.get((to, sender), -math.inf) > NAT_LIFE_S:
            return
        self.delivered += 1
        host.receive(datagram, sender, self.now)
        self.after(to)

    def _alarm(self, address: Address, when: float) -> None:
        if self._ticks.get(address) != when:
            return  # an earlier one replaced it, or the host is gone
        del self._ticks[address]
        self.hosts[address].tick(self.now)
        self.after(address)

    # Operations

    def get(
        self, address: Address, item: MutableItem, *, seeds: Sequence[Address] = ()
    ) -> tuple[MutableItem | None, float]:
        """Return what a get at a node ends with, and the seconds to the first item (infinity for none)."""
        ended, first_s = self.watch_get(address, item, seeds=seeds)
        return ended.item, first_s

    def watch_get(
        self, address: Address, item: MutableItem, *, seeds: Sequence[Address] = ()
    ) -> tuple[LookupEnded, float]:
        """Return how a get at a node ends, and the seconds to the first item (infinity for none)."""
        began = self.now
        number = self.nodes[address].get(item.public_key, item.salt, began, seeds=seeds)
        self.after(address)
        first_s = math.inf
        while True:
            for event in self._taken(address, number):
                if isinstance(event, ItemFound):
                    first_s = min(first_s, self.now - began)
                elif isinstance(event, LookupEnded):
                    return event, first_s
            self._wait(began)

    def put(
        self, address: Address, item: MutableItem, *, cas: int | None = None, unless_held: int | None = None
    ) -> PutResult:
        """Return what a put at a node ends with."""
        began = self.now
        number = self.nodes[address].put(item, began, cas=cas, unless_held=unless_held)
        self.after(address)
        while True:
            for event in self._taken(address, number):
                if isinstance(event, PutEnded):
                    return event.result
            self._wait(began)

    def _taken(self, address: Address, number: int) -> list[Event]:
        """Take the events of one operation; those of others are nobody's."""
        events, self._events[address] = self._events[address], []
        return [event for event in events if event.operation == number]

    def _wait(self, began: float) -> None:
        assert self.now - began < OPERATION_S_MAX, "an operation ends"
        self.run(_STEP_S)
