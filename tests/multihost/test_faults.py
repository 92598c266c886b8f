"""A run can be repeated: the same seed draws the same faults."""

from __future__ import annotations

import random

import pytest

from tests.multihost.faults import Kind, draw


def test_a_seed_draws_the_same_faults_again() -> None:
    runs = []
    for _ in range(2):
        rng = random.Random(7)
        runs.append([draw(rng, 5, tuple(Kind)) for _ in range(100)])

    assert runs[0] == runs[1]
    assert {fault.kind for fault in runs[0]} == set(Kind)


@pytest.mark.parametrize("servers", [3, 5, 7])
def test_a_minority_is_one_and_a_majority_too(servers: int) -> None:
    rng = random.Random(1)
    minorities = [draw(rng, servers, (Kind.PART_MINORITY,)).victims for _ in range(50)]
    majorities = [draw(rng, servers, (Kind.KILL_MAJORITY,)).victims for _ in range(50)]

    assert all(0 < len(set(victims)) <= servers // 2 for victims in minorities)
    assert all(len(set(victims)) == servers // 2 + 1 for victims in majorities)
