"""How many more servers a room may lose, and how far the others are behind, seen from one replica. Pure."""

from __future__ import annotations

import msgspec

from room_server.status import spare_failures
from vr.replica import Replica, Status
from vr.types import ReplicaId, ReplicaIndex
from wire.ids import NodeKey


def members_up(replica: Replica) -> int:
    """Members of a group that this replica does not suspect, itself included."""
    others = (index for index in range(replica.configuration.size) if index != replica.index)
    return replica.configuration.is_member(replica.index) + sum(
        not replica.peer_standing(ReplicaIndex(index))[1] for index in others
    )


def room_margin(replica: Replica) -> int:
    """What clients attached here are told (`wire.messages.RoomCondition`): -1 when nothing they append can go on from here."""
    if replica.status is not Status.NORMAL:
        return -1
    return spare_failures(members_up(replica), replica.configuration.quorum)


def member_lags(replica: Replica) -> dict[NodeKey, int]:
    """By server key, the operations that each other member of a room led here has not acknowledged."""
    lags: dict[NodeKey, int] = {}
    for index, member in enumerate(replica.configuration.members):
        if index != replica.index:
            acknowledged, _ = replica.peer_standing(ReplicaIndex(index))
            lags[NodeKey(member.node_key)] = replica.head_op - max(acknowledged, 0)
    return lags


class Standing(msgspec.Struct, frozen=True):
    """A replica as the primary sees it. `is_close`: it has all but the newest operations on its disk."""

    is_close: bool
    is_suspected: bool


def standing_of(replica: Replica) -> dict[ReplicaId, Standing]:
    """All members and standbys as this replica, which leads, sees them; itself included."""
    configuration = replica.configuration
    standing = {}
    for place, member in enumerate(configuration.replicas):
        have, is_suspected = replica.peer_standing(ReplicaIndex(place)) if place != replica.index else (0, False)
        is_close = place == replica.index or (have >= 0 and have + configuration.pipeline_ops_max >= replica.head_op)
        standing[member.replica_id] = Standing(is_close, is_suspected)
    return standing
