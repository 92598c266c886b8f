"""Gathers what a node says about itself (`room_server.report`), when somebody asks.

    replicas, links, disk, DHT ─▶ Reporter ─▶ NodeReport (one screen), RoomReport (one row of `top`), RoomDetail

Only the loop may look at replicas, so it does, some hundred at a time; the disk is looked at in a worker thread. Nothing is
kept between questions: who wants rates waits while the rooms are watched.
"""

from __future__ import annotations

import heapq
import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final, assert_never

import msgspec
import trio

from room_server import limits
from room_server.backup_state import read_backup_state
from room_server.clients import ClientServer
from room_server.logs import room_label
from room_server.margin import member_lags, members_up
from room_server.metrics import ROOM_STATES
from room_server.monitor import living_replicas, room_state, stored_bytes
from room_server.peers import PeerLinks
from room_server.report import (
    BackupReport,
    ClientsReport,
    DhtReport,
    DiskReport,
    MemberReport,
    NodeReport,
    PeerReport,
    ReachReport,
    RoomDetail,
    RoomOrder,
    RoomReport,
    RoomsReport,
    RouterReport,
)
from room_server.rooms import Rooms
from room_server.setup import IDENTITY_NAME
from room_server.status import spare_failures
from vr.host import Host
from vr.replica import Replica, Status
from vr.types import GroupId, ReplicaIndex
from wire.identity import format_node_address
from wire.ids import NodeKey

_ROOMS_AT_ONCE: Final = 500
_MS: Final = 1e3
_US: Final = 1e6


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while a node runs."""

    name: str
    version: str
    protocol: int
    address: str
    replica_id: str
    data: str


class Reporter:
    """Gathers reports.

    Args:
        facts: what does not change.
        host: whose replicas are told.
        rooms: the rooms hosted here.
        peers: the links.
        clients: the connections.
        not_ready_because: why this node is not ready, or None.
        dht: how discovery is, or None where it is off.
        router: what the home router does for us, or None where it is not asked.
        reach: whether others reach us, or None where nobody is expected to.
        is_room: whether a group is a room; the cluster's own is none.
    """

    def __init__(
        self,
        facts: NodeFacts,
        *,
        host: Host,
        rooms: Rooms,
        peers: PeerLinks,
        clients: ClientServer,
        not_ready_because: Callable[[], str | None],
        dht: Callable[[], DhtReport | None],
        router: Callable[[], RouterReport | None] = lambda: None,
        reach: Callable[[], ReachReport | None] = lambda: None,
        is_room: Callable[[GroupId], bool] = lambda _: True,
    ) -> None:
        self._facts = facts
        self._host = host
        self._rooms = rooms
        self._peers = peers
        self._clients = clients
        self._not_ready_because = not_ready_because
        self._dht = dht
        self._router = router
        self._reach = reach
        self._is_room = is_room
        self._started_at = trio.current_time()

    async def node(self) -> NodeReport:
        """One screen."""
        lags = dict.fromkeys(self._peers.peers, 0)
        rooms = await self._gather_rooms(lags)
        disk = await trio.to_thread.run_sync(_disk, self._facts.data, self._host.is_disk_full)
        backup = await trio.to_thread.run_sync(_backup, self._facts.data, time.time())
        facts = self._facts
        return NodeReport(
            name=facts.name,
            version=facts.version,
            protocol=facts.protocol,
            pid=os.getpid(),
            address=facts.address,
            replica_id=facts.replica_id,
            uptime_s=trio.current_time() - self._started_at,
            not_ready_because=self._not_ready_because(),
            rooms=rooms,
            peers=tuple(
                PeerReport(
                    name=peer.name,
                    address=f"{peer.host}:{peer.port}",
                    up=self._peers.is_up(key),
                    lag_ops=lags[key],
                    rtt_ms=_milliseconds(self._peers.round_trip_s(key)),
                    clock_offset_s=self._peers.clock_offset_s(key),
                    node=format_node_address(peer.host, peer.port, key),
                )
                for key, peer in self._peers.peers.items()
            ),
            disk=disk,
            clients=ClientsReport(connections=len(self._clients), waiting_bytes=self._clients.send_queue_bytes),
            dht=self._dht(),
            router=self._router(),
            backup=backup,
            reach=self._reach(),
        )

    async def rooms(self, count_max: int, order: RoomOrder, *, over_s: float = limits.RATE_OVER_S) -> list[RoomReport]:
        """The first rooms in an order, watched for `over_s` seconds to know their rates."""
        before = {group: (int(replica.head_op), self._published(group)) async for group, replica in self._replicas()}
        await trio.sleep(over_s)
        ranked: list[tuple[float, int, bytes]] = []
        async for group, replica in self._replicas():
            op, published = before.get(group, (replica.head_op, 0))
            grown = (replica.head_op - op, self._published(group) - published)
            ranked.append((_rank(replica, order, grown), replica.head_op, group))
            before[group] = grown
        chosen = heapq.nlargest(count_max, ranked)
        here = set(self._host.groups())  # One may have left in the meantime.
        groups = [GroupId(group) for _, _, group in chosen if group in here]
        return [self._room(group, before[group], over_s) for group in groups]

    def room(self, label: str) -> RoomDetail | None:
        """Everything about one room, found by its label or the first digits of its id; None if there is none."""
        for group, replica in living_replicas(self._host):
            if label and (room_label(group) == label or group.hex().startswith(label)):
                return self._detail(group, replica)
        return None

    def _detail(self, group: GroupId, replica: Replica) -> RoomDetail:
        names = {key: peer.name for key, peer in self._peers.peers.items()}
        standstill = replica.why_not_progressing()
        lags = member_lags(replica) if replica.is_primary else {}
        members = []
        room, quota = self._rooms.get(group), self._rooms.quota().stored_bytes
        for index, member in enumerate(replica.configuration.members):
            key, here = NodeKey(member.node_key), index == replica.index
            members.append(
                MemberReport(
                    name=self._facts.name if here else names.get(key, key.hex()[:8]),
                    here=here,
                    leads=index == replica.primary_index,
                    up=here or not replica.peer_standing(ReplicaIndex(index))[1],
                    lag_ops=lags.get(key),
                )
            )
        return RoomDetail(
            room=self._room(group, (0, 0), 1.0),
            why_not_progressing=None if standstill is None else standstill.sentence,
            applied=replica.applied_op,
            view_changes=replica.view_changes,
            members=tuple(members),
            cold=self._host.is_cold(group),
            stored_bytes=0 if room is None else room.service.stored_bytes,
            quota_bytes=None if quota == math.inf else int(quota),
        )

    def _published(self, group: GroupId) -> int:
        room = self._rooms.get(group)
        return 0 if room is None else room.feed.published_bytes

    def _room(self, group: GroupId, grown: tuple[int, int], over_s: float) -> RoomReport:
        replica = self._host.replica(group)
        room = self._rooms.get(group)
        return RoomReport(
            room=room_label(group),
            state=room_state(replica),
            led=replica.is_primary,
            view=replica.view,
            op=replica.head_op,
            commit=replica.commit_number,
            margin=_margin(replica),
            lag_ops=_worst_lag(replica),
            subscribers=0 if room is None else room.feed.live_count,
            ops_per_s=grown[0] / over_s,
            bytes_per_s=grown[1] / over_s,
        )

    async def _replicas(self) -> AsyncIterator[tuple[GroupId, Replica]]:
        for number, (group, replica) in enumerate(living_replicas(self._host)):
            if self._is_room(group):
                yield group, replica
            if number % _ROOMS_AT_ONCE == _ROOMS_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()

    async def _gather_rooms(self, lags: dict[NodeKey, int]) -> RoomsReport:
        """Count rooms; raises each peer's lag in `lags` to what it is in a room led here."""
        states: Counter[str] = Counter()
        margins: Counter[int] = Counter()
        led = diverged = undecidable = cold = 0
        async for group, replica in self._replicas():
            states[room_state(replica)] += 1
            cold += self._host.is_cold(group)
            if replica.status is Status.RETIRED:
                continue  # The room is elsewhere now, and its margin is told there.
            margins[_margin(replica)] += 1
            diverged += replica.divergence is not None
            undecidable += replica.undecided is not None and replica.undecided.is_final
            if replica.is_primary:
                led += 1
                for key, lag_ops in member_lags(replica).items():
                    if key in lags:
                        lags[key] = max(lags[key], lag_ops)
        worst, at_worst = worst_margin(margins)
        return RoomsReport(
            hosted=states.total(),
            led=led,
            states={state: states[state] for state in ROOM_STATES if states[state]},
            margin=worst,
            at_margin=at_worst,
            diverged=diverged,
            undecidable=undecidable,
            cold=cold,
            damaged=len(self._host.damaged),
        )


