"""The simulated network does to packets what it was told, and nothing else."""

from collections import Counter
from random import Random

from vr.simulator.network import Network
from vr.simulator.schedule import SECOND_US, Schedule
from vr.simulator.swarm import NetworkFaults


class Links:
    """A network under test with everything that came out of it."""

    def __init__(self, faults: NetworkFaults, *, node_count: int = 3) -> None:
        self.schedule = Schedule()
        self.arrived: list[tuple[int, int, bytes, int]] = []
        self.damaged: list[bytes] = []
        self.network = Network(
            self.schedule,
            Random(1),
            faults=faults,
            node_count=node_count,
            deliver=lambda source, target, data: self.arrived.append((source, target, data, self.schedule.now_us)),
            corrupt=self.damaged.append,
        )

    def send_many(self, count: int = 1000) -> None:
        for number in range(count):
            self.network.send(0, 1, b"%d" % number)
        self.schedule.run(until_us=self.schedule.now_us + 100 * SECOND_US)


def test_without_faults_everything_arrives_once() -> None:
    links = Links(NetworkFaults())

    links.send_many()

    assert sorted(data for _, _, data, _ in links.arrived) == sorted(b"%d" % number for number in range(1000))
    assert min(when for *_, when in links.arrived) >= 100


def test_exponential_delays_reorder() -> None:
    links = Links(NetworkFaults())

    links.send_many()

    assert [data for _, _, data, _ in links.arrived] != [b"%d" % number for number in range(1000)]


def test_loses_and_doubles_at_the_drawn_rate() -> None:
    links = Links(NetworkFaults(loss=0.2, duplicate=0.5))

    links.send_many()

    counts = Counter(data for _, _, data, _ in links.arrived)
    assert 700 < len(counts) < 900
    assert 300 < sum(count == 2 for count in counts.values()) < 500
    assert links.network.lost == 1000 - len(counts)


def test_holds_packets_for_seconds() -> None:
    links = Links(NetworkFaults(hold=0.1, hold_us_max=10 * SECOND_US))

    links.send_many()

    assert any(when > 5 * SECOND_US for *_, when in links.arrived)
    assert links.network.held == len(links.arrived) - 1000


def test_damage_goes_to_the_decoder_and_never_to_a_replica() -> None:
    links = Links(NetworkFaults(corrupt=0.3))

    links.send_many()

    assert len(links.damaged) == links.network.corrupted > 200
    assert {data for _, _, data, _ in links.arrived} == {b"%d" % number for number in range(1000)}


def test_partitions_cut_the_named_links_until_healed() -> None:
    links = Links(NetworkFaults())
    links.network.split({0}, one_way=True)

    assert links.network.is_blocked(0, 1)
    assert links.network.is_blocked(0, 2)
    assert not links.network.is_blocked(1, 0)
    assert not links.network.is_blocked(1, 2)

    links.network.isolate(2)
    assert links.network.is_blocked(1, 2)
    assert links.network.is_blocked(2, 1)
    links.send_many(10)
    assert links.arrived == []
    links.network.unblock_all()
    links.send_many(10)
    assert len(links.arrived) == 10


def test_a_clogged_link_delivers_when_the_clog_is_over() -> None:
    links = Links(NetworkFaults(delay_us_mean=10))
    links.network.clog(0, 1, duration_us=SECOND_US)

    links.send_many(10)

    assert len(links.arrived) == 10
    assert min(when for *_, when in links.arrived) >= SECOND_US


def test_calm_ends_all_faults() -> None:
    links = Links(NetworkFaults(loss=0.9, duplicate=0.9, corrupt=0.9, hold=0.9, hold_us_max=SECOND_US))
    links.network.isolate(0)
    links.network.calm()

    links.send_many(100)

    assert len(links.arrived) == 100
    assert links.damaged == []
