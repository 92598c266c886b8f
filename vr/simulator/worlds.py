"""Directed worlds: what the swarm drew, bent towards one kind of trouble.

Most mutants die anywhere. Some break a rule that only matters when several unlikely things meet; in a world bent that way
they meet often. Each world is a function over the swarm of a seed, so a seed still varies everything that is not bent.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from vr.simulator.schedule import MILLISECOND_US, SECOND_US
from vr.simulator.swarm import Swarm

Bend = Callable[[Swarm], Swarm]


def late_replay(swarm: Swarm) -> Swarm:
    """Every fifth packet comes again, up to two seconds later; views change all the time, and nobody dies of it."""
    return replace(
        swarm,
        node_count=3,
        network=replace(swarm.network, delay_us_mean=5_000, hold=0.2, hold_us_max=2 * SECOND_US),
        process=replace(swarm.process, patience=0.2, crash_interval_us=0, pause_interval_us=0),
        partition=replace(swarm.partition, interval_us=SECOND_US // 2, duration_us_mean=SECOND_US // 4, one_way=0.3),
    )


def leases(swarm: Swarm) -> Swarm:
    """Long leases, many reads everywhere, and processes that come back sooner than the lease they granted is over."""
    return replace(
        swarm,
        node_count=3,
        lease_ms=4000,
        network=replace(swarm.network, delay_us_mean=2_000, loss=0.0),
        disk=replace(swarm.disk, latency_us_mean=2 * MILLISECOND_US, stall=0.0),
        process=replace(
            swarm.process,
            crash_interval_us=SECOND_US // 2,
            down_us_mean=20 * MILLISECOND_US,
            crash_all=0.0,
            pause_interval_us=0,
            clock_rate_error=0.0,
            patience=0.2,
        ),
        partition=replace(
            swarm.partition, interval_us=SECOND_US, duration_us_mean=2 * SECOND_US, one_way=0.0, isolate_primary=0.8
        ),
        load=replace(swarm.load, clients=4, requests_per_client=120, think_us_mean=50 * MILLISECOND_US, read=1.0),
    )


def deposed_with_a_tail(swarm: Swarm) -> Swarm:
    """A primary is cut off with a full pipeline; the others go on, take a checkpoint and keep no history below it."""
    return replace(
        swarm,
        node_count=3,
        pipeline_ops_max=8,
        network=replace(swarm.network, delay_us_mean=2_000, loss=0.0),
        disk=replace(swarm.disk, latency_us_mean=2 * MILLISECOND_US, stall=0.0, rot_interval_us=0),
        process=replace(swarm.process, patience=0.2, crash_interval_us=0, pause_interval_us=0),
        partition=replace(
            swarm.partition, interval_us=SECOND_US, duration_us_mean=SECOND_US // 2, one_way=0.0, isolate_primary=1.0
        ),
        load=replace(
            swarm.load,
            clients=10,
            requests_per_client=60,
            window=1,
            think_us_mean=100 * MILLISECOND_US,
            retry_us=SECOND_US,
            move=1.0,
            checkpoint_ops=2,
            log_margin_ops=0,
            history_ops=0,
        ),
    )


def torn_tails(swarm: Swarm) -> Swarm:
    """Several small frames of one size are under way when the power fails: the first may be torn and the next one whole."""
    return replace(
        swarm,
        node_count=3,
        pipeline_ops_max=8,
        network=replace(swarm.network, delay_us_mean=2_000, loss=0.0),
        disk=replace(swarm.disk, latency_us_mean=60 * MILLISECOND_US, rot_interval_us=0, split=1.0),
        process=replace(
            swarm.process,
            crash_interval_us=SECOND_US // 6,
            down_us_mean=20 * MILLISECOND_US,
            power_loss=1.0,
            fuse_effects_max=8,
            crash_all=0.5,
        ),
        load=replace(
            swarm.load,
            clients=6,
            requests_per_client=120,
            window=1,
            think_us_mean=10 * MILLISECOND_US,
            body_bytes_max=16,
            checkpoint_ops=200,
        ),
    )


def rotten_tails(swarm: Swarm) -> Swarm:
    """Disks rot as fast as they may, processes die, primaries are cut off with what they have just committed."""
    return replace(
        swarm,
        node_count=3,
        network=replace(swarm.network, delay_us_mean=3_000, loss=0.1),
        disk=replace(swarm.disk, latency_us_mean=2 * MILLISECOND_US, stall=0.0, rot_interval_us=SECOND_US // 4),
        process=replace(
            swarm.process,
            crash_interval_us=SECOND_US // 2,
            down_us_mean=100 * MILLISECOND_US,
            crash_all=0.1,
            patience=0.2,
        ),
        partition=replace(
            swarm.partition,
            interval_us=SECOND_US // 2,
            duration_us_mean=SECOND_US // 2,
            one_way=0.3,
            isolate_primary=0.3,
        ),
        load=replace(swarm.load, clients=3, requests_per_client=120, window=2, checkpoint_ops=24),
    )


def interrupted_transfers(swarm: Swarm) -> Swarm:
    """Laggards are brought back by snapshots of many small chunks over slow links, and processes die on the way."""
    return replace(
        swarm,
        node_count=3,
        network=replace(swarm.network, delay_us_mean=40_000, loss=0.05),
        disk=replace(swarm.disk, latency_us_mean=2 * MILLISECOND_US, stall=0.0),
        process=replace(
            swarm.process,
            crash_interval_us=SECOND_US // 2,
            down_us_mean=SECOND_US // 4,
            crash_all=0.0,
            power_loss=0.5,
            pause_interval_us=0,
            patience=0.4,
        ),
        partition=replace(swarm.partition, interval_us=2 * SECOND_US, duration_us_mean=SECOND_US // 2, one_way=0.0),
        load=replace(
            swarm.load,
            clients=4,
            requests_per_client=120,
            window=4,
            think_us_mean=200 * MILLISECOND_US,
            checkpoint_ops=8,
            log_margin_ops=0,
            history_ops=0,
            chunk_bytes=64,
        ),
    )


def full_disks(swarm: Swarm) -> Swarm:
    """Disks run full and are cleared again, writes go astray, processes die of both."""
    troubled = rotten_tails(swarm)
    return replace(
        troubled,
        disk=replace(
            troubled.disk,
            misdirected=1.0,
            fill_interval_us=3 * SECOND_US // 2,
            full_us_mean=SECOND_US,
            segment_bytes=96 * 1024,
        ),
        load=replace(troubled.load, body_bytes_max=3000),
    )


def deposed_readers(swarm: Swarm) -> Swarm:
    """Primaries are cut off for seconds while everybody goes on reading, at them too."""
    return replace(
        swarm,
        node_count=3,
        lease_ms=0,
        network=replace(swarm.network, delay_us_mean=2_000, loss=0.0),
        disk=replace(swarm.disk, latency_us_mean=2 * MILLISECOND_US, stall=0.0, rot_interval_us=0),
        process=replace(swarm.process, patience=0.2, crash_interval_us=0, pause_interval_us=0),
        partition=replace(
            swarm.partition, interval_us=2 * SECOND_US, duration_us_mean=2 * SECOND_US, one_way=0.0, isolate_primary=1.0
        ),
        load=replace(swarm.load, clients=4, requests_per_client=120, think_us_mean=50 * MILLISECOND_US, read=1.0),
    )


def often_other_members(swarm: Swarm) -> Swarm:
    """Five nodes whose members change all the time, while processes die and slow disks make it matter."""
    return replace(
        swarm,
        node_count=5,
        epoch_interval_us=SECOND_US // 4,
        network=replace(swarm.network, delay_us_mean=3_000),
        disk=replace(swarm.disk, latency_us_mean=30 * MILLISECOND_US),
        process=replace(swarm.process, patience=0.2, crash_interval_us=SECOND_US // 2, crash_all=0.3, power_loss=1.0),
    )


def divided_epochs(swarm: Swarm) -> Swarm:
    """As often_other_members, and primaries are cut off while nodes stay away for long: epochs end without them."""
    changing = often_other_members(swarm)
    return replace(
        changing,
        network=replace(changing.network, delay_us_mean=5_000, loss=0.05),
        disk=replace(changing.disk, latency_us_mean=20 * MILLISECOND_US, rot_interval_us=0),
        process=replace(
            changing.process, down_us_mean=SECOND_US // 2, crash_all=0.1, power_loss=0.5, pause_interval_us=0
        ),
        partition=replace(
            changing.partition, interval_us=SECOND_US, duration_us_mean=SECOND_US // 2, one_way=0.3, isolate_primary=0.5
        ),
        load=replace(changing.load, clients=4, requests_per_client=120, think_us_mean=50 * MILLISECOND_US),
    )
