"""Mutants of snapshots are part of the whole list, where each is tried; here: that none is forgotten."""

from vr.simulator.mutants import MUTANTS
from vr.simulator.snapshot_mutants import SNAPSHOT_MUTANTS


def test_they_are_hunted_with_all_others() -> None:
    assert set(SNAPSHOT_MUTANTS) <= set(MUTANTS)
    assert len(SNAPSHOT_MUTANTS) >= 7
