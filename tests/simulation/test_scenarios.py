"""Hard histories, replayed: `tests/scenarios/vr/*.txt` say what happens, and what must be true then.

A new one is a file with commands only: `python -m vr.simulator --scenario FILE` adds what they show.
"""

from pathlib import Path

import pytest

from vr.simulator.scenario import play_text

SCENARIOS = sorted((Path(__file__).parents[1] / "scenarios" / "vr").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_ends_as_it_must(path: Path) -> None:
    text = path.read_text()

    assert play_text(text) == text


def test_every_scenario_shows_something_and_says_why() -> None:
    assert len(SCENARIOS) >= 12
    for path in SCENARIOS:
        text = path.read_text()
        assert text.startswith("# ")
        assert text.count("\n----\n") >= 2
