"""The real host under kills, power losses, failing disks and partitions, in virtual time."""

from collections import Counter
from pathlib import Path

import pytest
from trio.testing import MockClock

from tests.simulation.host_world import run_world
from vr.simulator.errors import Violation
from vr.simulator.hunting import find_mutants
from vr.simulator.mutation import mutated

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
async def test_hosts_keep_every_promise_and_recover(seed: int, tmp_path: Path, mock_clock: MockClock) -> None:
    # Threads sync and archive meanwhile: time moves on when they have been quiet for a moment.
    mock_clock.autojump_threshold = 0.002

    counts = await run_world(seed, tmp_path)

    assert counts["answer"] > 3
    assert sum(Counter(counts)[blow] for blow in ("kill", "kill_primary", "disk_failure", "cut")) > 3


@pytest.mark.parametrize("seed", [5, 19])
async def test_hosts_keep_every_promise_while_their_members_change(
    seed: int, tmp_path: Path, mock_clock: MockClock
) -> None:
    mock_clock.autojump_threshold = 0.002

    counts = await run_world(seed, tmp_path, is_moving=True)

    assert counts["answer"] > 3
    assert counts["epoch"] > 0


async def test_a_broken_rule_is_noticed_through_the_hosts(tmp_path: Path, mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0.002
    (mutant,) = find_mutants("clock_straight")

    with mutated(mutant), pytest.RaisesGroup(Violation, allow_unwrapped=True, flatten_subgroups=True):
        await run_world(0, tmp_path)
