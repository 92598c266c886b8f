"""The nemesis: decides when what goes wrong, while the storm lasts.

Each kind of trouble is a Poisson process with the interval the swarm drew (zero: never). The nemesis knows who leads, so
that it can hit where it hurts: half of its blows go to the primary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vr.simulator.network import Network
from vr.simulator.process import Process
from vr.simulator.world import World


class Nemesis:
    """Trouble for `processes` and `network`."""

    def __init__(self, world: World, network: Network, processes: Sequence[Process]) -> None:
        self._world = world
        self._network = network
        self._processes = processes
        self._partition_token = 0

    def start(self) -> None:
        """Schedule the first blow of each kind."""
        process = self._world.swarm.process
        partition = self._world.swarm.partition
        self._every(process.crash_interval_us, self._crash)
        self._every(process.pause_interval_us, self._pause)
        self._every(self._world.swarm.disk.rot_interval_us, self._rot)
        self._fill_later()
        self._change_later()
        if len(self._processes) > 1:
            self._every(partition.interval_us, self._partition)
            self._every(partition.clog_interval_us, self._clog)

    def _every(self, interval_us: int, blow: Callable[[], None]) -> None:
        if interval_us:
            delay_us = int(self._world.random.expovariate(1.0) * interval_us)
            self._world.schedule.after(delay_us, self._strike, interval_us, blow)

    def _strike(self, interval_us: int, blow: Callable[[], None]) -> None:
        if self._world.storming:
            blow()
            self._every(interval_us, blow)

    def _victim(self) -> Process:
        draw = self._world.random
        primaries = [process for process in self._processes if process.is_primary]
        if primaries and draw.random() < 0.5:
            return draw.choice(primaries)
        return draw.choice(self._processes)

    def _crash(self) -> None:
        draw = self._world.random
        faults = self._world.swarm.process
        victims = self._processes if draw.random() < faults.crash_all else [self._victim()]
        for victim in victims:
            if victim.is_running:
                victim.light_fuse(draw.randrange(faults.fuse_effects_max))

    def _pause(self) -> None:
        victim = self._victim()
        if victim.is_running:
            victim.pause(int(self._world.random.random() * self._world.swarm.process.pause_us_max))

    def _rot(self) -> None:
        draw = self._world.random
        victim = self._victim()
        # Nobody sees rot before the next start: often, bring it about.
        if victim.rot() and victim.is_running and draw.random() < 0.6:
            victim.light_fuse(draw.randrange(100))

    def _fill_later(self) -> None:
        interval_us = self._world.swarm.disk.fill_interval_us
        if interval_us:
            self._world.schedule.after(int(self._world.later.expovariate(1.0) * interval_us), self._fill)

    def _fill(self) -> None:
        if self._world.storming:
            victim = self._world.later.choice(self._processes)
            victim.fill_disk(int(self._world.later.expovariate(1.0) * self._world.swarm.disk.full_us_mean))
            self._fill_later()

    def _change_later(self) -> None:
        interval_us = self._world.swarm.epoch_interval_us
        if interval_us:
            self._world.schedule.after(int(self._world.later.expovariate(1.0) * interval_us), self._change)

    def _change(self) -> None:
        """Other members, or another primary: any set of two or more; the rest stand by, or some of it leaves."""
        if not self._world.storming:
            return
        draw = self._world.later
        primaries = [process for process in self._processes if process.is_primary]
        if primaries:
            primary = max(primaries, key=lambda process: process.configuration.epoch)
            nodes = primary.group_nodes
            order = draw.sample(nodes, len(nodes))
            size = draw.randint(2, len(nodes))
            if draw.random() < 0.8:
                first, stay = draw.randrange(-1, size), len(nodes)
                if self._world.swarm.leave and draw.random() < self._world.swarm.leave:
                    stay = draw.randint(size, len(nodes))
                primary.reconfigure(order[:size], order[size:stay], first=first)
            else:
                primary.hand_over(order[0])
        self._change_later()

    def _partition(self) -> None:
        world, draw = self._world, self._world.random
        self._network.unblock_all()
        if draw.random() < world.swarm.partition.isolate_primary:
            side = {self._victim().node}
        else:
            count = len(self._processes)
            side = set(draw.sample(range(count), draw.randrange(1, count)))
        one_way = draw.random() < world.swarm.partition.one_way
        self._network.split(side, one_way=one_way)
        world.counts["partition"] += 1
        world.story.tell(f"network  nodes {sorted(side)} cut off{', one way' if one_way else ''}")
        self._partition_token += 1
        duration_us = int(draw.expovariate(1.0) * world.swarm.partition.duration_us_mean)
        world.schedule.after(duration_us, self._heal, self._partition_token)

    def _heal(self, token: int) -> None:
        if token == self._partition_token:
            self._network.unblock_all()
            self._world.story.tell("network  healed")
            self.reconnect()

    def reconnect(self) -> None:
        """Links come back: both ends hear of it, some time later."""
        for process in self._processes:
            for peer in range(len(self._processes)):
                if peer != process.node:
                    process.connect_soon(peer)

    def _clog(self) -> None:
        draw = self._world.random
        source, target = draw.sample(range(len(self._processes)), 2)
        self._network.clog(source, target, duration_us=int(draw.expovariate(1.0) * 1_000_000))
        self._world.counts["clog"] += 1
