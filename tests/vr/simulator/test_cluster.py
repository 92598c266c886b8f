"""Whole worlds: quiet ones go right, planted trouble is found, what the story says really happened."""

import itertools

import pytest

from vr.simulator import cluster as cluster_module
from vr.simulator.cluster import Cluster, run_seed
from vr.simulator.schedule import MILLISECOND_US, SECOND_US
from vr.simulator.story import Telling
from vr.simulator.swarm import DiskFaults, Load, NetworkFaults, PartitionFaults, ProcessFaults, Swarm

QUIET = Swarm(storm_us=2 * SECOND_US)
ROUGH = Swarm(
    storm_us=4 * SECOND_US,
    network=NetworkFaults(
        delay_us_mean=5_000, loss=0.02, duplicate=0.05, hold=0.02, hold_us_max=SECOND_US, corrupt=0.02
    ),
    disk=DiskFaults(
        latency_us_mean=5_000, stall=0.01, stall_us_max=SECOND_US, sync_error=0.005, rot_interval_us=SECOND_US
    ),
    process=ProcessFaults(
        crash_interval_us=500 * MILLISECOND_US,
        down_us_mean=200 * MILLISECOND_US,
        fuse_effects_max=8,
        pause_interval_us=SECOND_US,
        pause_us_max=300 * MILLISECOND_US,
        clock_rate_error=0.01,
        wall_clock_error_us=SECOND_US,
        turn_us_max=500,
        patience=0.4,
    ),
    partition=PartitionFaults(interval_us=SECOND_US, duration_us_mean=500 * MILLISECOND_US, clog_interval_us=SECOND_US),
    load=Load(clients=3, requests_per_client=100, think_us_mean=50 * MILLISECOND_US, double=0.1, leave=0.02),
)


@pytest.mark.parametrize("node_count", [1, 2, 3, 5])
def test_a_quiet_world_answers_every_request_in_one_view(node_count: int) -> None:
    world = Cluster(1, swarm=Swarm(node_count=node_count, storm_us=2 * SECOND_US), telling=Telling.EVENTS)

    outcome = world.run()

    assert outcome.violation is None
    until_some_are_frozen = itertools.takewhile(lambda line: "calm:" not in line, outcome.story)
    assert not [line for line in until_some_are_frozen if "VIEW_CHANGE" in line]
    assert [client.answered for client in world.clients] == [client.given_up + 21 for client in world.clients]


def test_every_kind_of_trouble_strikes_somewhere() -> None:
    seen = set()
    for seed in range(8):
        outcome = Cluster(seed, swarm=ROUGH).run()
        assert outcome.violation is None, str(outcome.violation)
        seen |= outcome.counts.keys()

    assert {"killed", "poisoned", "pause", "partition", "clog", "rot", "checkpoint", "corrupt_refused"} <= seen


def test_a_story_names_starts_deaths_and_the_end_of_the_storm() -> None:
    story = "\n".join(Cluster(1, swarm=ROUGH, telling=Telling.EVENTS).run().story)

    assert "started: " in story
    assert "killed" in story
    assert "must recover" in story


def test_telling_does_not_change_what_happens() -> None:
    assert run_seed(3).trace == run_seed(3, telling=Telling.MESSAGES).trace


def test_a_bug_in_the_code_under_test_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_data: bytes) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("vr.simulator.process.decode", broken)
    outcome = Cluster(1, swarm=QUIET).run()

    assert outcome.violation is not None
    assert outcome.violation.check == "crashed"
    assert "planted" in outcome.violation.detail


def test_a_group_that_does_not_recover_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vr.view_change.wants_to_leave", lambda _: False)
    monkeypatch.setattr(cluster_module, "CONVERGE_US", 5 * SECOND_US)
    outcomes = [Cluster(seed, swarm=QUIET).run().violation for seed in range(40)]

    assert any(violation is not None and violation.check == "converges" for violation in outcomes)


def test_a_world_without_end_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "EVENTS_MAX", 50)

    violation = Cluster(1, swarm=QUIET).run().violation

    assert violation is not None
    assert violation.check == "livelock"
