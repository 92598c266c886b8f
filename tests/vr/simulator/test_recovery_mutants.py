"""Mutants of restarts and disks are part of the whole list, where each is tried; here: that none is forgotten."""

from vr.simulator.mutants import MUTANTS
from vr.simulator.recovery_mutants import RECOVERY_MUTANTS


def test_they_are_hunted_with_all_others() -> None:
    assert set(RECOVERY_MUTANTS) <= set(MUTANTS)
    assert {mutant.name for mutant in RECOVERY_MUTANTS} >= {"primary_resumes", "corrupt_tail_nacked", "synced_tail_cut"}
