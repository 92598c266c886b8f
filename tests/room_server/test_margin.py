from __future__ import annotations

from room_server.margin import members_up, room_margin
from tests.room_server.test_monitor import replica_of_three
from vr.replica import Status
from vr.types import ReplicaIndex


def test_margin_falls_with_every_member_that_is_suspected() -> None:
    replica = replica_of_three(0)
    assert (members_up(replica), room_margin(replica)) == (3, 1)

    replica.suspect(ReplicaIndex(1), 1.0)
    assert (members_up(replica), room_margin(replica)) == (2, 0)

    replica.suspect(ReplicaIndex(2), 1.0)
    assert (members_up(replica), room_margin(replica)) == (1, -1)


def test_nothing_can_be_appended_from_a_replica_in_a_view_change() -> None:
    replica = replica_of_three(1)
    assert room_margin(replica) == 1

    replica._state.status = Status.VIEW_CHANGE

    assert room_margin(replica) == -1
