"""Which servers of a cluster replicate its roster, as the roster and its group change. Pure.

| servers on the roster | decide | stand by |
|---|---|---|
| 1 | 1 | |
| 2 | 1 | 1: two that both have to be there would be worse than one |
| 3, 4 | 3 | 0, 1 |
| 5 and more | 5 | none; the others are told what the roster is |

A newcomer stands by first and gets a vote when it has caught up, and only together with another one where a vote alone
would make the number even. Who left the roster goes at once. A server that is merely down keeps its vote: it may come back.
"""

from __future__ import annotations

from collections.abc import Iterable

from room_server import limits
from room_server.margin import Standing
from vr.configuration import Configuration, Member
from vr.types import ReplicaId
from wire.cluster import NodeRecord


def voters_of(nodes: int) -> int:
    """How many of so many servers decide."""
    if nodes >= limits.CLUSTER_VOTERS_MAX:
        return limits.CLUSTER_VOTERS_MAX
    return 3 if nodes >= 3 else 1


def next_configuration(
    current: Configuration, nodes: Iterable[NodeRecord], standing: dict[ReplicaId, Standing], *, own: ReplicaId
) -> Configuration | None:
    """What should follow the group's configuration of now; None: it is as it should be, or has to wait.

    Args:
        current: of now.
        nodes: the roster, those who came first at the front.
        standing: of the members and standbys of now.
        own: who leads, and asks.
    """
    listed = tuple(Member(ReplicaId(node.replica_id), node.node_key) for node in nodes)
    voters = _voters(current, listed, standing)
    if not voters:
        return None
    others = [standby for standby in current.standbys if standby in listed and standby not in voters]
    others += [member for member in listed if member not in voters and member not in others]
    standbys = tuple(others[: limits.CLUSTER_VOTERS_MAX - len(voters)])
    if set(voters) == set(current.members) and set(standbys) == set(current.standbys):
        return None
    leads = next((place for place, member in enumerate(voters) if member.replica_id == own), -1)
    return current.successor(voters, standbys, first_primary=leads)


def _voters(
    current: Configuration, listed: tuple[Member, ...], standing: dict[ReplicaId, Standing]
) -> tuple[Member, ...]:
    wanted = voters_of(len(listed))
    kept = [member for member in current.members if member in listed]
    if len(kept) > wanted:
        kept = sorted(kept, key=lambda member: _is_suspected(member, standing))[:wanted]
    ready = [
        member
        for member in current.standbys
        if member in listed and not _is_suspected(member, standing) and standing[member.replica_id].is_close
    ]
    grown = kept + ready[: wanted - len(kept)]
    if len(grown) > len(kept) and len(grown) % 2 == 0:
        grown.pop()  # One more that has to agree, and no failure more that is survived.
    return tuple(grown)


def _is_suspected(member: Member, standing: dict[ReplicaId, Standing]) -> bool:
    known = standing.get(member.replica_id)
    return known is None or known.is_suspected
