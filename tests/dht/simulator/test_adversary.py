from __future__ import annotations

import random

import pytest

from dht.items import sign_item_with_seed
from dht.node_id import distance, is_secure, shared_prefix_bits
from dht.simulator.adversary import Conspiracy, Liar, Lie
from dht.simulator.measure import copies
from dht.simulator.network import Network
from dht.simulator.world import add_liar, surround

OLD = sign_item_with_seed(bytes(32), seq=1, value=b"old")
NEW = sign_item_with_seed(bytes(32), seq=2, value=b"new")


def one_honest_among(lie: Lie, liars: int = 4) -> Network:
    """A writer and a reader whose only other acquaintances lie."""
    network = Network(1)
    conspiracy = Conspiracy(network.rng)
    network.grow(2)
    through = list(network.nodes)
    for _ in range(liars):
        add_liar(network, lie, conspiracy, through)
    network.run(30.0)
    return network


@pytest.mark.parametrize("lie", [Lie.DROPPER, Lie.COLLUDER, Lie.FORGER])
def test_they_are_believed_as_nodes_acknowledge_and_store_nothing(lie: Lie) -> None:
    network = one_honest_among(lie)
    writer, reader = network.nodes

    result = network.put(writer, OLD)

    assert {*network.hosts} - {writer, reader} <= {contact.address for contact in network.nodes[writer].table}
    assert result.stored == 5, "four liars and an honest host say so"
    assert copies(network, OLD) == 1
    for host in network.hosts.values():
        if isinstance(host, Liar):
            assert len(host.core.storage) == 0


def test_colluders_name_only_each_other_and_forgers_beside_the_target() -> None:
    conspiracy = Conspiracy(random.Random(1))
    for number in range(20):
        conspiracy.members[f"20.0.{number}.7", 1] = bytes([number * 12]) * 20
    target = b"\x55" * 20

    named = conspiracy.near(target)
    assert [distance(node_id, target) for node_id, _ in named] == sorted(distance(i, target) for i, _ in named)
    assert all(conspiracy.members[address] == node_id for node_id, address in named)
    for node_id, address in conspiracy.forged(target):
        assert address in conspiracy.members
        assert shared_prefix_bits(node_id, target) >= 128


def test_a_replayer_sticks_to_the_first_version_and_a_reader_takes_the_newest_it_sees() -> None:
    network = one_honest_among(Lie.REPLAYER)
    writer, reader = network.nodes
    network.put(writer, OLD)
    network.put(writer, NEW)
    network.nodes[reader].storage.unpin(NEW.target, network.now)
    late = network.add(bootstrap=[reader])
    network.join(late)
    network.run(5.0)

    assert network.get(late, NEW)[0] == NEW
    network.silent |= {writer, reader}
    assert network.get(late, NEW)[0] == OLD, "valid, and all that is left"


def test_sybils_stand_beside_their_target() -> None:
    network = Network(3)
    network.grow(10)

    for address in surround(network, OLD.target, 4):
        sybil = network.hosts[address]
        assert isinstance(sybil, Liar)
        assert shared_prefix_bits(sybil.core.own_id, OLD.target) >= 8
        assert is_secure(sybil.core.own_id, address[0])
