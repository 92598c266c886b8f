"""Leaving out what a finding does not need."""

from collections.abc import Iterator
from random import Random

import pytest
from msgspec.structs import replace

from vr.simulator.cluster import run_seed
from vr.simulator.errors import NothingToShrink
from vr.simulator.hunting import find_mutants
from vr.simulator.mutation import mutated
from vr.simulator.shrink import shrink, simpler
from vr.simulator.swarm import Swarm, draw_epochs, draw_swarm


@pytest.fixture
def quorum_of_one() -> Iterator[None]:
    (mutant,) = find_mutants("commit_quorum_f")
    with mutated(mutant):
        yield


@pytest.mark.usefixtures("quorum_of_one")
def test_a_finding_that_needs_no_fault_is_left_with_none() -> None:
    before = run_seed(0)
    shrunk = shrink(0)

    assert shrunk.outcome.violation is not None
    assert before.violation is not None
    assert shrunk.outcome.violation.check == before.violation.check
    calm = Swarm()
    assert (shrunk.swarm.network, shrunk.swarm.process, shrunk.swarm.partition) == (
        calm.network,
        calm.process,
        calm.partition,
    )
    assert shrunk.swarm.load.clients == 1
    assert run_seed(shrunk.seed, swarm=shrunk.swarm).violation is not None


def test_members_that_change_are_left_out_first_of_all() -> None:
    seed = next(seed for seed in range(1000) if draw_epochs(seed, draw_swarm(Random(seed))).leave)
    swarm = draw_epochs(seed, draw_swarm(Random(seed)))

    changed = {name: way for name, way in simpler(swarm) if name in {"leave", "epoch_interval_us"}}

    assert changed["leave"] == replace(swarm, leave=0)
    assert changed["epoch_interval_us"] == replace(swarm, epoch_interval_us=0)


def test_a_sound_seed_cannot_be_shrunk() -> None:
    with pytest.raises(NothingToShrink):
        shrink(1)


def test_every_way_on_changes_one_thing_and_they_come_to_an_end() -> None:
    swarm = draw_swarm(Random(1))
    for _ in range(200):
        ways = list(simpler(swarm))
        assert all(way != swarm for _, way in ways)
        if not ways:
            break
        swarm = ways[0][1]

    assert list(simpler(swarm)) == []
