"""The hunt's table."""

import pytest

from vr.simulator.errors import UnknownMutant
from vr.simulator.hunting import Kill, find_mutants, hunt_all, is_shown
from vr.simulator.mutants import MUTANTS
from vr.simulator.mutation import Mutant

BY_SCENARIO = [mutant for mutant in MUTANTS if mutant.scenario is not None]
HARMLESS = Mutant(name="harmless", breaks="nothing", patches=(), seeds_max=2)


def test_two_processes_print_the_table_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = [*find_mutants("commit_quorum_f"), *find_mutants("head_told_as_commit")]
    tables = []
    for jobs in (1, 2):
        assert hunt_all(chosen, jobs=jobs) == []
        lines = capsys.readouterr().out.splitlines()
        tables.append([line.split()[:3] for line in lines])

    assert tables[0] == tables[1]
    assert tables[0][1][0] == "commit_quorum_f"


def test_a_survivor_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("vr.simulator.hunting.MUTANTS", (HARMLESS,))

    assert hunt_all([HARMLESS]) == ["harmless"]
    assert "SURVIVED" in capsys.readouterr().out


def test_without_a_name_all_that_must_die_are_hunted() -> None:
    assert find_mutants(None) == MUTANTS
    with pytest.raises(UnknownMutant):
        find_mutants("no_such_rule")


@pytest.mark.parametrize("mutant", BY_SCENARIO, ids=lambda mutant: mutant.name)
def test_what_seeds_hardly_meet_a_scenario_shows(mutant: Mutant) -> None:
    assert mutant.scenario is not None
    assert is_shown(mutant, mutant.scenario)
    assert not is_shown(HARMLESS, mutant.scenario)


def test_a_row_tells_seeds_budget_and_killer() -> None:
    row = Kill(name="x", seeds=3, seeds_max=20, took_s=1.0, check="monotone").line()

    assert row.split() == ["x", "3", "20", "1.0", "monotone"]
