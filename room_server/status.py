"""What a node says about a room and about its cluster, built from plain facts. Pure."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many

import msgspec

from wire.ids import GroupEpoch, NodeKey, RoomEpoch, RoomId, Sequence
from wire.messages import ReplicaStatus, RoomStatus


class ReplicaFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A replica's own view of its group. `status` is a snake_case word; `primary` an index into `members`."""

    view: int
    status: str
    primary: int
    head_op: int
    commit_number: int
    quorum: int
    epoch: int = 0


class MemberFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A member as seen from here. `lag_ops`: operations it is behind this replica, -1 unknown."""

    node_key: NodeKey
    name: str
    up: bool
    lag_ops: int = -1
    replica_id: bytes = b""


class RoomFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The replicated state that is told to members."""

    room_id: RoomId
    epoch: RoomEpoch
    next_sequence: Sequence
    chain: bytes


def spare_failures(members_up: int, quorum: int) -> int:
    """How many more replicas may be lost before the room stops; -1 when it has stopped."""
    return max(members_up - quorum, -1)


def build_room_status(
    call: int, room: RoomFacts, replica: ReplicaFacts, members: Many[MemberFacts], standbys: Many[MemberFacts] = ()
) -> RoomStatus:
    """The answer to GetRoomStatus."""
    return RoomStatus(
        id=call,
        room_id=room.room_id,
        view=replica.view,
        status=replica.status,
        primary=members[replica.primary].node_key,
        op_number=replica.head_op,
        commit_number=replica.commit_number,
        epoch=room.epoch,
        next_sequence=room.next_sequence,
        chain=room.chain,
        spare_failures=spare_failures(sum(member.up for member in members), replica.quorum),
        replicas=tuple(map(_replica_status, members)),
        group_epoch=GroupEpoch(replica.epoch),
        standbys=tuple(map(_replica_status, standbys)),
    )


def _replica_status(member: MemberFacts) -> ReplicaStatus:
    return ReplicaStatus(member.node_key, member.name, member.up, member.lag_ops, member.replica_id)


def names_of(own: tuple[NodeKey, str], peers: Many[tuple[NodeKey, str]]) -> Callable[[NodeKey], str]:
    """A look-up from key to configured name; a stranger's name is the first hex digits of its key."""
    known = dict([*peers, own])
    return lambda key: known.get(key, key.hex()[:8])
