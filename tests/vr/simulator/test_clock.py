"""A node's own idea of time."""

from itertools import pairwise
from random import Random

from vr.simulator.clock import NodeClock
from vr.simulator.schedule import SECOND_US, Schedule
from vr.simulator.swarm import ProcessFaults


def test_a_deadline_has_passed_when_its_delay_is_over() -> None:
    for seed in range(100):
        schedule = Schedule()
        clock = NodeClock(schedule, Random(seed), ProcessFaults(clock_rate_error=0.2))
        deadline_s = clock.now_s() + 1.25
        delay_us = clock.delay_us(deadline_s)
        schedule.run(delay_us - 3)
        early = clock.now_s() < deadline_s
        schedule.run(delay_us)

        assert early
        assert clock.now_s() >= deadline_s


def test_clocks_run_at_different_rates() -> None:
    schedule = Schedule()
    clocks = [NodeClock(schedule, Random(seed), ProcessFaults(clock_rate_error=0.2)) for seed in range(20)]
    began = [clock.now_s() for clock in clocks]
    schedule.run(10 * SECOND_US)
    passed = [clock.now_s() - start for clock, start in zip(clocks, began, strict=True)]

    assert min(passed) < 9.5
    assert max(passed) > 10.5


def test_the_wall_clock_jumps_both_ways() -> None:
    clock = NodeClock(Schedule(), Random(1), ProcessFaults(wall_clock_error_us=3600 * SECOND_US))
    readings = [clock.wall_us() for _ in range(2000)]
    steps = [after - before for before, after in pairwise(readings)]

    assert min(steps) < -60 * SECOND_US
    assert max(steps) > 60 * SECOND_US
