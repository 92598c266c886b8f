"""A simulated node lives, dies and comes back."""

from functools import partial

from vr.simulator.cluster import Cluster
from vr.simulator.process import HEARTBEAT, Process
from vr.simulator.schedule import SECOND_US
from vr.simulator.swarm import Load, ProcessFaults, Swarm
from vr.types import ReplicaIndex


def world(**faults: float) -> Cluster:
    process = ProcessFaults(down_us_mean=SECOND_US // 10, **faults)  # type: ignore[arg-type]  # rates by name
    cluster = Cluster(1, swarm=Swarm(process=process, load=Load(requests_per_client=200)))
    for node in cluster.processes:
        node.start()
    for client in cluster.clients:
        client.start()
    return cluster


def run(cluster: Cluster, seconds: float = 2.0) -> None:
    schedule = cluster.world.schedule
    schedule.run(schedule.now_us + int(seconds * SECOND_US))


def is_down(process: Process) -> bool:
    return not process.is_running


def test_a_lit_fuse_kills_after_so_many_effects_and_the_process_restarts() -> None:
    cluster = world()
    run(cluster)
    cluster.processes[0].light_fuse(3)
    run(cluster, 5)

    assert cluster.world.counts["killed"] == 1
    assert cluster.world.counts["start"] == 4
    assert cluster.processes[0].is_running


def test_every_effect_is_a_place_to_die() -> None:
    """Fuses of all small lengths: some of these kills hit between write and sync, some between two messages."""
    heads = set()
    for effects in range(12):
        cluster = world(power_loss=1.0)
        run(cluster, 1)
        cluster.processes[0].light_fuse(effects)
        cluster.world.schedule.run(4 * SECOND_US, stop=partial(is_down, cluster.processes[0]))
        disk = cluster.world.checkers.ledger.disks[0]
        heads.add((cluster.world.schedule.now_us, disk.head))

    assert len(heads) > 4


def test_a_paused_process_does_nothing_and_then_works_off_what_waited() -> None:
    cluster = world()
    run(cluster)
    paused = cluster.processes[0]
    paused.pause(SECOND_US)
    assert paused.replica is not None
    before = paused.replica.head_op
    run(cluster, 0.9)
    during = paused.replica.head_op
    run(cluster, 3)

    assert during == before
    assert paused.replica.head_op > before


def test_a_frozen_process_never_returns() -> None:
    cluster = world()
    run(cluster)
    cluster.processes[2].freeze()
    run(cluster)
    cluster.processes[2].start()

    assert not cluster.processes[2].is_running
    assert cluster.processes[2].summary() == "node 2 down"


def test_a_failed_sync_ends_the_process() -> None:
    cluster = world()
    run(cluster)
    cluster.processes[1].file_system.sync_error = 1.0
    cluster.world.schedule.run(9 * SECOND_US, stop=partial(is_down, cluster.processes[1]))

    assert cluster.world.counts["poisoned"] == 1
    cluster.processes[1].calm()
    run(cluster, 3)
    assert cluster.processes[1].is_running


def test_silence_is_noticed_and_a_heartbeat_forgives() -> None:
    cluster = world()
    run(cluster, 0.1)
    cluster.network.isolate(2)
    run(cluster, 5)
    replica = cluster.processes[0].replica
    assert replica is not None
    silent = replica.peer_standing(ReplicaIndex(2))[1]
    cluster.network.unblock_all()
    cluster.processes[0].receive(2, HEARTBEAT)
    run(cluster, 0.001)

    assert silent
    assert not replica.peer_standing(ReplicaIndex(2))[1]


def test_checkpoints_are_saved_and_survive() -> None:
    cluster = world()
    run(cluster, 9)
    checkpoint = cluster.processes[0].history.checkpoint
    cluster.processes[0].light_fuse(0)
    run(cluster, 3)
    replica = cluster.processes[0].replica

    assert checkpoint is not None
    assert replica is not None
    assert replica.applied_op >= checkpoint.op
