"""The command line."""

from pathlib import Path

import pytest

from vr.simulator import __main__ as command
from vr.simulator import search
from vr.simulator.cluster import Outcome
from vr.simulator.errors import UnknownMutant, Violation
from vr.simulator.hunting import find_mutants
from vr.simulator.mutation import mutated
from vr.simulator.story import Telling
from vr.simulator.swarm import Swarm


def test_replays_one_seed_and_prints_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["--seed", "3"])

    printed = capsys.readouterr().out
    assert code == 0
    assert "started: " in printed
    assert "nothing found" in printed


def test_searches_seeds_and_prints_the_rates(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["--seeds", "2", "--start", "3"])

    printed = capsys.readouterr().out
    assert code == 0
    assert "2 seeds, 0 failed" in printed
    assert "seeds/s" in printed
    assert "events/s" in printed


def test_a_finding_stops_the_search_with_its_replay_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_seed(seed: int, *, swarm: Swarm | None = None, telling: Telling = Telling.NOTHING) -> Outcome:
        violation = Violation("planted", "here") if seed == 5 else None
        return Outcome(seed=seed, events=1, trace=0, violation=violation, counts={}, story=[])

    monkeypatch.setattr(command, "run_seed", run_seed)
    monkeypatch.setattr(search, "run_seed", run_seed)
    code = command.main(["--seeds", "9"])

    printed = capsys.readouterr().out
    assert code == 1
    assert "seed 5: planted: here" in printed
    assert "replay: python -m vr.simulator --seed 5" in printed
    assert "6 seeds, 1 failed" in printed
    assert command.main(["--seed", "5"]) == 1


def test_hours_search_fresh_seeds_and_say_where_they_began(capsys: pytest.CaptureFixture[str]) -> None:
    starts = set()
    for _ in range(2):
        assert command.main(["--hours", "0.00001"]) == 0
        printed = capsys.readouterr().out
        starts.add(printed.split()[2])
        assert "10 seeds, 0 failed" in printed
        assert "faults: packet_lost" in printed

    assert len(starts) == 2


def test_one_mutant_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["--mutants", "--only", "commit_quorum_f"])

    assert code == 0
    assert "1 mutants, 0 survived" in capsys.readouterr().out
    with pytest.raises(UnknownMutant):
        command.main(["--mutants", "--only", "no_such_rule"])


def test_a_scenario_is_played_and_completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new.txt"
    path.write_text("deliver\nshow\n")

    assert command.main(["--scenario", str(path)]) == 1
    assert command.main(["--scenario", str(path)]) == 0
    assert "0: NORMAL" in path.read_text()
    assert "0: NORMAL" in capsys.readouterr().out


def test_exploring_says_how_far_it_came_and_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--explore", "--surprises", "0"]) == 0
    assert "0 surprises: complete" in capsys.readouterr().out
    assert command.main(["--explore", "--surprises", "0", "--only", "commit_quorum_f"]) == 1
    assert "committed_on_quorum" in capsys.readouterr().out


def test_a_finding_is_shrunk_to_a_world_that_can_be_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = tmp_path / "world.json"
    (mutant,) = find_mutants("commit_quorum_f")
    with mutated(mutant):
        assert command.main(["--shrink", "0"]) == 1
        printed = capsys.readouterr().out.splitlines()
        world.write_text(printed[-1])
        seed = next(line for line in printed if line.startswith("seed ")).split()[1].rstrip(",")
        assert command.main(["--seed", seed, "--world", str(world)]) == 1

    assert "committed_on_quorum" in capsys.readouterr().out


def test_wrong_usage_exits_with_2() -> None:
    with pytest.raises(SystemExit) as exit_info:
        command.main([])

    assert exit_info.value.code == 2
