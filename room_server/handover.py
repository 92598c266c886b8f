"""Before a node goes: every group that it leads gets another leader, who is level with it. One view change each, planned.

A leader that just goes is missed first, and only then replaced; one that hands over is not missed at all.
"""

from __future__ import annotations

from itertools import islice

import trio

from room_server import limits
from vr.host import Host
from vr.replica import Replica
from vr.types import GroupId, ReplicaId, ReplicaIndex


def heirs(replica: Replica) -> list[ReplicaId]:
    """Members that seem alive, who has most of the log first."""
    configuration = replica.configuration
    others = [ReplicaIndex(index) for index in range(configuration.size) if index != replica.index]
    standing = {index: replica.peer_standing(index) for index in others}
    alive = sorted((index for index in others if not standing[index][1]), key=lambda index: -standing[index][0])
    return [configuration.members[index].replica_id for index in alive]


def led_groups(host: Host) -> list[GroupId]:
    """Groups that are led from here, and could be led from elsewhere."""
    return [
        group
        for group in host.groups()
        if host.replica(group).is_primary and host.replica(group).configuration.size > 1
    ]


async def hand_over(host: Host) -> int:
    """Hand over all groups that are led from here, a few at a time; returns how many are left. Bounded by HANDOVER_S_MAX."""
    with trio.move_on_after(limits.HANDOVER_S_MAX):
        while led := led_groups(host):
            for group in islice(led, limits.HANDOVERS_AT_ONCE):
                # One that is not level, or was asked a moment ago, is asked again.
                any(host.transfer_primary(group, heir) for heir in heirs(host.replica(group)))
            await trio.sleep(limits.HANDOVER_LOOK_S)
    return len(led_groups(host))
