"""Networks as experiments need them: grown by joining, with liars among them, or with hosts that come and go.

Churn: sessions are lognormal with a median of 200 minutes and 3 % longer than 9,000 minutes (Wang & Kangasharju 2013,
on Mainline). Who leaves says nothing, and somebody new comes in its place.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Final

from dht.dht import Dht
from dht.items import MutableItem, sign_item_with_seed
from dht.limits import BUCKET_NODES_MAX
from dht.node_id import NODE_ID_BITS, NODE_ID_BYTES, Address, distance, secure_node_id
from dht.routing_table import Admission
from dht.simulator.adversary import Conspiracy, Liar, Lie
from dht.simulator.network import Network

SESSION_S_MEDIAN: Final = 200 * 60.0
SESSION_SIGMA: Final = 2.02
_JOIN_PAUSE_S: Final = 0.25
_SETTLE_S: Final = 30.0
VALUE_BYTES: Final = 512
"""Bytes of a descriptor of seven servers (dht.md 3)."""


def new_item(network: Network, *, seq: int = 1) -> MutableItem:
    """Return an item of a key of its own, the size of a room's descriptor."""
    return sign_item_with_seed(network.rng.randbytes(32), seq=seq, value=bytes(VALUE_BYTES))


def grown(seed: int, nodes: int, *, lies: Sequence[Lie] = (), lost: float = 0.0) -> Network:
    """Return a network of `nodes` honest hosts and one liar for each of `lies`, joined in random order."""
    network = Network(seed, lost=lost)
    conspiracy = Conspiracy(network.rng)
    network.grow(1)
    plan: list[Lie | None] = [*lies, *[None] * (nodes - 1)]
    network.rng.shuffle(plan)
    known = list(network.nodes)
    for lie in plan:
        through = [network.rng.choice(known)]
        if lie is None:
            known.append(network.add(bootstrap=through))
            network.join(known[-1])
        else:
            known.append(add_liar(network, lie, conspiracy, through))
        network.run(_JOIN_PAUSE_S)
    network.run(_SETTLE_S)
    return network


def settled(seed: int, nodes: int, *, lies: Sequence[Lie] = (), lost: float = 0.0) -> Network:
    """Return a network as it is after days: in every bucket of every host, as many random hosts as it holds.

    Nothing is sent for it, so it is made twenty times as fast as by joining.
    """
    network = Network(seed, lost=lost)
    conspiracy = Conspiracy(network.rng)
    cores: list[tuple[int, Address, Dht]] = []
    plan: list[Lie | None] = [*lies, *[None] * nodes]
    network.rng.shuffle(plan)
    for lie in plan:
        address = network.new_address()
        own_id = secure_node_id(address[0], network.rng.randbytes(NODE_ID_BYTES))
        core = Dht(own_id=own_id, admission=Admission(), entropy=network.rng.randbytes, now=network.now)
        cores.append((int.from_bytes(own_id, "big"), address, core))
        if lie is None:
            network.nodes[address] = core
            network.place(address, core)
        else:
            network.place(address, Liar(core, lie, conspiracy, address))
    cores.sort(key=lambda entry: entry[0])
    for number, _, core in cores:
        _fill(core, number, cores, network)
    for address in list(network.hosts):
        network.after(address)
    return network


def _fill(core: Dht, own: int, cores: Sequence[tuple[int, Address, Dht]], network: Network) -> None:
    """Fill a table from all hosts, sorted by id: those that share exactly `prefix` bits with us stand side by side."""
    for prefix in range(NODE_ID_BITS):
        tail_bits = NODE_ID_BITS - 1 - prefix
        first = (own >> tail_bits ^ 1) << tail_bits
        begin = bisect.bisect_left(cores, first, key=lambda entry: entry[0])
        end = bisect.bisect_left(cores, first + (1 << tail_bits), key=lambda entry: entry[0])
        for index in network.rng.sample(range(begin, end), min(BUCKET_NODES_MAX, end - begin)):
            number, address, _ = cores[index]
            core.table.on_answered(number.to_bytes(NODE_ID_BYTES, "big"), address, network.now)
        if end - begin <= 1 and tail_bits < NODE_ID_BITS - 2 * len(cores).bit_length():
            return


def add_liar(
    network: Network, lie: Lie, conspiracy: Conspiracy, bootstrap: Sequence[Address], *, beside: bytes | None = None
) -> Address:
    """Add a liar that joins; a Sybil has the address and id of its /24 that are nearest `beside` its target."""
    address, own_id = network.new_address(), None
    if beside is not None:
        own_id, address = bound_beside(address, beside)
    core = Dht(
        own_id=own_id,
        admission=Admission(),
        entropy=network.rng.randbytes,
        now=network.now,
        bootstrap=bootstrap,
    )
    core.find(core.own_id, network.now)
    network.place(address, Liar(core, lie, conspiracy, address))
    return address


def bound_beside(address: Address, target: bytes) -> tuple[bytes, Address]:
    """Return the id nearest to a target that BEP 42 allows in an address's /24, and its address.

    254 hosts and 3 free bits are some 2,000 tries: an owner of a /24 comes 11 bits closer than chance.
    """
    network, port = address[0].rsplit(".", 1)[0], address[1]
    hosts = [f"{network}.{number}" for number in range(1, 255)]
    tries = [(secure_node_id(host, target[:19] + bytes([rand])), (host, port)) for host in hosts for rand in range(8)]
    return min(tries, key=lambda chosen: distance(chosen[0], target))


def surround(network: Network, target: bytes, count: int) -> list[Address]:
    """Put so many Sybils beside a target, and let them become known."""
    conspiracy = Conspiracy(network.rng)
    known = list(network.nodes)
    sybils = [
        add_liar(network, Lie.SYBIL, conspiracy, [network.rng.choice(known)], beside=target) for _ in range(count)
    ]
    network.run(_SETTLE_S)
    return sybils


class Churn:
    """Lets honest hosts leave and others come in their place, but for those in `staying`."""

    def __init__(self, network: Network, *, staying: Sequence[Address]) -> None:
        self._network = network
        self._staying = frozenset(staying)
        self.departures = 0
        for address in list(network.nodes):
            self._expect(address)

    def _expect(self, address: Address) -> None:
        if address in self._staying:
            return
        session_s = SESSION_S_MEDIAN * self._network.rng.lognormvariate(0, SESSION_SIGMA)
        self._network.at(self._network.now + session_s, lambda: self._replace(address))

    def _replace(self, address: Address) -> None:
        self.departures += 1
        self._network.drop(address)
        newcomer = self._network.add(bootstrap=self._network.rng.choices(sorted(self._network.nodes), k=3))
        self._network.join(newcomer)
        self._expect(newcomer)
