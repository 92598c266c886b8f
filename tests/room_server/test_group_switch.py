from __future__ import annotations

from types import SimpleNamespace

import pytest

from room_server.cluster import Cluster
from room_server.errors import StartError
from room_server.feed import RingBudget
from room_server.group_switch import GroupSwitch
from room_server.hosting import Hosting
from room_server.metrics import NodeMetrics
from room_server.room import RoomService
from room_server.roster import GENESIS_MARK, RosterService, cluster_id, encode_genesis
from tests.room_server.epochs import moved_room
from tests.room_server.rosters import GENESIS, record
from tests.wire.certificates import identity
from vr.types import GroupId
from wire.certificate import sign_statement
from wire.room import encode_genesis as encode_room


def switch() -> GroupSwitch:
    rooms = Hosting(
        node_key=identity(1).public,
        sign=lambda statement: sign_statement(statement, identity(1)),
        rooms_max=9,
        budget=RingBudget(),
        metrics=NodeMetrics(version="0", peers=[]),
        on_created=lambda _: None,
        wall_us=lambda: 0,
    )
    links = SimpleNamespace(follow=lambda _: None, tell=lambda *_: False)
    cluster = Cluster(own=lambda: record(1), links=links, file=None, entropy=bytes)
    return GroupSwitch(rooms, cluster)


def test_groups_go_where_their_genesis_says() -> None:
    groups = switch()
    encoded = encode_genesis(GENESIS)
    room = moved_room()

    cluster_group, room_group = GroupId(cluster_id(encoded)), GroupId(room.room_id)
    assert isinstance(groups.service_of(cluster_group, encoded), RosterService)
    assert isinstance(groups.service_of(room_group, encode_room(room)), RoomService)
    assert (groups.is_room(cluster_group), groups.is_room(room_group)) == (False, True)


@pytest.mark.parametrize("genesis", [GENESIS_MARK, b"rotten"])
def test_a_genesis_that_has_rotted_is_named_at_start(genesis: bytes) -> None:
    with pytest.raises(StartError, match="has rotted"):
        switch().service_of(GroupId(b"g" * 16), genesis)
