from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from room_server.backup_state import note_backup
from room_server.hosting import Hosting
from room_server.metrics import ROOM_STATES
from room_server.monitor import (
    Monitor,
    is_catching_up,
    living_replicas,
    members_up,
    note_lags,
    room_state,
    stored_bytes,
)
from room_server.room import RoomService
from tests.room_server.builders import ROOM_ID, genesis
from tests.room_server.test_hosting import append, hosting_on, record, room_of
from vr.configuration import Configuration, Member
from vr.log import Request
from vr.replica import Replica, Restored
from vr.types import ClientId, GroupId, ReplicaId, ReplicaIndex, RequestNumber, SessionNumber
from wire.ids import NodeKey

PEER_KEY = NodeKey(b"1" * 32)


def replica_of_three(index: int) -> Replica:
    keys = (b"0" * 32, PEER_KEY, b"2" * 32)
    members = tuple(Member(replica_id=ReplicaId(bytes([n]) * 16), node_key=keys[n]) for n in range(3))
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


def monitor_of(
    hosting: Hosting, *, has_all_peers: Callable[[], bool] = lambda: True, data: str = "/nowhere"
) -> Monitor:
    return Monitor(
        hosting._metrics,
        host=hosting.host,
        set_gauges=lambda: None,
        has_all_peers=has_all_peers,
        peer_names=lambda: {PEER_KEY: "b"},
        is_room=lambda _: True,
        data=data,
    )


async def test_scrape_tells_of_rooms_disk_and_loop(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        await append(hosting, room_of(hosting), 5)
        monitor = monitor_of(hosting, data=str(tmp_path))
        hosting.host.statistics.snapshots_installed = 2
        monitor._draw_durations()
        note_backup(str(tmp_path), made_us=1_700_000_000_500_000)

        text = (await monitor.render_metrics()).decode()

    samples = {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["samtala_rooms['normal']"] == 1
    assert samples["samtala_rooms_led[]"] == 1
    assert samples["samtala_rooms_cold[]"] == 0
    assert samples["samtala_damaged_rooms[]"] == 0
    assert samples["samtala_snapshots_total['received']"] == 2
    assert samples["samtala_rooms_by_spare_failures['0']"] == 1
    assert samples["samtala_ops_committed_total['batch']"] == 6
    assert samples["samtala_wal_writes_total[]"] >= 6
    assert samples["samtala_wal_fsync_duration_seconds_count[]"] >= 6
    assert samples["samtala_wal_bytes_total[]"] > 300
    assert samples["samtala_storage_bytes['log']"] >= 4096
    assert samples["samtala_storage_bytes['history']"] >= 4096
    assert samples["samtala_commit_duration_seconds_count[]"] >= 6
    assert samples["samtala_storage_free_bytes[]"] > 0
    assert samples["samtala_storage_full[]"] == 0
    assert samples["samtala_backup_last_success_timestamp_seconds[]"] == 1_700_000_000.5
    assert samples["samtala_backup_verified_timestamp_seconds[]"] == 0
    assert samples["samtala_diverged_rooms[]"] == 0
    assert samples["samtala_trio_tasks[]"] > 1


async def test_readiness_says_what_is_missing(tmp_path: Path) -> None:
    has_link = False
    async with hosting_on(tmp_path) as hosting:
        monitor = monitor_of(hosting, has_all_peers=lambda: has_link)

        assert monitor.not_ready_because() == "not listening yet"
        monitor.is_listening = True
        assert monitor.not_ready_because() == "not all peers joined yet"
        has_link = True
        assert monitor.not_ready_because() is None
        hosting.host._loop.writer.free_bytes = -1
        assert monitor.not_ready_because() == "the disk is nearly full"
        monitor.drain(is_draining=True)
        assert monitor.not_ready_because() == "draining"


async def test_node_that_misses_peers_is_ready_after_a_while(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with hosting_on(tmp_path) as hosting:
        monitor = monitor_of(hosting, has_all_peers=lambda: False)
        monitor.is_listening = True

        await trio.sleep(11)

        assert monitor.not_ready_because() is None


def test_lag_of_a_peer_is_what_it_has_not_acknowledged() -> None:
    replica = next(found for found in map(replica_of_three, range(3)) if found.is_primary)
    lags = {"b": 0}
    note_lags(replica, {PEER_KEY: "b"}, lags)
    assert lags == {"b": 0}

    replica.submit([Request(ClientId(bytes(16)), SessionNumber(0), RequestNumber(0), b"")], 0.0)
    while (ready := replica.ready(0.0)) is not None:
        if ready.token is not None:
            replica.storage_done(ready.token, 0.0)
    note_lags(replica, {PEER_KEY: "b"}, lags)

    assert lags == {"b": 0 if replica.index == 1 else 1}


def test_files_that_are_not_there_take_no_space() -> None:
    assert stored_bytes("/nowhere") == {"log": 0, "history": 0, "other": 0}


async def test_room_that_is_forgotten_between_scrapes_takes_nothing_down(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        monitor = monitor_of(hosting, data=str(tmp_path))
        monitor._view_changes_seen = 5
        [(group, _)] = living_replicas(hosting.host)
        replicas = living_replicas(hosting.host)
        await hosting.host.forget_group(group)

        assert list(replicas) == []
        assert b"samtala_view_changes_total 0.0" in await monitor.render_metrics()


async def test_rooms_that_sleep_or_cannot_run_are_counted(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        [group] = hosting.host.groups()
        hosting.host._hosted(group).is_cold = True
        hosting.host._damaged[GroupId(b"d" * 16)] = "promises were lost"

        text = (await monitor_of(hosting, data=str(tmp_path)).render_metrics()).decode()

    assert "samtala_rooms_cold 1.0" in text
    assert "samtala_damaged_rooms 1.0" in text
