"""How each server of the cluster is: measured here, told to the others every few seconds, kept as they told it.

    replicas, disk, readiness ─▶ PeerVitals ─▶ every linked peer        PeerVitals of peers ─▶ kept while their links stand

What a server says of its rooms is about those that it leads: each room is led once, so that sums over servers are right.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from typing import Final

import trio

from room_server import limits
from room_server.backup_state import read_backup_state
from room_server.errors import ConnectionCutError
from room_server.margin import member_lags, members_up
from room_server.monitor import living_replicas
from room_server.peers import PeerLinks
from room_server.status import spare_failures
from vr.host import Host
from vr.replica import Replica, Status
from vr.types import GroupId, ReplicaIndex
from wire import limits as wire_limits
from wire.ids import NODE_KEY_BYTES, NodeKey
from wire.peer_messages import NO_ROOM, PeerVitals
from wire.versions import PROTOCOL_VERSION

_ROOMS_AT_ONCE: Final = 500
_REASON_CHARACTERS_MAX: Final = 200
_NUMBERS_MAX: Final = 1 << 53
"""What is exact in JSON wherever it is read."""


class Vitals:
    """See the module.

    Args:
        node_key: this server's.
        version: of its software.
        host: whose replicas are looked at.
        is_room: whether a group is one.
        not_ready_because: why this node is not ready, or None.
        links: to tell, and to know whom to believe still.
        fellows: the other servers of the cluster. Peers that are none may be of a version that knows no such message.
        data: the data folder, to look at its disk and for copies.
        wall_us: the clock, unix microseconds.
    """

    def __init__(
        self,
        *,
        node_key: NodeKey,
        version: str,
        host: Host,
        is_room: Callable[[GroupId], bool],
        not_ready_because: Callable[[], str | None],
        links: PeerLinks,
        fellows: Callable[[], Collection[NodeKey]],
        data: str,
        wall_us: Callable[[], int],
    ) -> None:
        self._node_key = node_key
        self._version = version
        self._host = host
        self._is_room = is_room
        self._not_ready_because = not_ready_because
        self._links = links
        self._fellows = fellows
        self._data = data
        self._wall_us = wall_us
        self._told: dict[NodeKey, PeerVitals] = {}
        self._lost = trio.Event()
        self._unsettled_until = -math.inf

    async def run(self) -> None:
        """Measure and tell, until cancelled."""
        while True:
            own = await self.measure()
            self._told[self._node_key] = own
            for node_key in self._fellows():
                self._links.tell(node_key, own)
            self._lost = trio.Event()
            is_unsettled = trio.current_time() < self._unsettled_until
            with trio.move_on_after(limits.VITALS_UNSETTLED_S if is_unsettled else limits.VITALS_S):
                await self._lost.wait()
                await trio.sleep(limits.VITALS_UNSETTLED_S)  # The host has to hear of it, too.

    def on_lost(self) -> None:
        """A link is lost: rooms survive less than they did, and get other leaders."""
        self._unsettled_until = trio.current_time() + limits.VITALS_S
        self._lost.set()

    def on_link(self, node_key: NodeKey) -> None:
        """A link to a peer stands: it need not wait."""
        own = self._told.get(self._node_key)
        if own is not None and node_key in self._fellows():
            self._links.tell(node_key, own)

    def on_told(self, node_key: NodeKey, vitals: PeerVitals) -> None:
        """A peer says how it is.

        Raises:
            ConnectionCutError: out of bounds.
        """
        texts = (vitals.version, vitals.reason)
        numbers = (vitals.protocol, vitals.led, vitals.hosted, vitals.stopped, vitals.lag_ops, vitals.disk_free)
        if (
            any(not 0 <= number < _NUMBERS_MAX for number in numbers)
            or not -1 <= vitals.margin <= NO_ROOM
            or vitals.disk_free > 1000
            or not -1 <= vitals.backup_age_s < _NUMBERS_MAX
            or len(vitals.critical) > limits.CLUSTER_NODES_MAX
            or any(len(key) != NODE_KEY_BYTES for key in vitals.critical)
            or any(len(text) > _REASON_CHARACTERS_MAX or not text.isprintable() for text in texts)
            or len(vitals.version) > wire_limits.VERSION_CHARACTERS_MAX
        ):
            raise ConnectionCutError("protocol", "a peer's vitals are out of bounds")
        self._told[node_key] = vitals

    def known(self) -> dict[NodeKey, PeerVitals]:
        """How each server is that tells it now."""
        return {key: told for key, told in self._told.items() if key == self._node_key or self._links.is_up(key)}

    async def measure(self) -> PeerVitals:
        """How this server is."""
        led = hosted = stopped = lag_ops = 0
        margin = NO_ROOM
        critical: set[NodeKey] = set()
        for number, (group, replica) in enumerate(living_replicas(self._host)):
            if number % _ROOMS_AT_ONCE == _ROOMS_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            if not self._is_room(group) or replica.status is Status.RETIRED:
                continue
            hosted += 1
            spare = spare_failures(members_up(replica), replica.configuration.quorum)
            stopped += spare < 0
            if replica.is_primary:
                led += 1
                margin = min(margin, spare)
                lag_ops = max([lag_ops, *member_lags(replica).values()])
                critical |= critical_members(replica, spare)
        space = os.statvfs(self._data)
        return PeerVitals(
            version=self._version,
            protocol=PROTOCOL_VERSION,
            reason=(self._not_ready_because() or "")[:_REASON_CHARACTERS_MAX],
            led=led,
            hosted=hosted,
            stopped=stopped,
            margin=margin,
            lag_ops=lag_ops,
            disk_free=space.f_bavail * 1000 // max(space.f_blocks, 1),
            critical=tuple(sorted(critical))[: limits.CLUSTER_NODES_MAX],
            backup_age_s=_backup_age_s(self._data, self._wall_us()),
        )


def _backup_age_s(data: str, now_us: int) -> int:
    made_us = read_backup_state(data).made_us
    return max(now_us - made_us, 0) // 1_000_000 if made_us else -1


def critical_members(replica: Replica, spare: int) -> set[NodeKey]:
    """Members that work and without which a room would stop that survives `spare` failures."""
    if spare > 0:
        return set()
    return {
        NodeKey(member.node_key)
        for place, member in enumerate(replica.configuration.members)
        if place == replica.index or not replica.peer_standing(ReplicaIndex(place))[1]
    }
