"""Mutants of normal operation are part of the whole list, where each is tried; here: that none is forgotten."""

from vr.simulator.mutants import MUTANTS
from vr.simulator.normal_mutants import NORMAL_MUTANTS


def test_they_are_hunted_with_all_others() -> None:
    assert set(NORMAL_MUTANTS) <= set(MUTANTS)
    assert {mutant.name for mutant in NORMAL_MUTANTS} >= {
        "commit_quorum_f",
        "acknowledge_before_sync",
        "old_view_prepare",
    }
