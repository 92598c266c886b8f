"""Mutants of view changes are part of the whole list, where each is tried; here: that none is forgotten."""

from vr.simulator.mutants import MUTANTS
from vr.simulator.view_change_mutants import VIEW_CHANGE_MUTANTS


def test_they_are_hunted_with_all_others() -> None:
    assert set(VIEW_CHANGE_MUTANTS) <= set(MUTANTS)
    assert {mutant.name for mutant in VIEW_CHANGE_MUTANTS} >= {
        "view_change_quorum_f",
        "drop_uncommitted",
        "old_start_view",
    }
