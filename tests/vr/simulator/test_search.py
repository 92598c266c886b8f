"""Searching seeds alone and with several processes."""

import pytest

from vr.simulator import search
from vr.simulator.search import Search, Tally, run_chunk


def test_processes_find_what_one_finds() -> None:
    alone = Search(3, seeds_max=12, keep_going=True).run()
    together = Search(3, seeds_max=12, jobs=2, keep_going=True).run()

    assert alone == together
    assert alone.seeds == 12


def test_a_tally_names_each_fault_that_struck() -> None:
    tally = run_chunk(0, 12)

    assert all(tally.counts[fault] for fault in ("packet_lost", "killed", "power_loss", "pause", "partition"))
    assert "faults: packet_lost" in "\n".join(tally.lines(1.0))


def test_time_ends_a_search() -> None:
    tally = Search(0, seeds_max=None, seconds_max=0.0, keep_going=True).run()

    assert tally.seeds == 0


def test_the_failed_are_listed_and_stop_a_search_that_would_not_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "FAILED_SEEDS_MAX", 3)
    monkeypatch.setattr(
        search, "run_chunk", lambda start, count: Tally(seeds=count, failed={start: f"seed {start}: planted"})
    )

    Search(7, seeds_max=None, keep_going=True).run()

    printed = capsys.readouterr().out
    assert "seed 17: planted" in printed
    assert "failing seeds: 7 17 27" in printed
