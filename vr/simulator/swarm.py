"""Swarm testing: each seed draws which faults exist in its world and how often they strike.

A world with every fault at a middling rate hides bugs that need one fault often and another never (Groce et al., "Swarm
Testing", ISSTA 2012). So each rate is zero with probability one half, and otherwise spread over its range on a
logarithmic scale. Times are microseconds of virtual time; rates are probabilities or mean intervals.
"""

from __future__ import annotations

import math
from random import Random

import msgspec

from vr.simulator.schedule import MILLISECOND_US, SECOND_US


class NetworkFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a link does to one packet."""

    delay_us_min: int = 100
    delay_us_mean: int = 2_000
    loss: float = 0.0
    duplicate: float = 0.0
    hold: float = 0.0  # a copy of the packet turns up again, up to hold_us_max later
    hold_us_max: int = 0
    corrupt: float = 0.0

    def calmed(self) -> NetworkFaults:
        """The same latency, no faults."""
        return NetworkFaults(delay_us_min=self.delay_us_min, delay_us_mean=min(self.delay_us_mean, 5_000))


class DiskFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a disk does to writes."""

    latency_us_mean: int = 500
    stall: float = 0.0  # a sync takes up to stall_us_max
    stall_us_max: int = 0
    sync_error: float = 0.0  # a sync fails, its pages may or may not be on the platter
    rot_interval_us: int = 0  # mean time between bits flipping in provably synced sectors; 0 = never
    segment_bytes: int = 256 * 1024
    fill_interval_us: int = 0  # mean time between disks running full, over the whole cluster; 0 = never
    full_us_mean: int = 0  # until space is freed
    misdirected: float = 0.0  # of what rots, a write that went astray: missing in one place, too much in another
    split: float = 0.0  # a job becomes several frames, all of them unsynced when the power fails

    def calmed(self) -> DiskFaults:
        """The same disk, healthy."""
        return DiskFaults(latency_us_mean=min(self.latency_us_mean, 5_000), segment_bytes=self.segment_bytes)


class ProcessFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to processes and clocks. Intervals are means over the whole cluster; 0 = never."""

    crash_interval_us: int = 0
    down_us_mean: int = SECOND_US
    power_loss: float = 0.5  # else kill -9: the page cache survives
    fuse_effects_max: int = 1  # the kill strikes up to this many effects after it was due
    crash_all: float = 0.0  # a crash takes every node with it
    pause_interval_us: int = 0
    pause_us_max: int = 0
    clock_rate_error: float = 0.0
    wall_clock_error_us: int = 0
    turn_us_max: int = 0  # how long a process collects input before it performs effects
    patience: float = 1.0  # scales heartbeats, suspicion, patience and view change time-outs
    reset_seen: float = 0.5  # peers notice a dead connection at once


class PartitionFaults(msgspec.Struct, frozen=True, kw_only=True):
    """How often the network falls apart, and into what."""

    interval_us: int = 0
    duration_us_mean: int = SECOND_US
    one_way: float = 0.3
    isolate_primary: float = 0.3
    clog_interval_us: int = 0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What clients do."""

    clients: int = 2
    requests_per_client: int = 20
    window: int = 4
    think_us_mean: int = 100 * MILLISECOND_US
    retry_us: int = SECOND_US
    move: float = 0.5  # a retry goes to another replica
    double: float = 0.0  # a request (or register) is sent twice at once
    leave: float = 0.0  # after a reply: forget the session and register again
    body_bytes_max: int = 64
    checkpoint_ops: int = 16
    read: float = 0.0  # with each reply: a linearizable read, at any replica
    log_margin_ops: int = 16  # applied operations kept in memory below a checkpoint
    chunk_bytes: int = 512  # of a snapshot: small, so that transfers are interrupted
    history_ops: int | None = None  # operations kept in history below a checkpoint; None: all


class Swarm(msgspec.Struct, frozen=True, kw_only=True):
    """One seed's world."""

    node_count: int = 3
    storm_us: int = 15 * SECOND_US  # faults strike this long; afterwards a majority is healed
    pipeline_ops_max: int = 8
    sessions_max: int = 4096
    session_ttl_s: int = 30 * 24 * 3600
    lease_ms: int = 0
    epoch_interval_us: int = 0  # mean time between wishes for other members, or another primary; 0 = never
    leave: float = 0.0  # of those wishes: some nodes leave for good, and stay up to answer laggards
    network: NetworkFaults = NetworkFaults()
    disk: DiskFaults = DiskFaults()
    process: ProcessFaults = ProcessFaults()
    partition: PartitionFaults = PartitionFaults()
    load: Load = Load()


def draw_swarm(random: Random) -> Swarm:
    """Draw a world."""
    return Swarm(
        node_count=random.choices([1, 2, 3, 5], weights=[4, 8, 76, 12])[0],
        storm_us=int(random.uniform(3, 10) * SECOND_US),
        pipeline_ops_max=random.choice([1, 2, 4, 8, 8]),
        sessions_max=random.choice([2, 4, 8, 4096, 4096, 4096]),
        session_ttl_s=random.choice([1, 5, 30 * 24 * 3600, 30 * 24 * 3600]),
        lease_ms=random.choice([0, 0, 0, 500, 4000]),
        network=_draw_network(random),
        disk=_draw_disk(random),
        process=_draw_process(random),
        partition=_draw_partition(random),
        load=_draw_load(random),
    )


