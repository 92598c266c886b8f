from __future__ import annotations

import pytest

from vr.simulator.epoch_mutants import EPOCH_MUTANTS
from vr.simulator.mutation import Mutant, hunt


@pytest.mark.parametrize("mutant", EPOCH_MUTANTS[:4], ids=lambda mutant: mutant.name)
def test_it_dies_within_its_budget(mutant: Mutant) -> None:
    assert hunt(mutant).violation is not None
