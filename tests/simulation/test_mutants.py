"""The mutants that die within a few seeds, for every run of the suite.

`python -m vr.simulator --mutants` hunts them all; a survivor within its budget is an error there.
"""

import pytest

from vr.simulator.mutants import MUTANTS
from vr.simulator.mutation import Mutant, hunt

QUICK_SEEDS = 50
QUICK = [mutant for mutant in MUTANTS if mutant.seeds_max <= QUICK_SEEDS and mutant.scenario is None]


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_a_quick_mutant_is_killed(mutant: Mutant) -> None:
    assert hunt(mutant).violation is not None


def test_there_are_quick_mutants_of_every_part() -> None:
    names = {mutant.name for mutant in QUICK}

    assert {"commit_quorum_f", "acknowledge_before_sync", "primary_resumes", "no_dedupe"} <= names
