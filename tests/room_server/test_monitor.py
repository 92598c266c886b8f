from __future__ import annotations

from pathlib import Path

import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from room_server.metrics import ROOM_STATES
from room_server.monitor import Monitor, is_catching_up, members_up, room_state
from room_server.room import RoomService
from tests.room_server.builders import ROOM_ID, genesis
from tests.room_server.test_hosting import append, hosting_on, record, room_of
from vr.configuration import Configuration, Member
from vr.replica import Replica, Restored
from vr.types import GroupId, ReplicaId, ReplicaIndex


def replica_of_three(index: int) -> Replica:
    members = tuple(Member(replica_id=ReplicaId(bytes([n]) * 16), node_key=b"") for n in range(3))
    configuration = Configuration(group=GroupId(ROOM_ID), members=members)
    return Replica(configuration, ReplicaIndex(index), RoomService(genesis()), Restored.fresh(), now=0.0, seed=1)


def test_state_of_a_room_follows_who_is_up() -> None:
    replica = replica_of_three(0)
    others = [ReplicaIndex(1), ReplicaIndex(2)]

    assert members_up(replica) == 3
    replica.suspect(others[0], 1.0)
    assert (members_up(replica), room_state(replica) in ROOM_STATES) == (2, True)
    replica.suspect(others[1], 1.0)

    assert (members_up(replica), room_state(replica)) == (1, "no_quorum")
    assert not is_catching_up(replica)


async def test_scrape_tells_of_rooms_disk_and_loop(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        await append(hosting, room_of(hosting), 5)
        monitor = Monitor(
            hosting._metrics, host=hosting.host, set_gauges=lambda: None, has_all_peers=lambda: True, data=str(tmp_path)
        )
        monitor._sample_disk()

        text = (await monitor.render_metrics()).decode()

    samples = {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["samtala_rooms['normal']"] == 1
    assert samples["samtala_rooms_led[]"] == 1
    assert samples["samtala_rooms_by_spare_failures['0']"] == 1
    assert samples["samtala_ops_committed_total['batch']"] == 6
    assert samples["samtala_wal_writes_total[]"] >= 6
    assert samples["samtala_storage_free_bytes[]"] > 0
    assert samples["samtala_trio_tasks[]"] > 1


async def test_readiness_says_what_is_missing(tmp_path: Path) -> None:
    has_link = False
    async with hosting_on(tmp_path) as hosting:
        monitor = Monitor(
            hosting._metrics, host=hosting.host, set_gauges=lambda: None, has_all_peers=lambda: has_link, data="/"
        )

        assert monitor.not_ready_because() == "not listening yet"
        monitor.is_listening = True
        assert monitor.not_ready_because() == "not all peers joined yet"
        has_link = True
        assert monitor.not_ready_because() is None
        monitor.is_draining = True
        assert monitor.not_ready_because() == "draining"


async def test_node_that_misses_peers_is_ready_after_a_while(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with hosting_on(tmp_path) as hosting:
        monitor = Monitor(
            hosting._metrics, host=hosting.host, set_gauges=lambda: None, has_all_peers=lambda: False, data="/"
        )
        monitor.is_listening = True

        await trio.sleep(11)

        assert monitor.not_ready_because() is None
