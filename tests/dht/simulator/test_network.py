from __future__ import annotations

from dht.items import sign_item_with_seed
from dht.simulator.network import NAT_LIFE_S, Network
from dht.storage import SignedValue

ITEM = sign_item_with_seed(bytes(32), seq=1, value=b"hej")


def run_of(seed: int) -> tuple[int, int, list[bytes]]:
    network = Network(seed, lost=0.05)
    addresses = network.grow(12)
    network.put(addresses[3], ITEM)
    return network.sent, network.delivered, [core.own_id for core in network.nodes.values()]


def test_a_seed_gives_the_same_run_and_another_seed_another() -> None:
    assert run_of(5) == run_of(5)
    assert run_of(5) != run_of(6)


def test_lost_datagrams_are_sent_and_not_delivered() -> None:
    sent, delivered, _ = run_of(5)

    assert 0.85 < delivered / sent < 0.99


def test_behind_nat_only_those_who_were_asked_get_through() -> None:
    network = Network(1)
    server, hidden, stranger = network.add(), network.add(), network.add()
    network.natted.add(hidden)
    network.nodes[hidden].storage.pin(SignedValue.of(ITEM))

    assert network.get(stranger, ITEM, seeds=[hidden])[0] is None
    network.nodes[hidden].find(bytes(20), network.now, seeds=[server])
    network.after(hidden)
    network.run(1.0)
    assert network.get(server, ITEM, seeds=[hidden])[0] == ITEM
    network.run(2 * NAT_LIFE_S)
    network.silent.add(server)  # or it would have kept the opening open by asking
    assert network.get(stranger, ITEM, seeds=[hidden])[0] is None


def test_who_is_dropped_hears_nothing_and_does_nothing() -> None:
    network = Network(1)
    addresses = network.grow(5)
    network.drop(addresses[2])

    network.run(100.0)

    assert addresses[2] not in network.nodes
    assert network.get(addresses[0], ITEM)[0] is None
