from __future__ import annotations

import pytest

from room_server.status import MemberFacts, ReplicaFacts, RoomFacts, build_room_status, names_of, spare_failures
from wire.ids import NodeKey, RoomEpoch, RoomId, Sequence
from wire.messages import decode, encode


@pytest.mark.parametrize(("up", "spare"), [(3, 1), (2, 0), (1, -1), (0, -1)])
def test_spare_failures_of_three(up: int, spare: int) -> None:
    assert spare_failures(up, 2) == spare


def test_status_tells_primary_margin_and_members() -> None:
    keys = [NodeKey(bytes([index]) * 32) for index in range(3)]
    room = RoomFacts(room_id=RoomId(b"r" * 16), epoch=RoomEpoch(4), next_sequence=Sequence(9), chain=b"c" * 32)
    replica = ReplicaFacts(view=7, status="normal", primary=1, head_op=12, commit_number=11, quorum=2)
    members = [MemberFacts(node_key=key, name=str(index), up=index != 2) for index, key in enumerate(keys)]

    status = build_room_status(3, room, replica, members)

    assert (status.primary, status.spare_failures, status.epoch, status.op_number) == (keys[1], 0, 4, 12)
    assert [(replica.name, replica.up, replica.lag_ops) for replica in status.replicas] == [
        ("0", True, -1),
        ("1", True, -1),
        ("2", False, -1),
    ]
    assert decode(encode(status)) == status


def test_strangers_are_named_by_their_key() -> None:
    own, peer, stranger = (NodeKey(bytes([index]) * 32) for index in range(3))

    name = names_of((own, "a"), [(peer, "b")])

    assert [name(own), name(peer), name(stranger)] == ["a", "b", "02020202"]