def worst_margin(margins: Counter[int]) -> tuple[int | None, int]:
    """The smallest margin and how many rooms have it, from the number of rooms by margin; (None, 0) without rooms."""
    worst = min(margins, default=None)
    return (None, 0) if worst is None else (worst, margins[worst])


def _margin(replica: Replica) -> int:
    return spare_failures(members_up(replica), replica.configuration.quorum)


def _worst_lag(replica: Replica) -> int:
    return max(member_lags(replica).values(), default=0) if replica.is_primary else 0


def _rank(replica: Replica, order: RoomOrder, grown: tuple[int, int]) -> float:
    """How far up a room belongs; `grown`: its operations and bytes of late; ties go to the older room."""
    match order:
        case RoomOrder.RATE:
            return grown[0]
        case RoomOrder.BYTES:
            return grown[1]
        case RoomOrder.LAG:
            return _worst_lag(replica)
        case RoomOrder.MARGIN:
            return -_margin(replica)
        case _:
            assert_never(order)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * _MS, 3)


def _disk(data: str, full: bool) -> DiskReport:
    stored = stored_bytes(data)
    space = os.statvfs(data)
    return DiskReport(
        data=data,
        free_bytes=space.f_bavail * space.f_frsize,
        total_bytes=space.f_blocks * space.f_frsize,
        log_bytes=stored["log"],
        history_bytes=stored["history"],
        full=full,
    )


def _backup(data: str, now_s: float) -> BackupReport:
    state = read_backup_state(data)
    return BackupReport(
        age_s=_age_s(state.made_us, now_s),
        verified_age_s=_age_s(state.verified_us, now_s),
        node_age_s=max(now_s - _born_s(data, now_s), 0.0),
    )


def _age_s(made_us: int, now_s: float) -> float | None:
    return max(now_s - made_us / _US, 0.0) if made_us else None


def _born_s(data: str, now_s: float) -> float:
    """When the server was made: nothing writes its key again."""
    try:
        return os.stat(os.path.join(data, IDENTITY_NAME)).st_mtime
    except OSError:
        return now_s
