"""Spreads the cluster's rooms over its servers, when an operator says so: the plan, and as much of it as may be under way.

    plan(without) ─▶ Census ─▶ `plan_rebalance` ─▶ RebalanceReport
    begin(without) ─▶ the same, and PlaceRooms on the roster ─▶ `room_server.placing` on each server ─▶ … ─▶ begin again
    stop ─▶ what is not there yet stays where it is

Rooms that are on their way count as if they were there, so that the plan does not change with each that arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec
import structlog

from room_server import limits
from room_server.census import Census
from room_server.cluster import Cluster
from room_server.cluster_admin import REFUSALS
from room_server.cluster_report import RebalanceReport, RoomChangeReport, ServerLoad
from room_server.errors import ClusterError
from room_server.logs import room_label
from room_server.rebalancing import RebalancePlan, RoomChange, plan_rebalance
from room_server.roster import Operation, Placement, PlaceRooms, RoomsPlaced, RosterCode, RosterState
from wire.ids import NodeKey
from wire.peer_messages import PeerVitals, RoomPlace

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_DISK_FREE_MIN: Final = 100
"""Per mille of its disk that a server has free which gets rooms."""


class Rebalancer:
    """See the module.

    Args:
        cluster: this server's.
        census: which rooms there are.
        own: this server's key.
        vitals: how each server is that is linked, as it told.
    """

    def __init__(
        self,
        cluster: Cluster,
        census: Census,
        *,
        own: Callable[[], NodeKey],
        vitals: Callable[[], Mapping[NodeKey, PeerVitals]],
    ) -> None:
        self._cluster = cluster
        self._census = census
        self._own = own
        self._vitals = vitals

    async def plan(self, without: Collection[str]) -> RebalanceReport:
        """What there would be to do, if the servers of these names shall have no rooms.

        Raises:
            ClusterError: no cluster, no such server, or one does not answer.
        """
        roster = self._roster
        rooms = await self._census.take(self._own())
        return self._report(roster, rooms, self._plan(roster, rooms, without), placed=())

    async def begin(self, without: Collection[str]) -> RebalanceReport:
        """Have rooms placed, as many as may be on their way. See `plan`.

        Raises:
            ClusterError: as `plan`, or the roster cannot be changed now.
        """
        roster = self._roster
        rooms = await self._census.take(self._own())
        plan = self._plan(roster, rooms, without)
        chosen = plan.changes[: limits.PLACEMENTS_MAX - len(roster.placements)]
        for first in range(0, len(chosen), limits.PLACEMENTS_AT_ONCE_MAX):
            some = chosen[first : first + limits.PLACEMENTS_AT_ONCE_MAX]
            wishes = tuple(Placement(change.room_id, change.then) for change in some)
            await self._perform(PlaceRooms(self._own(), wishes))
        log.info("cluster_rebalanced", begun=len(chosen), left=len(plan.changes) - len(chosen))
        return self._report(self._roster, rooms, plan, placed=chosen)

    async def stop(self) -> RebalanceReport:
        """Let rooms that are on their way stay where they are.

        Raises:
            ClusterError: no cluster, or the roster cannot be changed now.
        """
        rooms = tuple(placement.room for placement in self._roster.placements)
        if rooms:
            await self._perform(RoomsPlaced(self._own(), rooms))
        return await self.plan(())

    async def _perform(self, operation: Operation) -> None:
        code = await self._cluster.perform(operation)
        if code not in {RosterCode.DONE, RosterCode.NOT_PLACED}:  # They may have arrived in this moment.
            raise ClusterError(REFUSALS[code])

    @property
    def _roster(self) -> RosterState:
        return self._cluster.needed_roster

    def _plan(self, roster: RosterState, rooms: Iterable[RoomPlace], without: Collection[str]) -> RebalancePlan:
        names = {node.name: node.node_key for node in roster.nodes}
        strangers = sorted(set(without) - names.keys())
        if strangers:
            raise ClusterError(f"no server {strangers[0]!r} in the cluster; there are {', '.join(names)}")
        leaving = {names[name] for name in without}
        on_way = {placement.room: placement.servers for placement in roster.placements}
        return plan_rebalance(
            [msgspec.structs.replace(room, servers=on_way.get(room.room_id, room.servers)) for room in rooms],
            able=[key for key in names.values() if key not in leaving and not self._why_none(key)],
            leaving=leaving,
            replicas=roster.policy.replicas,
        )

    def _why_none(self, node_key: NodeKey) -> str:
        """Why a server cannot take rooms now, in words; empty if it can."""
        vitals = self._vitals().get(node_key)
        if vitals is None:
            return "it is down"
        return vitals.reason or ("its disk is almost full" if vitals.disk_free < _DISK_FREE_MIN else "")

    def _report(
        self, roster: RosterState, rooms: Collection[RoomPlace], plan: RebalancePlan, *, placed: Collection[RoomChange]
    ) -> RebalanceReport:
        names = {node.node_key: node.name for node in roster.nodes}

        def named(keys: Iterable[NodeKey]) -> tuple[str, ...]:
            return tuple(names.get(key, key.hex()[:8]) for key in keys)

        now = {key: sum(key in room.servers for room in rooms) for key in names}
        return RebalanceReport(
            rooms=len(rooms),
            changes=tuple(
                RoomChangeReport(room=room_label(change.room_id), now=named(change.now), then=named(change.then))
                for change in plan.changes[: limits.ADMIN_ROOMS_MAX]
            ),
            changes_in_all=len(plan.changes),
            placed=tuple(room_label(change.room_id) for change in placed),
            under_way=tuple(room_label(placement.room) for placement in roster.placements),
            leaderless=tuple(map(room_label, plan.leaderless[: limits.ADMIN_ROOMS_MAX])),
            held=tuple(map(room_label, plan.held[: limits.ADMIN_ROOMS_MAX])),
            pinned=tuple(map(room_label, plan.pinned[: limits.ADMIN_ROOMS_MAX])),
            servers=tuple(
                ServerLoad(name=name, now=now[key], then=plan.loads.get(key), why_none=self._why_none(key))
                for key, name in names.items()
            ),
        )
