from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from vr.host.timers import Timers


def test_keys_come_up_once_when_due() -> None:
    timers: Timers[str] = Timers()
    timers.set("b", 2.0)
    timers.set("a", 1.0)

    assert timers.next_deadline() == 1.0
    assert timers.due(0.5) == []
    assert timers.due(2.0) == ["a", "b"]
    assert timers.due(9.0) == []
    assert timers.next_deadline() == math.inf


def test_infinity_means_never() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.set("a", math.inf)

    assert timers.due(9.0) == []
    assert timers.next_deadline() == math.inf


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.integers(0, 20), st.just(math.inf)), st.booleans())))
def test_the_heap_agrees_with_a_table_and_stays_small(steps: list[tuple[str, float, bool]]) -> None:
    timers: Timers[str] = Timers()
    table: dict[str, float] = {}
    now = 0.0
    for key, deadline, passes in steps:
        timers.set(key, now + deadline)
        table[key] = now + deadline
        if passes:
            now += 3
            due = {name for name, at in table.items() if at <= now}
            assert set(timers.due(now)) == due
            table = {name: at for name, at in table.items() if name not in due}
        assert timers.next_deadline() <= min(table.values(), default=math.inf)

    for hour in range(100):
        timers.due(now + hour)
    assert timers.next_deadline() == math.inf
