"""The clocks of one node: a monotonic one that runs too fast or too slow, a wall clock that is wrong and jumps."""

from __future__ import annotations

from random import Random

from vr.simulator.schedule import SECOND_US, Schedule
from vr.simulator.swarm import ProcessFaults

WALL_EPOCH_US = 1_700_000_000 * SECOND_US


class NodeClock:
    """Maps the world's virtual time to what this node believes."""

    def __init__(self, schedule: Schedule, random: Random, faults: ProcessFaults) -> None:
        self._schedule = schedule
        self._random = random
        self._rate = 1.0 + random.uniform(-1.0, 1.0) * faults.clock_rate_error
        self._offset_s = random.uniform(0.0, 1000.0)
        self._wall_error_us_max = faults.wall_clock_error_us
        self._wall_error_us = 0

    def now_s(self) -> float:
        """Monotonic seconds, as the core's `now`."""
        return self._offset_s + self._schedule.now_us * self._rate / SECOND_US

    def delay_us(self, deadline_s: float) -> int:
        """How long the world has to wait until this node's clock shows `deadline_s`, rounded up."""
        remaining_s = deadline_s - (self._offset_s + self._schedule.now_us * self._rate / SECOND_US)
        return int(remaining_s * SECOND_US / self._rate) + 1 if remaining_s > 0 else 0

    def wall_us(self) -> int:
        """The wall clock: one reading in fifty it has been set anew."""
        if self._wall_error_us_max and self._random.random() < 0.02:
            self._wall_error_us = self._random.randint(-self._wall_error_us_max, self._wall_error_us_max)
        return WALL_EPOCH_US + self._schedule.now_us + self._wall_error_us
