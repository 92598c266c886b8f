from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing

from room_server.backup_state import note_backup
from room_server.clients import ClientServer
from room_server.hosting import Hosting
from room_server.peers import PeerLinks
from room_server.report import DhtReport, RoomOrder
from room_server.reporter import NodeFacts, Reporter, worst_margin
from tests.room_server.test_hosting import append, hosting_on, record, room_of


def reporter_of(hosting: Hosting, data: Path) -> Reporter:
    facts = NodeFacts(name="a", version="1", protocol=1, address="a:1", replica_id="00", data=str(data))
    peers = PeerLinks(
        [],
        node_key=hosting._node_key,
        rooms=hosting.rooms,
        host_room=hosting.host_room,
        on_epochs=hosting.on_epochs,
        dial=None,  # type: ignore[arg-type]  # nobody is dialled
        metrics=hosting._metrics,
        random01=lambda: 0.5,
        wall_us=lambda: 0,
    )
    clients = ClientServer(None, None, nonce=bytes)  # type: ignore[arg-type]  # nobody connects
    return Reporter(
        facts,
        host=hosting.host,
        rooms=hosting.rooms,
        peers=peers,
        clients=clients,
        not_ready_because=lambda: "draining",
        dht=lambda: DhtReport(nodes=3, oldest_record_age_s=7.0),
    )


async def test_report_counts_rooms_and_says_what_the_worst_survives(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        reporter = reporter_of(hosting, tmp_path)
        empty = await reporter.node()
        await hosting.create_room(record(hosting))
        note_backup(str(tmp_path), made_us=1)
        report = await reporter.node()

    assert empty.backup is not None
    assert report.backup is not None
    assert (empty.backup.age_s, empty.backup.node_age_s) == (None, 0.0)
    assert (report.backup.age_s or 0.0) > 1e9
    assert report.backup.verified_age_s is None
    assert (empty.rooms.hosted, empty.rooms.margin, empty.rooms.at_margin) == (0, None, 0)
    assert (report.rooms.hosted, report.rooms.led, report.rooms.states) == (1, 1, {"normal": 1})
    assert (report.rooms.margin, report.rooms.at_margin) == (0, 1)
    assert report.not_ready_because == "draining"
    assert report.disk.data == str(tmp_path)
    assert report.dht == DhtReport(nodes=3, oldest_record_age_s=7.0)


@pytest.mark.parametrize("order", list(RoomOrder))
async def test_rates_are_what_grew_while_the_room_was_watched(tmp_path: Path, order: RoomOrder) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        room = room_of(hosting)
        reporter = reporter_of(hosting, tmp_path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, hosting, room, 5)
            [row] = await reporter.rooms(10, order, over_s=0.5)

    assert row.led
    assert row.ops_per_s * 0.5 == row.op > 0
    assert row.bytes_per_s > 0
    assert row.lag_ops == 0
    assert room.room_id.hex() not in repr(row)


async def test_only_so_many_rooms_are_told(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))

        assert await reporter_of(hosting, tmp_path).rooms(0, RoomOrder.RATE, over_s=0.0001) == []


def test_worst_room_is_what_counts() -> None:
    assert worst_margin(Counter({1: 40, 0: 2, 2: 7})) == (0, 2)
    assert worst_margin(Counter({-1: 1, 1: 5})) == (-1, 1)
    assert worst_margin(Counter()) == (None, 0)


async def test_room_that_gave_up_its_memory_is_told(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        await hosting.create_room(record(hosting))
        reporter = reporter_of(hosting, tmp_path)
        [group] = hosting.host.groups()
        warm = reporter.room(group.hex())
        hosting.host._hosted(group).is_cold = True
        cold, report = reporter.room(group.hex()), await reporter.node()

    assert warm is not None
    assert cold is not None
    assert (warm.cold, cold.cold, report.rooms.cold) == (False, True, 1)
