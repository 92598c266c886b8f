"""Mutants of sessions and reads are part of the whole list, where each is tried; here: that none is forgotten."""

from vr.simulator.client_mutants import CLIENT_MUTANTS
from vr.simulator.mutants import MUTANTS


def test_they_are_hunted_with_all_others() -> None:
    assert set(CLIENT_MUTANTS) <= set(MUTANTS)
    assert {mutant.name for mutant in CLIENT_MUTANTS} >= {"eviction_by_chance", "read_without_quorum", "lease_not_kept"}
