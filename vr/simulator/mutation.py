"""What a mutant is and how it is hunted.

A mutant breaks one named rule of the core by replacing the function that is the rule, for the length of a `with` block.
A simulator is worth as much as the mutants it kills: each has a budget of seeds, and one that outlives it is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import msgspec

from vr.simulator.cluster import Outcome, run_seed
from vr.simulator.errors import Violation
from vr.simulator.swarm import draw_swarm
from vr.simulator.worlds import Bend


class Patch(msgspec.Struct, frozen=True):
    """Replace attribute `name` of `owner` (a module or class) by `make(original)`."""

    owner: object
    name: str
    make: Callable[[Callable[..., object]], object]


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule. `seeds_max` is the budget: it must be dead by then.

    `scenario` names the scenario that shows the fault at once, where seeds hardly ever meet it; `bend` is the directed
    world in which they do.
    """

    name: str
    breaks: str
    patches: tuple[Patch, ...]
    seeds_max: int
    start: int = 0
    scenario: str | None = None
    bend: Bend | None = None


Rule = Callable[..., Any]


def mutant(name: str, breaks: str, seeds_max: int, *patches: Patch, bend: Bend | None = None) -> Mutant:
    """A mutant, its arguments in the order a table has them."""
    return Mutant(name=name, breaks=breaks, seeds_max=seeds_max, patches=patches, bend=bend)


def by_scenario(name: str, breaks: str, scenario: str, *patches: Patch) -> Mutant:
    """A mutant that a scenario of tests/scenarios/vr shows at once."""
    return Mutant(name=name, breaks=breaks, seeds_max=1, patches=patches, scenario=scenario)


def always(value: object) -> Callable[[Rule], Rule]:
    """Makes a rule that gives the same answer to everything."""
    return lambda _: lambda *_arguments, **_keywords: value


def nothing(_: Rule) -> Rule:
    """Makes a rule that does nothing."""
    return lambda *_arguments, **_keywords: None


class Hunt(msgspec.Struct, frozen=True, kw_only=True):
    """How a mutant fared. `violation` is None when it survived."""

    mutant: Mutant
    seeds: int
    took_s: float
    violation: Violation | None


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """The core with one rule broken."""
    originals: list[tuple[object, str, object]] = []
    try:
        for patch in mutant.patches:
            raw = vars(patch.owner)[patch.name]
            originals.append((patch.owner, patch.name, raw))
            replacement = patch.make(getattr(patch.owner, patch.name))
            setattr(patch.owner, patch.name, replacement)
        yield
    finally:
        for owner, name, raw in reversed(originals):
            setattr(owner, name, raw)


def hunt(mutant: Mutant, *, seeds_max: int | None = None) -> Hunt:
    """Run seeds against the mutant until one kills it or the budget is spent.

    A seed that fails without the mutant too is no kill.
    """
    began_s = time.perf_counter()
    seeds = mutant.seeds_max if seeds_max is None else seeds_max
    violation = None
    count = 0
    while violation is None and count < seeds:
        seed = mutant.start + count
        count += 1
        with mutated(mutant):
            violation = _run(seed, mutant.bend).violation
        if violation is not None and _run(seed, mutant.bend).violation is not None:
            violation = None
    return Hunt(mutant=mutant, seeds=count, took_s=time.perf_counter() - began_s, violation=violation)


def _run(seed: int, bend: Bend | None) -> Outcome:
    return run_seed(seed) if bend is None else run_seed(seed, swarm=bend(draw_swarm(Random(seed))))
