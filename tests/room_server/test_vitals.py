from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from room_server import limits
from room_server.backup_state import note_backup
from room_server.errors import ConnectionCutError
from room_server.hosting import Hosting
from room_server.peers import PeerLinks
from room_server.vitals import Vitals, critical_members
from tests.room_server.test_hosting import KEY, hosting_on, record
from tests.room_server.test_monitor import replica_of_three
from vr.types import ReplicaIndex
from wire.ids import NodeKey
from wire.peer_messages import NO_ROOM, PeerVitals

PEER = NodeKey(b"p" * 32)
TOLD = PeerVitals("0.1.0", 1, "", 1, 2, 0, 1, 0, 500)


def vitals_of(hosting: Hosting, data: Path) -> Vitals:
    links = PeerLinks(
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
    return Vitals(
        node_key=KEY,
        version="0.1.0",
        host=hosting.host,
        is_room=lambda _: True,
        not_ready_because=lambda: "draining",
        links=links,
        fellows=tuple,
        wall_us=lambda: 10_000_000,
        data=str(data),
    )


async def test_a_server_tells_of_the_rooms_that_it_leads(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        vitals = vitals_of(hosting, tmp_path)
        empty = await vitals.measure()
        await hosting.create_room(record(hosting))
        note_backup(str(tmp_path), made_us=7_000_000)
        told = await vitals.measure()

    assert (empty.backup_age_s, told.backup_age_s) == (-1, 3)
    assert (empty.led, empty.hosted, empty.margin, empty.critical) == (0, 0, NO_ROOM, ())
    assert (told.led, told.hosted, told.stopped, told.margin, told.lag_ops) == (1, 1, 0, 0, 0)
    assert told.critical == (KEY,)
    assert (told.version, told.reason) == ("0.1.0", "draining")
    assert 0 < told.disk_free <= 1000


async def test_the_loss_of_a_link_is_told_at_once(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting, trio.open_nursery() as nursery:
        vitals = vitals_of(hosting, tmp_path)
        nursery.start_soon(vitals.run)
        while KEY not in vitals.known():
            await trio.testing.wait_all_tasks_blocked(0.01)
        await hosting.create_room(record(hosting))

        with trio.fail_after(limits.VITALS_S / 2):
            while vitals.known()[KEY].hosted == 0:
                vitals.on_lost()
                await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()


def test_servers_are_critical_when_no_other_may_fail() -> None:
    replica = replica_of_three(0)
    assert critical_members(replica, 1) == set()

    replica.suspect(ReplicaIndex(2), 1.0)

    assert critical_members(replica, 0) == {b"0" * 32, replica.configuration.members[1].node_key}


async def test_what_a_peer_told_counts_while_its_link_stands(tmp_path: Path) -> None:
    async with hosting_on(tmp_path) as hosting:
        vitals = vitals_of(hosting, tmp_path)
        vitals.on_told(PEER, TOLD)

        assert vitals.known() == {}, "there is no link"


@pytest.mark.parametrize(
    "told",
    [
        PeerVitals("v" * 65, 1, "", 1, 2, 0, 1, 0, 500),
        PeerVitals("1", 1, "\x1b[2J", 1, 2, 0, 1, 0, 500),
        PeerVitals("1", 1, "r" * 300, 1, 2, 0, 1, 0, 500),
        PeerVitals("1", 1, "", 1, 2, 0, 1, 0, 500, (NodeKey(b"short"),)),
        PeerVitals("1", 1, "", 1, 2, 0, 1, 0, 500, (PEER,) * (limits.CLUSTER_NODES_MAX + 1)),
        PeerVitals("1", 1, "", -1, 2, 0, 1, 0, 500),
        PeerVitals("1", 1, "", 1, 2, 0, 1, 0, 1001),
        PeerVitals("1", 1, "", 1, 2**60, 0, 1, 0, 5),
        PeerVitals("1", 1, "", 1, 2, 0, 1, 0, 5, (), -2),
    ],
)
async def test_vitals_out_of_bounds_end_the_link(tmp_path: Path, told: PeerVitals) -> None:
    async with hosting_on(tmp_path) as hosting:
        with pytest.raises(ConnectionCutError):
            vitals_of(hosting, tmp_path).on_told(PEER, told)
