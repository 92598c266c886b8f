"""Breaking rules for a while, and hunting."""

from types import SimpleNamespace

import pytest

from vr.simulator import mutation
from vr.simulator.errors import Violation
from vr.simulator.mutation import Mutant, Patch, hunt, mutated

RULES = SimpleNamespace(rule=lambda: "right")
BROKEN = Mutant(
    name="wrong",
    breaks="the rule",
    seeds_max=10,
    patches=(Patch(RULES, "rule", lambda right: lambda: f"not {right()}"),),
)


def test_a_rule_is_broken_inside_the_block_only() -> None:
    with mutated(BROKEN):
        inside = RULES.rule()

    assert (inside, RULES.rule()) == ("not right", "right")


def test_rules_are_restored_when_the_block_fails() -> None:
    with pytest.raises(KeyError), mutated(BROKEN):
        raise KeyError

    assert RULES.rule() == "right"


def run_when(fails: dict[int, set[str]]) -> object:
    """A stand-in for run_seed: which seeds fail under which rule."""

    def run(seed: int) -> SimpleNamespace:
        failing = RULES.rule() in fails.get(seed, set())
        return SimpleNamespace(violation=Violation("planted", "") if failing else None)

    return run


def test_the_first_seed_that_fails_only_with_the_mutant_kills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "run_seed", run_when({2: {"right", "not right"}, 4: {"not right"}}))

    result = hunt(BROKEN)

    assert result.seeds == 5
    assert result.violation is not None


def test_a_mutant_survives_when_its_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "run_seed", run_when({20: {"not right"}}))

    result = hunt(BROKEN)

    assert (result.seeds, result.violation) == (10, None)
