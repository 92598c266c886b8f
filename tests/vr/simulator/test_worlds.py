"""Directed worlds: bent, but still a seed's own; and nothing is wrong in them."""

from random import Random

import pytest

from vr.simulator.cluster import run_seed
from vr.simulator.swarm import Swarm, draw_swarm
from vr.simulator.worlds import (
    Bend,
    deposed_readers,
    deposed_with_a_tail,
    divided_epochs,
    full_disks,
    interrupted_transfers,
    late_replay,
    leases,
    often_other_members,
    rotten_tails,
    torn_tails,
)

WORLDS = (
    deposed_readers,
    deposed_with_a_tail,
    divided_epochs,
    full_disks,
    interrupted_transfers,
    late_replay,
    leases,
    often_other_members,
    rotten_tails,
    torn_tails,
)
NAMED = pytest.mark.parametrize("bend", WORLDS, ids=lambda bend: bend.__name__)


@NAMED
def test_a_bent_world_varies_with_its_seed(bend: Bend) -> None:
    worlds = {bend(draw_swarm(Random(seed))) for seed in range(8)}

    assert len(worlds) == 8
    assert Swarm() not in worlds


@NAMED
def test_the_right_core_keeps_its_promises_in_it(bend: Bend) -> None:
    for seed in range(5):
        assert run_seed(seed, swarm=bend(draw_swarm(Random(seed)))).violation is None
