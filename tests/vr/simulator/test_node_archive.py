"""The archivist of a simulated node."""

from __future__ import annotations

from collections import Counter
from random import Random

from vr.simulator.cluster import run_seed
from vr.simulator.swarm import draw_swarm
from vr.simulator.worlds import interrupted_transfers


def test_transfers_are_interrupted_and_go_on() -> None:
    """A fault that never strikes tests nothing."""
    counts: Counter[str] = Counter()
    for seed in range(6):
        outcome = run_seed(seed, swarm=interrupted_transfers(draw_swarm(Random(seed))))
        assert outcome.violation is None
        counts.update(outcome.counts)

    assert counts["part_kept"] > 0
    assert counts["part_found"] > 0
    assert counts["snapshot_saved"] > 0
