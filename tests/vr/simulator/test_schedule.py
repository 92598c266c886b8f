"""Virtual time."""

from vr.simulator.schedule import Schedule


def test_runs_in_order_of_time_and_then_of_scheduling() -> None:
    schedule = Schedule()
    seen: list[tuple[str, int]] = []
    for name, delay_us in (("late", 20), ("early", 10), ("early too", 10)):
        schedule.after(delay_us, lambda name: seen.append((name, schedule.now_us)), name)

    schedule.run(until_us=30)

    assert seen == [("early", 10), ("early too", 10), ("late", 20)]
    assert schedule.now_us == 30
    assert schedule.events == 3


def test_stops_at_the_time_limit_and_at_the_predicate() -> None:
    schedule = Schedule()
    seen: list[int] = []
    for delay_us in (1, 2, 3, 4):
        schedule.after(delay_us, seen.append, delay_us)

    schedule.run(until_us=2)
    schedule.run(until_us=9, stop=lambda: len(seen) == 3)

    assert seen == [1, 2, 3]
    assert schedule.now_us == 3
    assert len(schedule) == 1


def test_a_world_that_never_advances_time_is_stopped() -> None:
    schedule = Schedule()

    def again() -> None:
        schedule.after(0, again)

    again()
    enough = schedule.run(until_us=10, events_max=100)

    assert not enough
    assert schedule.events == 100
