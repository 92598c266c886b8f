"""Hunting all mutants, in several processes, and the table of how they fared.

Most die of a seed; what seeds hardly ever meet dies of a scenario, which is then in the column of the killer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

from vr.simulator.cluster import BUGS
from vr.simulator.errors import SimulatorError, UnknownMutant
from vr.simulator.mutants import MUTANTS
from vr.simulator.mutation import Mutant, hunt, mutated
from vr.simulator.scenario import play_text

SCENARIOS = Path(__file__).parents[2] / "tests" / "scenarios" / "vr"  # the hunt is made for a checkout


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """How one mutant fared. `check` names the promise it broke; None when it survived."""

    name: str
    seeds: int
    seeds_max: int
    took_s: float
    check: str | None

    def line(self) -> str:
        """A row of the table."""
        killer = "SURVIVED" if self.check is None else self.check
        return f"{self.name:36} {self.seeds:6} {self.seeds_max:6} {self.took_s:6.1f}  {killer}"


def find_mutants(name: str | None) -> tuple[Mutant, ...]:
    """The mutant of that name; without one, all that must die.

    Raises:
        UnknownMutant: there is none.
    """
    if name is None:
        return MUTANTS
    found = tuple(mutant for mutant in MUTANTS if mutant.name == name)
    if not found:
        raise UnknownMutant(name)
    return found


def hunt_named(name: str) -> Kill:
    """Hunt one mutant: what a process of a hunt does."""
    (mutant,) = find_mutants(name)
    if mutant.scenario is not None:
        began_s = time.perf_counter()
        check = f"scenario {mutant.scenario}" if is_shown(mutant, mutant.scenario) else None
        return Kill(name=name, seeds=0, seeds_max=0, took_s=time.perf_counter() - began_s, check=check)
    result = hunt(mutant)
    check = None if result.violation is None else result.violation.check
    return Kill(name=name, seeds=result.seeds, seeds_max=mutant.seeds_max, took_s=result.took_s, check=check)


def is_shown(mutant: Mutant, scenario: str) -> bool:
    """Whether a scenario goes otherwise with the mutant."""
    text = (SCENARIOS / f"{scenario}.txt").read_text()
    with mutated(mutant):
        try:
            return play_text(text) != text
        except (SimulatorError, *BUGS):
            return True


def hunt_all(mutants: Sequence[Mutant], *, jobs: int = 1) -> list[str]:
    """Hunt them and print the table; returns the names of the survivors."""
    print(f"{'mutant':36} {'seeds':>6} {'budget':>6} {'s':>6}  killed by", flush=True)
    survivors = []
    for kill in _hunts([mutant.name for mutant in mutants], jobs):
        print(kill.line(), flush=True)
        if kill.check is None:
            survivors.append(kill.name)
    print(f"{len(mutants)} mutants, {len(survivors)} survived")
    return survivors


def _hunts(names: Iterable[str], jobs: int) -> Iterator[Kill]:
    if jobs == 1:
        yield from map(hunt_named, names)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(hunt_named, names)
