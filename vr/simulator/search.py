"""Searching for a seed that fails: many seeds, several processes, for a count of seeds or a length of time.

    seeds ──▶ chunks of CHUNK_SEEDS ──▶ worker processes ──▶ Tally per chunk ──▶ one Tally, printed

Each seed is a world of its own, so processes share nothing. A chunk is finished once it has begun; that is what a search
runs over its time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

import msgspec

from vr.simulator.cluster import Outcome, run_seed

CHUNK_SEEDS = 10
FAILED_SEEDS_MAX = 100  # of one search: who has so many looks at the first
# How the counts of a world are printed: what struck it, and what it did about it.
FAULTS = (
    "packet_lost", "packet_doubled", "packet_held", "packet_corrupted", "partition", "clog", "killed", "power_loss",
    "poisoned", "pause", "rot",
)  # fmt: skip


class Tally(msgspec.Struct):
    """What some seeds came to. `failed` maps a seed to what it violated."""

    seeds: int = 0
    events: int = 0
    failed: dict[int, str] = msgspec.field(default_factory=dict)
    counts: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add other seeds."""
        self.seeds += other.seeds
        self.events += other.events
        self.failed.update(other.failed)
        self.counts.update(other.counts)

    def lines(self, took_s: float) -> list[str]:
        """The tally for a reader."""
        rate = f"{self.seeds / took_s:.1f} seeds/s, {self.events / took_s:.0f} events/s"
        rest = sorted(set(self.counts) - set(FAULTS))
        return [
            f"{self.seeds} seeds, {len(self.failed)} failed; {took_s:.1f} s, {rate}, "
            f"{self.events // max(1, self.seeds)} events per seed",
            "faults: " + ", ".join(f"{name} {self.counts[name]}" for name in FAULTS),
            "counts: " + ", ".join(f"{name} {self.counts[name]}" for name in rest),
            *([f"failing seeds: {' '.join(map(str, sorted(self.failed)))}"] if self.failed else []),
        ]


def describe(outcome: Outcome) -> str:
    """The finding and how to see it again."""
    return f"seed {outcome.seed}: {outcome.violation}\nreplay: python -m vr.simulator --seed {outcome.seed}"


def run_chunk(start: int, count: int) -> Tally:
    """Run `count` seeds from `start` in this process."""
    tally = Tally()
    for seed in range(start, start + count):
        outcome = run_seed(seed)
        tally.seeds += 1
        tally.events += outcome.events
        tally.counts.update(outcome.counts)
        if outcome.violation is not None:
            tally.failed[seed] = describe(outcome)
    return tally


class Search:
    """Seeds from `start`, `seeds_max` of them at most, for `seconds_max` at most, in `jobs` processes.

    `keep_going` False stops at the first that fails.
    """

    def __init__(
        self, start: int, *, seeds_max: int | None, seconds_max: float | None = None, jobs: int = 1, keep_going: bool
    ) -> None:
        self.tally = Tally()
        self._next = start
        self._end = None if seeds_max is None else start + seeds_max
        self._began_s = time.monotonic()
        self._until_s = None if seconds_max is None else self._began_s + seconds_max
        self._jobs = jobs
        self._keep_going = keep_going

    def run(self) -> Tally:
        """Search, printing findings as they come and the rates at the end."""
        for tally in self._alone() if self._jobs == 1 else self._together():
            self.tally.add(tally)
            for finding in tally.failed.values():
                print(finding, flush=True)
        print("\n".join(self.tally.lines(max(time.monotonic() - self._began_s, 1e-9))), flush=True)
        return self.tally

    def _chunk(self) -> tuple[int, int] | None:
        """The next seeds to run, unless the search is over."""
        failed = len(self.tally.failed)
        if failed >= FAILED_SEEDS_MAX or (failed and not self._keep_going):
            return None
        if self._until_s is not None and time.monotonic() >= self._until_s:
            return None
        count = CHUNK_SEEDS if self._keep_going or self._jobs > 1 else 1
        start = self._next
        self._next = start + count if self._end is None else min(start + count, self._end)
        return (start, self._next - start) if self._next > start else None

    def _alone(self) -> Iterator[Tally]:
        while (chunk := self._chunk()) is not None:
            yield run_chunk(*chunk)

    def _together(self) -> Iterator[Tally]:
        with ProcessPoolExecutor(self._jobs) as pool:
            running: set[Future[Tally]] = set()
            while True:
                while len(running) < 2 * self._jobs and (chunk := self._chunk()) is not None:
                    running.add(pool.submit(run_chunk, *chunk))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
