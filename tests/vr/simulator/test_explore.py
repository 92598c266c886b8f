"""Every history of the small world with few surprises: nothing is found, unless a rule is broken."""

import pytest

from vr.simulator.explore import Exploration, explore, report
from vr.simulator.mutants import MUTANTS
from vr.simulator.mutation import mutated
from vr.simulator.small_world import Budget


def search(mutant_name: str, *, surprises: int, epochs: int = 0) -> Exploration:
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == mutant_name)
    with mutated(mutant):
        return explore(Budget(surprises=surprises, epochs=epochs), states_max=30_000, seconds_max=120.0)


def test_all_histories_with_one_surprise_keep_every_promise() -> None:
    result = explore(Budget(surprises=1), states_max=30_000, seconds_max=120.0)

    assert result.is_complete
    assert result.finding is None
    assert result.states > 1_000
    assert result.ended > 1


def test_members_may_leave_at_any_time_when_nothing_else_goes_wrong() -> None:
    result = explore(Budget(surprises=0, epochs=1), states_max=30_000, seconds_max=120.0)

    assert result.is_complete
    assert result.finding is None
    assert result.states > 500


def test_an_epoch_that_begins_too_early_is_found() -> None:
    result = search("epoch_ends_when_prepared", surprises=0, epochs=1)

    assert result.finding is not None
    assert result.finding.violation.check == "committed_on_quorum"
    assert any("leave" in choice.name for choice in result.finding.path)


def test_a_bound_on_states_stops_the_search_and_is_admitted() -> None:
    result = explore(Budget(surprises=2), states_max=500, seconds_max=120.0)

    assert (result.states, result.is_complete) == (500, False)
    assert "stopped" in report(result)[0]


@pytest.mark.parametrize(
    ("mutant_name", "surprises"),
    [("commit_quorum_f", 0), ("drop_uncommitted", 1), ("self_vote_undurable", 2)],
)
def test_a_broken_rule_is_found_with_the_way_to_it(mutant_name: str, surprises: int) -> None:
    result = search(mutant_name, surprises=surprises)

    assert result.finding is not None
    assert result.finding.violation.check in {"committed_on_quorum", "prefixes_equal"}
    assert any("submit" in choice.name for choice in result.finding.path)


def test_a_search_is_the_same_every_time() -> None:
    first, second = (search("drop_uncommitted", surprises=1) for _ in range(2))

    assert first.finding is not None
    assert second.finding is not None
    assert first.finding.path == second.finding.path
    assert first.states == second.states
