"""Hunting all mutants, in several processes, and the table of how they fared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import msgspec

from vr.simulator.errors import UnknownMutant
from vr.simulator.mutants import MUTANTS, UNKILLED
from vr.simulator.mutation import Mutant, hunt


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
    found = tuple(mutant for mutant in MUTANTS + UNKILLED if mutant.name == name)
    if not found:
        raise UnknownMutant(name)
    return found


def hunt_named(name: str) -> Kill:
    """Hunt one mutant: what a process of a hunt does."""
    (mutant,) = find_mutants(name)
    result = hunt(mutant)
    check = None if result.violation is None else result.violation.check
    return Kill(name=name, seeds=result.seeds, seeds_max=mutant.seeds_max, took_s=result.took_s, check=check)


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
