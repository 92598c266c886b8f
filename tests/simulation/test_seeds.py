"""A slice of the simulation for every run of the suite; `python -m vr.simulator --seeds N` is the long form.

A seed that ever failed is pinned in `pinned_seeds.txt`, together with what it found: the rule must not break again in the
same way. (When the simulator draws its worlds differently, a pinned seed is just one more seed.)
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vr.simulator.cluster import run_seed

PINNED_FILE = Path(__file__).with_name("pinned_seeds.txt")
PINNED_LINES = [line for line in PINNED_FILE.read_text().splitlines() if line and not line.startswith("#")]
PINNED = [int(line.split()[0]) for line in PINNED_LINES]
FRESH = range(1_000_000, 1_000_150)
CHUNK = 25


@pytest.mark.parametrize("seed", PINNED)
def test_a_pinned_seed_finds_nothing(seed: int) -> None:
    assert run_seed(seed).violation is None


def test_every_pinned_seed_has_its_reason() -> None:
    assert all(len(line.split()) >= 4 for line in PINNED_LINES)
    assert len(set(PINNED)) == len(PINNED)


@pytest.mark.parametrize("start", range(FRESH.start, FRESH.stop, CHUNK))
def test_fresh_seeds_find_nothing(start: int) -> None:
    for seed in range(start, start + CHUNK):
        assert run_seed(seed).violation is None, f"replay: python -m vr.simulator --seed {seed}"


def test_one_seed_is_one_history() -> None:
    first, second = run_seed(4), run_seed(4)

    assert first.trace == second.trace
    assert (first.events, first.counts) == (second.events, second.counts)


def test_a_history_does_not_depend_on_the_hash_seed() -> None:
    """Iterating over a set of bytes would differ between processes; nobody could replay a finding."""
    traces = set()
    for hash_seed in ("1", "2", "3"):
        run = subprocess.run(
            [sys.executable, "-m", "vr.simulator", "--seed", "4"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        traces.add(run.stdout)

    assert len(traces) == 1
