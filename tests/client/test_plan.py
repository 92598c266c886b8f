from __future__ import annotations

import trio
import trio.testing

from client.plan import Act, Plan


async def test_an_act_is_handed_in_when_its_time_has_come(autojump_clock: trio.testing.MockClock) -> None:
    plan, given = Plan(), list[tuple[float, Act]]()

    async def give(act: Act) -> None:
        given.append((trio.current_time(), act))

    begin = trio.current_time()
    assert plan.is_new("ask")
    await plan.later(give, (3.0, 5.0), autojump_clock.current_time)

    [(when, act)] = given
    assert 3.0 <= when - begin <= 5.0
    assert act == autojump_clock.current_time


async def test_another_occasion_drops_what_waits_and_the_same_one_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    del autojump_clock
    plan, given = Plan(), list[str]()

    async def give(act: Act) -> None:
        act()

    async with trio.open_nursery() as nursery:
        assert plan.is_new(1)
        nursery.start_soon(plan.later, give, (5.0, 5.0), lambda: given.append("first"))
        await trio.testing.wait_all_tasks_blocked()
        assert not plan.is_new(1)
        assert plan.is_new(2)
        nursery.start_soon(plan.later, give, (1.0, 1.0), lambda: given.append("second"))

    assert given == ["second"]
