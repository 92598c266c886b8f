"""The language of scenarios."""

import pytest

from vr.simulator.errors import ScenarioError, Violation
from vr.simulator.explore import explore
from vr.simulator.mutants import MUTANTS
from vr.simulator.mutation import mutated
from vr.simulator.scenario import Scenario, play_text, text_of
from vr.simulator.small_world import Budget


def play(*commands: str) -> list[str]:
    """What the last command shows."""
    scenario = Scenario()
    shown: list[str] = []
    for command in commands:
        shown = scenario.play(command)
    return shown


def test_what_is_shown_is_added_and_replaces_what_was_expected() -> None:
    played = play_text("deliver\nsubmit 0\ndeliver\nshow\n----\nnonsense\n\n# the end\n")

    assert "nonsense" not in played
    assert "2: NORMAL view 0, log view 0, head 1, commit 1, disk 1\n\n# the end" in played
    assert play_text(played) == played


def test_what_is_held_is_shown_until_it_is_released_or_forgotten() -> None:
    start = ("deliver", "hold Prepare 0→*", "submit 0", "deliver")

    assert play(*start, "show")[-1] == "held: Prepare 0→1, Prepare 0→2"
    assert "head 0" in play(*start, "forget Prepare 0→1", "show")[1]
    assert "commit 1" in play(*start, "pass Prepare 0→*", "release Prepare 0→1", "deliver", "show")[1]
    assert "head 1" in play(*start, "deliver Prepare 0→2", "show")[2]


def test_a_history_may_have_five_nodes() -> None:
    shown = play("nodes 5", "deliver", "submit 0", "deliver", "show")

    assert len(shown) == 5
    assert all("commit 1" in line for line in shown)


def test_a_repeated_packet_is_delivered_and_kept() -> None:
    shown = play("deliver", "repeat Prepare 0→1", "submit 0", "deliver", "show")

    assert "commit 1" in shown[1]
    assert shown[-1] == "held: Prepare 0→1"


def test_a_crash_forgets_what_is_not_on_the_disk_unless_it_is_kept() -> None:
    start = ("deliver", "hold sync 1→1", "submit 0", "deliver")

    assert "head 0" in play(*start, "crash 1", "show")[1]
    assert "head 1" in play(*start, "crash 1 kept", "show")[1]


def test_patience_ends_only_by_waiting() -> None:
    start = ("deliver", "hold * 0→*", "submit 1", "submit 2", "deliver", "tick", "deliver")

    assert "view 0" in play(*start, "tick", "deliver", "show")[1]
    assert "view 1" in play(*start, "wait", "tick", "deliver", "show")[1]


@pytest.mark.parametrize(
    "line", ["jump", "submit x", "submit 7", "crash 1 twice", "hold Prepare 01", "deliver Commit 0→1"]
)
def test_a_line_that_cannot_be_carried_out_is_named(line: str) -> None:
    with pytest.raises(ScenarioError, match="line 2"):
        play_text(f"deliver\n{line}\n")


def test_a_finding_of_the_exhaustive_search_is_a_scenario() -> None:
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == "self_vote_undurable")
    with mutated(mutant):
        finding = explore(Budget(surprises=2), states_max=30_000, seconds_max=120.0).finding
        assert finding is not None
        text = text_of(finding.path)
        with pytest.raises(Violation) as raised:
            play_text(text)

    assert raised.value.check == finding.violation.check
    assert play_text(text) == text
