"""`python -m vr.simulator`: replay a seed, search for a failing one (so many, or for so long), try the mutants, explore
every history of a small world, or play a scenario.

Exit codes: 0 nothing found, 1 a violation (or a surviving mutant), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import msgspec

from vr.simulator.cluster import run_seed
from vr.simulator.explore import explore, report
from vr.simulator.hunting import find_mutants, hunt_all
from vr.simulator.mutation import mutated
from vr.simulator.scenario import play_text
from vr.simulator.search import Search, describe
from vr.simulator.shrink import shrink
from vr.simulator.small_world import Budget
from vr.simulator.story import Telling
from vr.simulator.swarm import Swarm


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.shrink is not None:
        print("\n".join(shrink(options.shrink).lines()))
        return 1
    if options.scenario is not None:
        return _play(options.scenario)
    if options.explore:
        return _explore(options)
    if options.mutants:
        return 1 if hunt_all(find_mutants(options.only), jobs=options.jobs) else 0
    if options.seeds is not None or options.hours is not None:
        return _search(options)
    swarm = msgspec.json.decode(options.world.read_bytes(), type=Swarm) if options.world is not None else None
    return _replay(options.seed, swarm, Telling.MESSAGES if options.messages else Telling.EVENTS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vr.simulator", description="Deterministic simulation of vr.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="replay one seed and print its story")
    what.add_argument("--seeds", type=int, metavar="N", help="run N seeds, stop at the first that fails")
    what.add_argument("--mutants", action="store_true", help="break each rule in turn; a surviving mutant is an error")
    what.add_argument("--hours", type=float, metavar="H", help="run fresh seeds for so long, list every failing one")
    what.add_argument("--explore", action="store_true", help="every history of a small world with few surprises")
    what.add_argument("--scenario", type=Path, metavar="FILE", help="play a scenario, write down what it really shows")
    what.add_argument("--shrink", type=int, metavar="SEED", help="the smallest world in which a seed's finding remains")
    parser.add_argument("--world", type=Path, metavar="FILE", help="with --seed: not the world it draws but this one")
    parser.add_argument("--start", type=int, metavar="S", help="first seed (default: 0; with --hours a random one)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--messages", action="store_true", help="with --seed: print every packet too")
    parser.add_argument("--keep-going", action="store_true", help="with --seeds: run all, list every failing seed")
    parser.add_argument("--only", metavar="NAME", help="with --mutants: only this one; with --explore: in its world")
    parser.add_argument("--surprises", type=int, default=4, metavar="N", help="with --explore: so many (default 4)")
    parser.add_argument("--epochs", type=int, default=0, metavar="N", help="with --explore: members leave so often")
    parser.add_argument("--states-max", type=int, default=5_000_000, metavar="N", help="with --explore: then stop")
    parser.add_argument("--minutes", type=float, default=60.0, metavar="M", help="with --explore: then stop")
    return parser


def _replay(seed: int, swarm: Swarm | None, telling: Telling) -> int:
    outcome = run_seed(seed, swarm=swarm, telling=telling)
    print("\n".join(outcome.story))
    print(f"\nseed {seed}: {outcome.events} events, trace {outcome.trace:08x}")
    print("counts: " + ", ".join(f"{name} {count}" for name, count in sorted(outcome.counts.items())))
    if outcome.violation is None:
        print("nothing found")
        return 0
    print(describe(outcome))
    return 1


def _search(options: argparse.Namespace) -> int:
    """Returns 1 if a seed failed. Fresh seeds are printed: a finding must be repeatable."""
    is_fresh = options.hours is not None
    start = options.start if options.start is not None else random.SystemRandom().getrandbits(48) if is_fresh else 0
    print(f"seeds from {start}, {options.jobs} process{'es' if options.jobs > 1 else ''}", flush=True)
    search = Search(
        start,
        seeds_max=options.seeds,
        seconds_max=options.hours * 3600 if is_fresh else None,
        jobs=options.jobs,
        keep_going=is_fresh or options.keep_going,
    )
    return 1 if search.run().failed else 0


def _play(path: Path) -> int:
    """Returns 1 if the scenario showed something else than it said."""
    text = path.read_text()
    played = play_text(text)
    path.write_text(played)
    print(played, end="")
    return 0 if played == text else 1


def _explore(options: argparse.Namespace) -> int:
    """Returns 1 if something was found. Worlds of fewer surprises first: what they show is shorter."""
    until_s = time.monotonic() + options.minutes * 60
    chosen = find_mutants(options.only) if options.only else ()
    with mutated(chosen[0]) if chosen else nullcontext():
        for surprises in range(options.surprises + 1):
            seconds_max = until_s - time.monotonic()
            budget = Budget(surprises=surprises, epochs=options.epochs)
            result = explore(budget, states_max=options.states_max, seconds_max=seconds_max)
            print("\n".join(report(result)), flush=True)
            if result.finding is not None:
                return 1
            if not result.is_complete:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
