"""The list of mutants. The hunt is in tests/simulation/test_mutants.py and `python -m vr.simulator --mutants`."""

import pytest

from vr.simulator.mutants import MUTANTS
from vr.simulator.mutation import Mutant, mutated


def test_names_differ_and_budgets_are_stated() -> None:
    names = [mutant.name for mutant in MUTANTS]

    assert len(set(names)) == len(names)
    assert len(MUTANTS) >= 55
    assert all(mutant.seeds_max > 0 and mutant.breaks for mutant in MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_replaces_a_rule_that_exists_and_gives_it_back(mutant: Mutant) -> None:
    before = [vars(patch.owner)[patch.name] for patch in mutant.patches]
    with mutated(mutant):
        during = [vars(patch.owner)[patch.name] for patch in mutant.patches]
    after = [vars(patch.owner)[patch.name] for patch in mutant.patches]

    assert all(old is not new for old, new in zip(before, during, strict=True))
    assert before == after
