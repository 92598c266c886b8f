"""Is a history linearizable? The search of Wing and Gong with Lowe's memory, object by object (P-compositionality).

```
 calls of one object, by time ─▶ windows, cut where nothing with a known end is under way
 start states ─▶ window ─▶ every state it can end in ─▶ the next window … none left: not linearizable
```

A history is linearizable if it is so for each object alone (Herlihy and Wing 1990), so objects are searched one by one. A
call may be next in the order if no call that is still to come returned before it began (Wing and Gong 1993); what was
reached once, the same calls done and the same state, is not searched again (Lowe 2017). A call whose end nobody saw may have
happened at any time after it began, or not at all: it is carried on from window to window.

It knows nothing of operation numbers, views or logs: only what clients called, when, and what they were told.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import msgspec

STEPS_MAX = 50_000
"""Of one window's search: enough for forty calls of a session side by side; who takes more is given up, and counted."""

READ = "read"
"""The name of calls that change nothing."""

State = Hashable
Step = Callable[[State, "Call"], State | None]
"""The state after a call that was answered as it was; None: it could not have been answered so in this state."""


class Call(NamedTuple):
    """One call of an object. `returned` is None while nobody knows whether it ever happened; times in any unit."""

    name: str
    argument: Hashable
    result: Hashable
    called: int
    returned: int | None


class Window(msgspec.Struct):
    """Calls between two moments at which none with a known end was under way; `unknown` are those without one."""

    known: list[Call] = msgspec.field(default_factory=list)
    unknown: list[Call] = msgspec.field(default_factory=list)


class Verdict(msgspec.Struct, frozen=True):
    """`culprit` is the first window that no order explains; `given_up` windows took too many steps."""

    culprit: Window | None = None
    given_up: int = 0


class _Reached(NamedTuple):
    """A point of the search: which known calls are done (bits), which unknown ones are still open, and the state."""

    done: int
    unknown: frozenset[Call]
    state: State


def check_calls(calls: Sequence[Call], start: State, step: Step) -> Verdict:
    """Search the calls of one object that begins in state `start`."""
    ends: set[tuple[frozenset[Call], State]] = {(frozenset(), start)}
    for window in windows(calls):
        reached = {_Reached(0, unknown.union(window.unknown), state) for unknown, state in ends}
        found = _search(window, reached, step)
        if found is None:
            return Verdict(given_up=1)
        if not found:
            return Verdict(culprit=window)
        ends = found
    return Verdict()


def windows(calls: Sequence[Call]) -> Iterator[Window]:
    """Cut a history where nothing with a known end is under way."""
    window = Window()
    busy_until = -1
    for call in sorted(calls, key=lambda call: call.called):
        if window.known and call.called > busy_until:
            yield window
            window = Window()
        if call.returned is None:
            window.unknown.append(call)
        else:
            window.known.append(call)
            busy_until = max(busy_until, call.returned)
    yield window


def _search(window: Window, reached: set[_Reached], step: Step) -> set[tuple[frozenset[Call], State]] | None:
    """Every way the window can end; None when there are too many."""
    known = window.known
    every = (1 << len(known)) - 1
    ends: set[tuple[frozenset[Call], State]] = set()
    stack, seen = list(reached), set(reached)
    steps = 0
    while stack:
        at = stack.pop()
        if at.done == every:
            ends.add((at.unknown, at.state))
        for following in _followers(known, at, step):
            if following not in seen:
                seen.add(following)
                stack.append(following)
        steps += 1
        if steps > STEPS_MAX:
            return None
    return ends


def _followers(known: Sequence[Call], at: _Reached, step: Step) -> Sequence[_Reached]:
    """Where one more call leads: any that began before the first of those still to come had returned.

    A read that is possible now may as well come now, since it changes nothing: then nothing else is tried.
    """
    waiting = [(place, call) for place, call in enumerate(known) if not at.done >> place & 1]
    first_return = min((call.returned for _, call in waiting if call.returned is not None), default=None)
    ways: list[_Reached] = []
    for place, call in waiting:
        if first_return is None or call.called <= first_return:
            state = step(at.state, call)
            if call.name == READ and state is not None:
                return [_Reached(at.done | 1 << place, at.unknown, state)]
            if state is not None:
                ways.append(_Reached(at.done | 1 << place, at.unknown, state))
    for call in at.unknown:
        if first_return is None or call.called <= first_return:
            state = step(at.state, call)
            if state is not None:
                ways.append(_Reached(at.done, at.unknown - {call}, state))
    return ways


# --- models ---


def step_register(state: State, call: Call) -> State | None:
    """A register: `write` sets it, `read` gives what was written last."""
    if call.name != READ:
        return call.argument
    return state if call.result == state else None


def step_counter(state: State, call: Call) -> State | None:
    """A session of the simulated service: `put` n is possible once, after n - 1; `read` gives the last n."""
    assert isinstance(state, int)
    if call.name != READ:
        return call.argument if call.argument == state + 1 else None
    return state if call.result == state else None
