"""Drawing worlds."""

from pathlib import Path
from random import Random

from vr.simulator.swarm import Swarm, draw_later, draw_swarm, later_random

PINNED_FILE = Path(__file__).parents[2] / "simulation" / "pinned_seeds.txt"
PINNED_THEN = 24  # when later additions began to be drawn


def swarms() -> list[Swarm]:
    return [draw_swarm(Random(seed)) for seed in range(300)]


def test_the_same_seed_draws_the_same_world() -> None:
    assert swarms() == swarms()


def test_each_fault_is_absent_in_some_worlds_and_present_in_others() -> None:
    drawn = swarms()
    rates = {
        "loss": [swarm.network.loss for swarm in drawn],
        "duplicate": [swarm.network.duplicate for swarm in drawn],
        "hold": [swarm.network.hold for swarm in drawn],
        "corrupt": [swarm.network.corrupt for swarm in drawn],
        "stall": [swarm.disk.stall for swarm in drawn],
        "sync_error": [swarm.disk.sync_error for swarm in drawn],
        "rot": [swarm.disk.rot_interval_us for swarm in drawn],
        "crash": [swarm.process.crash_interval_us for swarm in drawn],
        "pause": [swarm.process.pause_interval_us for swarm in drawn],
        "partition": [swarm.partition.interval_us for swarm in drawn],
        "clog": [swarm.partition.clog_interval_us for swarm in drawn],
    }

    for name, values in rates.items():
        absent = sum(value == 0 for value in values)
        assert 60 < absent < 240, name


def test_calm_worlds_have_no_faults() -> None:
    for swarm in swarms():
        network, disk = swarm.network.calmed(), swarm.disk.calmed()
        assert (network.loss, network.duplicate, network.hold, network.corrupt) == (0, 0, 0, 0)
        assert (disk.stall, disk.sync_error, disk.rot_interval_us) == (0, 0, 0)


def test_groups_have_one_to_five_members_and_mostly_three() -> None:
    counts = [swarm.node_count for swarm in swarms()]

    assert set(counts) == {1, 2, 3, 5}
    assert counts.count(3) > 150


def test_what_was_added_later_leaves_pinned_seeds_alone_and_is_drawn_for_others() -> None:
    pinned = [int(line.split()[0]) for line in PINNED_FILE.read_text().splitlines() if line[:1].isdigit()]
    drawn = [draw_later(later_random(seed), Swarm()) for seed in range(200)]

    assert sum(swarm.disk.fill_interval_us > 0 for swarm in drawn) > 20
    assert sum(swarm.disk.misdirected > 0 for swarm in drawn) > 20
    assert all(draw_later(later_random(seed), Swarm()) == Swarm() for seed in pinned[:PINNED_THEN])
