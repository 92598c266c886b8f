from __future__ import annotations

import math

from dht.simulator.measure import copies, dead_share, percentile, publish, read
from dht.simulator.world import grown


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.99) == 4.0
    assert percentile([], 0.5) == math.inf


def test_figures_of_a_network_that_then_loses_half_its_hosts() -> None:
    network = grown(1, 30)
    items = publish(network, 2)

    figures = read(network, items, 6)

    assert (figures.reads, figures.found, figures.hops_median) == (6, 6, 1)
    assert figures.copies_mean == sum(copies(network, item) for item in items) / 2
    assert 0 < figures.first_p50_s <= figures.first_p99_s
    assert dead_share(network) == 0
    for address in list(network.nodes)[::2]:
        network.drop(address)
    assert 0.4 < dead_share(network) < 0.6
