"""Exhaustive search of the small world: every history with at most so many surprises.

    surprises 0, 1, 2 … : depth first from the first world ─▶ each way on ─▶ seen with as many surprises left? skip

A state is remembered by a 64-bit hash of its essence and by the most surprises that were left when it was met. Two states
of one hash would hide one another; with ten million states that happens once in 370,000 searches.
"""

from __future__ import annotations

import time

import msgspec

from vr.simulator.cluster import BUGS
from vr.simulator.errors import Violation
from vr.simulator.scenario import text_of
from vr.simulator.small_world import Budget, Choice, SmallWorld, choices, first_world, perform


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A broken promise, and the choices that lead to it from the first world."""

    violation: Violation
    path: tuple[Choice, ...]


class Exploration(msgspec.Struct, kw_only=True):
    """How far a search came. `is_complete`: nothing within the budget is left."""

    surprises: int
    states: int = 0
    steps: int = 0
    depth_max: int = 0
    ended: int = 0  # worlds in which nothing more can happen
    is_complete: bool = False
    finding: Finding | None = None
    took_s: float = 0.0


class _Node(msgspec.Struct):
    """A place of the search tree: how it was reached, and what is left to try."""

    world: SmallWorld
    choice: Choice | None
    left: list[Choice]


def explore(budget: Budget, *, states_max: int, seconds_max: float) -> Exploration:
    """Search depth first until all is seen, something is found, or a bound is reached."""
    began_s = time.monotonic()
    result = Exploration(surprises=budget.surprises)
    first = first_world(budget)
    seen = {first.key(): budget.surprises}
    stack = [_Node(first, None, list(choices(first))[::-1])]
    while stack:
        result.depth_max = max(result.depth_max, len(stack))
        if not stack[-1].left:
            stack.pop()
            continue
        if result.states >= states_max or (result.steps % 256 == 0 and time.monotonic() - began_s > seconds_max):
            break
        choice = stack[-1].left.pop()
        result.steps += 1
        try:
            world = perform(stack[-1].world, choice)
        except Violation as violation:
            result.finding = _finding(stack, choice, violation)
            break
        except BUGS as bug:
            result.finding = _finding(stack, choice, Violation("crashed", f"{type(bug).__name__}: {bug}"))
            break
        key = world.key()
        if seen.get(key, -1) >= world.budget.surprises:
            continue
        seen[key] = world.budget.surprises
        result.states += 1
        ways = list(choices(world))[::-1]
        result.ended += not ways
        stack.append(_Node(world, choice, ways))
    result.is_complete = not stack
    result.took_s = time.monotonic() - began_s
    return result


def _finding(stack: list[_Node], choice: Choice, violation: Violation) -> Finding:
    path = [node.choice for node in stack if node.choice is not None]
    return Finding(violation=violation, path=(*path, choice))


def report(exploration: Exploration) -> list[str]:
    """The search for a reader."""
    end = "complete" if exploration.is_complete else "stopped" if exploration.finding is None else "FOUND"
    lines = [
        f"{exploration.surprises} surprises: {end}; {exploration.states} states, {exploration.steps} steps, "
        f"depth {exploration.depth_max}, {exploration.ended} ends, {exploration.took_s:.1f} s, "
        f"{exploration.steps / max(exploration.took_s, 1e-9):.0f} steps/s"
    ]
    if exploration.finding is not None:
        finding = exploration.finding
        lines += [
            f"  {command:20}  # {choice.name}"
            for command, choice in zip(text_of(finding.path).splitlines(), finding.path, strict=True)
        ]
        lines.append(f"  {finding.violation}")
    return lines