def later_random(seed: int) -> Random:
    """What later additions draw from. The word is chosen so that no seed pinned by then has any: they keep their stories."""
    return Random(f"later 899 {seed}")


def draw_later(random: Random, swarm: Swarm) -> Swarm:
    """What was added to worlds since their draws were fixed; one in four has it. `random` is of `later_random`."""
    if random.random() >= 1 / 4:
        return swarm
    disk = msgspec.structs.replace(
        swarm.disk,
        fill_interval_us=_interval_us(random, 1, 6),
        full_us_mean=int(_log_uniform(random, 0.2, 4) * SECOND_US),
        misdirected=random.choice([0.0, 0.3, 1.0]),
    )
    return msgspec.structs.replace(swarm, disk=disk)


def draw_epochs(seed: int, swarm: Swarm) -> Swarm:
    """Worlds whose members change: one in four of those with three nodes or more, and none of the seeds pinned by then."""
    random = Random(f"epochs 101 {seed}")
    if random.random() >= 1 / 4 or swarm.node_count < 3:
        return swarm
    interval_us = int(_log_uniform(random, 0.2, 3) * SECOND_US)
    leave = Random(f"leaving 2667 {seed}").choice([0.0, 0.2, 0.5])
    return msgspec.structs.replace(swarm, epoch_interval_us=interval_us, leave=leave)


def _log_uniform(random: Random, low: float, high: float) -> float:
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _rate(random: Random, low: float, high: float) -> float:
    return 0.0 if random.random() < 0.5 else _log_uniform(random, low, high)


def _interval_us(random: Random, low_s: float, high_s: float) -> int:
    return 0 if random.random() < 0.3 else int(_log_uniform(random, low_s, high_s) * SECOND_US)


def _draw_network(random: Random) -> NetworkFaults:
    return NetworkFaults(
        delay_us_mean=int(_log_uniform(random, 300, 60_000)),
        loss=_rate(random, 0.002, 0.2),
        duplicate=_rate(random, 0.01, 0.3),
        hold=_rate(random, 0.01, 0.2),
        hold_us_max=int(_log_uniform(random, 0.2, 10) * SECOND_US),
        corrupt=_rate(random, 0.005, 0.1),
    )


def _draw_disk(random: Random) -> DiskFaults:
    return DiskFaults(
        latency_us_mean=int(_log_uniform(random, 100, 150_000)),
        stall=_rate(random, 0.002, 0.03),
        stall_us_max=int(_log_uniform(random, 0.3, 5) * SECOND_US),
        sync_error=_rate(random, 0.001, 0.01),
        rot_interval_us=_interval_us(random, 0.3, 4),
        segment_bytes=random.choice([96, 128, 256]) * 1024,
    )


def _draw_process(random: Random) -> ProcessFaults:
    return ProcessFaults(
        crash_interval_us=_interval_us(random, 0.4, 6),
        down_us_mean=int(_log_uniform(random, 0.02, 3) * SECOND_US),
        power_loss=random.choice([0.0, 0.5, 1.0]),
        fuse_effects_max=random.choice([1, 8, 30]),
        crash_all=random.choice([0.0, 0.0, 0.1, 0.5]),
        pause_interval_us=_interval_us(random, 2, 10),
        pause_us_max=int(_log_uniform(random, 0.1, 6) * SECOND_US),
        clock_rate_error=random.choice([0.0, 0.01, 0.2]),
        wall_clock_error_us=random.choice([0, MILLISECOND_US, 3600 * SECOND_US]),
        turn_us_max=random.choice([0, 0, 500, 20_000]),
        patience=random.choice([1.0, 0.4, 0.4, 0.2]),
        reset_seen=random.choice([0.0, 0.5, 1.0]),
    )


def _draw_partition(random: Random) -> PartitionFaults:
    return PartitionFaults(
        interval_us=_interval_us(random, 0.5, 6),
        duration_us_mean=int(_log_uniform(random, 0.2, 4) * SECOND_US),
        one_way=random.choice([0.0, 0.3, 1.0]),
        isolate_primary=random.choice([0.0, 0.3, 0.8]),
        clog_interval_us=_interval_us(random, 1, 8),
    )


def _draw_load(random: Random) -> Load:
    load = Load(
        clients=random.randint(1, 4),
        requests_per_client=random.randint(10, 120),
        window=random.choice([1, 1, 4, 16, 32]),
        think_us_mean=int(_log_uniform(random, 20, 500) * MILLISECOND_US),
        retry_us=int(_log_uniform(random, 0.1, 2) * SECOND_US),
        move=random.choice([0.0, 0.3, 1.0]),
        double=_rate(random, 0.01, 0.5),
        leave=_rate(random, 0.01, 0.1),
        body_bytes_max=random.choice([16, 200, 3000]),
        checkpoint_ops=random.choice([4, 8, 24, 200]),
        log_margin_ops=random.choice([0, 0, 4, 16]),
        read=random.choice([0.0, 0.3, 1.0]),
    )
    # Not drawn anew: seeds that were pinned before keep their story where history is whole.
    return msgspec.structs.replace(load, history_ops=(None, 16, 0)[load.requests_per_client % 3])
