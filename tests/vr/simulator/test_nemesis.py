"""Trouble comes as often as the swarm says, and ends with the storm."""

import pytest

from vr.simulator.cluster import Cluster
from vr.simulator.schedule import MILLISECOND_US, SECOND_US
from vr.simulator.swarm import DiskFaults, PartitionFaults, ProcessFaults, Swarm


def troubled(swarm: Swarm, seconds: int = 8) -> Cluster:
    cluster = Cluster(2, swarm=swarm)
    for process in cluster.processes:
        process.start()
    for client in cluster.clients:
        client.start()
    cluster.nemesis.start()
    cluster.world.schedule.run(seconds * SECOND_US)
    return cluster


@pytest.mark.parametrize(
    ("swarm", "blow"),
    [
        (Swarm(process=ProcessFaults(crash_interval_us=SECOND_US // 2)), "killed"),
        (Swarm(process=ProcessFaults(pause_interval_us=SECOND_US // 2, pause_us_max=1000)), "pause"),
        (Swarm(disk=DiskFaults(rot_interval_us=SECOND_US // 4)), "rot"),
        (Swarm(disk=DiskFaults(fill_interval_us=SECOND_US // 2, full_us_mean=SECOND_US)), "full"),
        (Swarm(partition=PartitionFaults(interval_us=SECOND_US // 2)), "partition"),
        (Swarm(partition=PartitionFaults(clog_interval_us=SECOND_US // 2)), "clog"),
    ],
)
def test_each_blow_strikes_when_it_is_drawn(swarm: Swarm, blow: str) -> None:
    assert troubled(swarm).world.counts[blow] > 0


def test_without_drawn_trouble_nothing_happens() -> None:
    counts = troubled(Swarm()).world.counts

    assert not counts.keys() & {"killed", "poisoned", "pause", "rot", "partition", "clog"}


def test_a_crash_of_all_takes_everybody() -> None:
    faults = ProcessFaults(crash_interval_us=3 * SECOND_US, crash_all=1.0, down_us_mean=MILLISECOND_US)

    counts = troubled(Swarm(process=faults)).world.counts

    assert counts["killed"] >= 3


def test_a_partition_heals() -> None:
    faults = PartitionFaults(interval_us=SECOND_US, duration_us_mean=SECOND_US // 10)
    cluster = troubled(Swarm(partition=faults))
    cluster.world.storming = False
    cluster.world.schedule.run(30 * SECOND_US)

    pairs = [(source, target) for source in range(3) for target in range(3) if source != target]
    assert not any(cluster.network.is_blocked(*pair) for pair in pairs)


def test_the_storm_ends() -> None:
    cluster = troubled(Swarm(process=ProcessFaults(crash_interval_us=SECOND_US // 2)))
    cluster.world.storming = False
    cluster.world.schedule.run(10 * SECOND_US)
    killed = cluster.world.counts["killed"]
    cluster.world.schedule.run(40 * SECOND_US)

    assert cluster.world.counts["killed"] <= killed + 3  # fuses that were lit already
