"""What a move plans; that it works is shown with real servers in tests/room_server/test_moves.py."""

from __future__ import annotations

import pytest
import trio

from client.errors import RefusedError, UnavailableError
from client.moving import plan_move, survey
from tests.wire.certificates import identity
from wire.certificate import Server
from wire.identity import ServerAddress
from wire.ids import GroupEpoch, RoomEpoch, RoomId, Sequence
from wire.messages import NodeAddress, ReplicaStatus, RoomStatus

ROOM = RoomId(b"r" * 16)


def node(name: int, *, met: bool = True) -> NodeAddress:
    replica_id = bytes([name]) * 16 if met else b""
    return NodeAddress(f"node {name}", identity(name).public, replica_id, f"192.0.2.{name}", 7600, True)


def replica(name: int) -> ReplicaStatus:
    return ReplicaStatus(identity(name).public, f"node {name}", True, 0, bytes([name]) * 16)


def status(voters: tuple[int, ...], standbys: tuple[int, ...] = ()) -> RoomStatus:
    return RoomStatus(
        1, ROOM, 0, "normal", identity(voters[0]).public, 0, 0, RoomEpoch(0), Sequence(1), b"", 1,
        tuple(map(replica, voters)), GroupEpoch(4), tuple(map(replica, standbys)),
    )  # fmt: skip


def names(servers: tuple[Server, ...]) -> list[int]:
    return [server.replica_id[0] for server in servers]


def test_newcomers_are_those_who_neither_vote_nor_stand_by() -> None:
    plan = plan_move(status((1, 2, 3), (4,)), [node(3), node(4), node(5)], [node(1)])

    assert (names(plan.now), names(plan.wanted), names(plan.newcomers)) == ([1, 2, 3], [3, 4, 5], [5])
    assert [(server.host, server.port) for server in plan.now] == [("192.0.2.1", 7600), ("", 1), ("", 1)]
    assert (plan.epoch, plan.margin_before, plan.margin_after) == (4, 1, 1)
    assert not plan.is_done


def test_room_that_is_where_it_is_wanted_needs_nothing() -> None:
    assert plan_move(status((1, 2, 3)), [node(3), node(2), node(1)], []).is_done
    assert not plan_move(status((1, 2, 3)), [node(2), node(1)], []).is_done


@pytest.mark.parametrize(
    "wanted", [[], [node(1), node(1)], [node(name) for name in range(1, 9)], [node(1), node(2, met=False)]]
)
def test_servers_that_cannot_be_are_refused(wanted: list[NodeAddress]) -> None:
    with pytest.raises(RefusedError):
        plan_move(status((1,)), wanted, [])


async def test_nobody_there_is_told() -> None:
    nowhere = ServerAddress("127.0.0.1", 1, identity(1).public)
    with trio.fail_after(10), pytest.raises(UnavailableError):
        await survey(ROOM, [nowhere])
