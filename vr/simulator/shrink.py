"""From a seed that fails to the smallest world that still does: whatever can be left out is left out.

    fault by fault to nothing, fewer clients and requests, shorter storm ─▶ does one of a few seeds break the same promise?

A world with one fault less runs differently from the first packet on, so the same seed says little: each candidate gets a
few seeds. What remains names the faults that matter, in a history short enough to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from vr.simulator.cluster import Outcome, run_seed
from vr.simulator.errors import NothingToShrink
from vr.simulator.schedule import SECOND_US
from vr.simulator.swarm import Swarm, draw_epochs, draw_later, draw_swarm, later_random

SECTIONS = ("network", "disk", "process", "partition", "load")
HALVED = (("load", "clients", 1), ("load", "requests_per_client", 2), ("load", "body_bytes_max", 1))
WHOLE = ("leave", "epoch_interval_us")  # of the world itself
STORM_US_MIN = SECOND_US // 2


class Shrunk(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest world found, a seed that fails in it, and how many worlds were tried."""

    seed: int
    swarm: Swarm
    outcome: Outcome
    tried: int

    def lines(self) -> list[str]:
        """What is left of the world, and how to see it again."""
        left = [
            f"{section}.{name} = {value}"
            for section in SECTIONS
            for name, value in msgspec.structs.asdict(getattr(self.swarm, section)).items()
            if value != getattr(getattr(Swarm(), section), name)
        ]
        left += [f"{name} = {getattr(self.swarm, name)}" for name in WHOLE if getattr(self.swarm, name)]
        return [
            f"{self.outcome.violation}",
            f"seed {self.seed}, {self.outcome.events} events, {self.swarm.node_count} nodes, "
            f"storm {self.swarm.storm_us / SECOND_US:.1f} s; {self.tried} worlds tried; beyond a calm world:",
            *(f"  {line}" for line in left),
            "replay: python -m vr.simulator --seed N --world FILE, with this in the file:",
            msgspec.json.encode(self.swarm).decode(),
        ]


def simpler(swarm: Swarm) -> Iterator[tuple[str, Swarm]]:
    """Worlds with one thing less, and which."""
    calm = Swarm()
    for section in SECTIONS:
        now, default = getattr(swarm, section), getattr(calm, section)
        for name in now.__struct_fields__:
            is_fault = section != "load" or name in {"double", "leave", "move", "window"}
            quiet = 1 if name == "window" else 0.0 if section == "load" else getattr(default, name)
            if is_fault and getattr(now, name) != quiet:
                yield f"{section}.{name}", _with(swarm, section, name, quiet)
    for name in WHOLE:
        if getattr(swarm, name):
            yield name, msgspec.structs.replace(swarm, **{name: 0})
    for section, name, floor in HALVED:
        value = getattr(getattr(swarm, section), name)
        if value > floor:
            yield f"{section}.{name}", _with(swarm, section, name, max(floor, value // 2))
    if swarm.storm_us > STORM_US_MIN:
        yield "storm", msgspec.structs.replace(swarm, storm_us=max(STORM_US_MIN, swarm.storm_us * 2 // 3))


def _with(swarm: Swarm, section: str, name: str, value: Any) -> Swarm:
    changed = msgspec.structs.replace(getattr(swarm, section), **{name: value})
    return msgspec.structs.replace(swarm, **{section: changed})


def shrink(seed: int, *, seeds_per_world: int = 6) -> Shrunk:
    """Leave out what can be left out until nothing more can.

    Raises:
        NothingToShrink: the seed finds nothing.
    """
    swarm = draw_epochs(seed, draw_later(later_random(seed), draw_swarm(Random(seed))))
    outcome = run_seed(seed, swarm=swarm)
    if outcome.violation is None:
        raise NothingToShrink(f"seed {seed} finds nothing")
    best = Shrunk(seed=seed, swarm=swarm, outcome=outcome, tried=0)
    while (smaller := _step(best, outcome.violation.check, seeds_per_world)) is not best:
        best = smaller
    return best


def _step(best: Shrunk, check: str, seeds_per_world: int) -> Shrunk:
    """One pass over everything that can be left out; the same object when nothing could."""
    start, tried = best, best.tried
    needed: set[str] = set()
    while True:
        name, candidate = next((way for way in simpler(best.swarm) if way[0] not in needed), ("", None))
        if candidate is None:
            return best if best is start else msgspec.structs.replace(best, tried=tried)
        tried += 1
        found = _fails(candidate, check, range(best.seed, best.seed + seeds_per_world))
        if found is None:
            needed.add(name)
        else:
            best = Shrunk(seed=found.seed, swarm=candidate, outcome=found, tried=tried)


def _fails(swarm: Swarm, check: str, seeds: range) -> Outcome | None:
    for seed in seeds:
        outcome = run_seed(seed, swarm=swarm)
        if outcome.violation is not None and outcome.violation.check == check:
            return outcome
    return None
