"""The node as client connections see it (`rooms.Backend`): replication behind, facts about room and cluster in front."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from room_server.hosting import Hosting
from room_server.letterboxes import LetterBoxes
from room_server.margin import room_margin
from room_server.metrics import NodeMetrics
from room_server.peers import PeerLinks
from room_server.rooms import HostedRoom, Rooms
from room_server.status import MemberFacts, ReplicaFacts, RoomFacts, build_room_status, names_of
from vr.log import Request
from vr.types import ClientId, ReplicaIndex, SessionNumber
from wire.ids import NodeKey
from wire.messages import NodeAddress, NodeInfo, RoomStatus


def wall_us() -> int:
    """The clock, unix microseconds."""
    return time.time_ns() // 1000


class NodeFace:
    """See `rooms.Backend`. `own` is this server as clients dial it; its replica id is known once the host is open.

    `room_servers`: how many a new room should have, 0 if nobody says.
    """

    def __init__(
        self,
        *,
        own: NodeAddress,
        hosting: Hosting,
        peers: Callable[[], PeerLinks],
        metrics: NodeMetrics,
        room_servers: Callable[[], int],
    ) -> None:
        self.name = own.name
        self.node_key: NodeKey = own.node_key
        self.rooms: Rooms = hosting.rooms
        self.letters = LetterBoxes()
        self.metrics = metrics
        self._own = own
        self._hosting = hosting
        self._peers = peers
        self._room_servers = room_servers

    def submit(self, room: HostedRoom, requests: list[Request]) -> None:
        """Hand requests to replication; see `Hosting.submit`."""
        self._hosting.submit(room, requests)

    def forget(self, room: HostedRoom, client: ClientId, session: SessionNumber) -> None:
        """Nobody here waits for this session any more."""
        self._hosting.forget(room, client, session)

    def node_info(self, call: int) -> NodeInfo:
        """The servers of this cluster, this one first."""
        links = self._peers()
        others = (
            NodeAddress(
                peer.name,
                peer.node_key,
                links.replica_id(peer.node_key),
                peer.host,
                peer.port,
                links.is_up(peer.node_key),
            )
            for peer in links.peers.values()
        )
        return NodeInfo(call, (self._own, *others), self._room_servers())

    def room_status(self, call: int, room: HostedRoom) -> RoomStatus:
        """How a room is, seen from here."""
        links = self._peers()
        replica = self._hosting.host.replica(room.group)
        name = names_of((self.node_key, self.name), [(peer.node_key, peer.name) for peer in links.peers.values()])
        service = room.service
        members = []
        for index, member in enumerate(replica.configuration.replicas):
            key = NodeKey(member.node_key)
            is_self = index == replica.index
            acknowledged, suspected = (
                (replica.head_op, False) if is_self else replica.peer_standing(ReplicaIndex(index))
            )
            lag_ops = max(replica.head_op - acknowledged, 0) if acknowledged >= 0 else -1
            members.append(
                MemberFacts(
                    node_key=key,
                    name=name(key),
                    up=is_self or not suspected,
                    lag_ops=lag_ops,
                    replica_id=member.replica_id,
                )
            )
        standstill = replica.why_not_progressing()
        return build_room_status(
            call,
            RoomFacts(
                room_id=room.room_id, epoch=service.epoch, next_sequence=service.next_sequence, chain=service.chain
            ),
            ReplicaFacts(
                view=replica.view,
                status=replica.status.name.lower() if standstill is None else standstill.reason.value,
                primary=replica.primary_index,
                head_op=replica.head_op,
                commit_number=replica.commit_number,
                quorum=replica.configuration.quorum,
                epoch=replica.configuration.epoch,
            ),
            members[: replica.configuration.size],
            members[replica.configuration.size :],
        )

    def room_margin(self, room: HostedRoom) -> int:
        """See `margin.room_margin`; -1 for a room that has left while somebody was in it."""
        if self.rooms.get(room.room_id) is not room:
            return -1
        return room_margin(self._hosting.host.replica(room.group))

    def wall_us(self) -> int:
        """The clock, unix microseconds."""
        return wall_us()

    def now(self) -> float:
        """Monotonic seconds."""
        return trio.current_time()
