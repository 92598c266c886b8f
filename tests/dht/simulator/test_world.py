from __future__ import annotations

import pytest

from dht.limits import ITEM_LIFE_S
from dht.node_id import distance
from dht.simulator.adversary import Liar, Lie
from dht.simulator.measure import copies, dead_share, publish, read
from dht.simulator.network import Network
from dht.simulator.world import Churn, grown, new_item, settled, surround


@pytest.fixture(scope="module")
def large() -> Network:
    """A thousand hosts; tests publish items of their own."""
    return settled(1, 1_000)


def test_a_thousand_hosts_find_whatever_was_stored_within_the_target_figures(large: Network) -> None:
    """dht.md 4: hops, queries and times."""
    figures = read(large, publish(large, 10), 100)

    assert figures.found == figures.reads
    assert figures.hops_median <= 2
    assert figures.queries_median <= 30
    assert figures.first_p50_s <= 0.25
    assert figures.first_p99_s <= 1.0


def test_copies_lie_at_the_hosts_that_are_nearest_of_all(large: Network) -> None:
    item = new_item(large)
    large.put(next(iter(large.nodes)), item)

    nearest = sorted(large.nodes.values(), key=lambda core: distance(core.own_id, item.target))[:20]

    held = sum(core.storage.get(item.target, large.now) is not None for core in nearest)
    assert held >= 16
    assert 20 <= copies(large, item) <= 40, "the density is an estimate"


def test_a_settled_network_is_like_one_that_was_joined() -> None:
    joined, made = grown(2, 60), settled(2, 60)

    sizes = [sum(len(core.table) for core in network.nodes.values()) / 60 for network in (joined, made)]

    assert min(sizes) > 0.7 * max(sizes), "who joined is pinged under a bound id only"
    assert read(made, publish(made, 3), 10).found == 10
    assert read(joined, publish(joined, 3), 10).found == 10


@pytest.mark.parametrize("lie", [Lie.DROPPER, Lie.COLLUDER, Lie.FORGER, Lie.REPLAYER])
def test_three_in_ten_liars_hide_little(lie: Lie) -> None:
    network = settled(4, 140, lies=[lie] * 60)
    assert sum(isinstance(host, Liar) for host in network.hosts.values()) == 60

    figures = read(network, publish(network, 10), 40)

    assert figures.found >= 0.95 * figures.reads


def test_forty_eight_sybils_beside_an_item_do_not_hide_it() -> None:
    """Each has a /24 and the best id that BEP 42 allows there. Without widened storing 6 of 30 reads succeeded."""
    network = settled(0, 300)
    item = new_item(network)
    surround(network, item.target, 48)
    network.put(next(iter(network.nodes)), item)

    assert read(network, [item], 6).found == 6


def test_hosts_come_and_go_and_an_item_that_is_announced_again_stays() -> None:
    network = settled(5, 25)
    staying = list(network.nodes)[:3]
    churn = Churn(network, staying=staying)
    item = new_item(network)
    for _ in range(3):
        network.put(staying[0], item)
        network.run(ITEM_LIFE_S / 3)

    assert churn.departures >= 3
    assert len(network.nodes) == 25
    assert network.get(staying[2], item)[0] == item
    assert dead_share(network) <= 0.25
