"""Brings rooms to the servers where their cluster wants them: each server those rooms that it leads.

    placement on the roster ─▶ `next_step` ─┬─ newcomers stand by         (Place in the room's log; `room_server.moving` carries it out)
                                            ├─ wait until they have everything
                                            ├─ the wanted servers have the vote
                                            └─ done, or it cannot be ─▶ RoomsPlaced

Whoever leads the room goes on where the one before was, for all that is known is on the roster and in the room's own log. A
room never survives fewer failures for it: the vote is given only when as many as now could fail then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum

import structlog
import trio

from room_server import limits
from room_server.cluster import Cluster
from room_server.errors import ClusterError
from room_server.group_client import GroupClient
from room_server.logs import room_label
from room_server.margin import Standing, standing_of
from room_server.rooms import HostedRoom, Rooms
from room_server.roster import Placement, RoomsPlaced
from vr.configuration import Configuration
from vr.host import Host
from vr.ready import Rejected, Reply
from vr.replica import Replica, Status
from vr.types import ClientId, GroupId, ReplicaId
from wire.certificate import Server
from wire.errors import DecodeError
from wire.ids import GroupEpoch, NodeKey, RoomId
from wire.room import Place, ResultKind, decode_result, encode_control_block, move_of

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Halt(Enum):
    """Nothing is to be said in the room's log now."""

    DONE = "done"
    WAIT = "wait"
    """Newcomers catch up, or a server has to come back first."""
    NEVER = "never"
    """A server is wanted that nobody knows, or the room would survive less."""


def next_step(
    configuration: Configuration,
    wanted: Collection[NodeKey],
    *,
    standing: Mapping[ReplicaId, Standing],
    places: Mapping[NodeKey, Server],
) -> Place | Halt:
    """What brings a room nearer to where it is wanted.

    Args:
        configuration: the room's of now.
        wanted: keys of the servers that it shall have.
        standing: of its members and standbys, as who leads it sees them.
        places: where servers are.
    """
    members = [NodeKey(member.node_key) for member in configuration.members]
    if set(wanted) == set(members):
        return Halt.DONE
    if any(key not in places for key in (*wanted, *members)) or (len(wanted) - 1) // 2 < (len(members) - 1) // 2:
        return Halt.NEVER
    epoch = GroupEpoch(configuration.epoch + 1)
    known = {NodeKey(member.node_key): member.replica_id for member in configuration.replicas}
    if any(key not in known for key in wanted):
        comers = tuple(places[key] for key in wanted if key not in members)
        return Place(epoch=epoch, servers=tuple(places[key] for key in members), standbys=comers)
    states = {key: standing[replica_id] for key, replica_id in known.items()}
    if any(not states[key].is_close for key in wanted if key not in members):
        return Halt.WAIT
    if _margin(wanted, states) < _margin(members, states):
        return Halt.WAIT
    return Place(epoch=epoch, servers=tuple(places[key] for key in wanted))


def _margin(keys: Collection[NodeKey], states: Mapping[NodeKey, Standing]) -> int:
    """Failures that these servers survive now."""
    return sum(not states[key].is_suspected for key in keys) - (len(keys) // 2 + 1)


class Placing:
    """See the module.

    Args:
        cluster: whose roster is followed.
        rooms: of this node.
        own: this server's key.
        entropy: so many random bytes.
    """

    def __init__(
        self, cluster: Cluster, rooms: Rooms, *, own: Callable[[], NodeKey], entropy: Callable[[int], bytes]
    ) -> None:
        self._cluster = cluster
        self._rooms = rooms
        self._own = own
        self._entropy = entropy
        self._clients: dict[RoomId, GroupClient] = {}
        """One for each room that is on its way and led here."""
        rooms.on_unrouted = self._on_answer

    async def run(self, host: Host) -> None:
        """Follow the roster until cancelled."""
        while True:
            roster = self._cluster.roster
            placements = () if roster is None else roster.placements
            await self._act(host, placements)
            with trio.move_on_after(limits.PLACE_LOOK_S if placements else float("inf")):
                await self._cluster.news()

    async def _act(self, host: Host, placements: Iterable[Placement]) -> None:
        wanted = {placement.room: placement for placement in placements}
        self._clients = {room_id: client for room_id, client in self._clients.items() if room_id in wanted}
        over: list[RoomId] = []
        for placement in wanted.values():
            room = self._rooms.get(placement.room)
            replica = None if room is None else host.replica(room.group)
            if room is None or replica is None or not replica.is_primary or replica.status is not Status.NORMAL:
                continue
            try:
                if await self._bring(host, room, replica, placement):
                    over.append(room.room_id)
            except ClusterError as error:
                log.warning("room_not_placed_yet", room=room_label(room.room_id), reason=str(error))
        if over:
            await self._tell(over)

    async def _tell(self, over: list[RoomId]) -> None:
        try:
            await self._cluster.perform(RoomsPlaced(self._own(), tuple(over)))
        except ClusterError as error:
            log.warning("rooms_placed_not_told", reason=str(error))

    async def _bring(self, host: Host, room: HostedRoom, replica: Replica, placement: Placement) -> bool:
        """One step; tells whether nothing is left to do."""
        step = next_step(
            replica.configuration, placement.servers, standing=standing_of(replica), places=self._places(room, replica)
        )
        label = room_label(room.room_id)
        match step:
            case Halt.WAIT:
                return False
            case Halt.DONE:
                log.info("room_placed", room=label, epoch=replica.configuration.epoch)
                return True
            case Halt.NEVER:
                log.warning("room_cannot_be_placed", room=label, reason="it would survive less, or a server is unknown")
                return True
            case Place() if _is_under_way(room, step):
                return False
            case Place():
                return await self._say(host, room, step)

    async def _say(self, host: Host, room: HostedRoom, place: Place) -> bool:
        """Put it into the room's log; tells whether the room refuses for good."""
        client = self._clients.setdefault(room.room_id, self._new_client(host, room))
        block = encode_control_block(room.service.epoch, place)
        try:
            result = decode_result(await client.call(block))
        except DecodeError as error:
            raise ClusterError(f"an answer that is none: {error}") from error
        log.info(
            "room_placing", room=room_label(room.room_id), epoch=place.epoch, servers=len(place.servers),
            standbys=len(place.standbys), result=result.kind.name.lower(),
        )  # fmt: skip
        return result.kind is ResultKind.FORBIDDEN

    def _places(self, room: HostedRoom, replica: Replica) -> dict[NodeKey, Server]:
        """Where the room's servers and those of the cluster are; what the roster says is newer."""
        book = {server.node_key: server for server in room.book.servers.servers}
        found = {
            NodeKey(member.node_key): Server(
                member.replica_id, NodeKey(member.node_key), *_address(book, member.node_key)
            )
            for member in replica.configuration.replicas
        }
        roster = self._cluster.roster
        for node in () if roster is None else roster.nodes:
            known = found.get(node.node_key)
            replica_id = node.replica_id if known is None else known.replica_id
            found[node.node_key] = Server(replica_id, node.node_key, node.host, node.port)
        return found

    def _new_client(self, host: Host, room: HostedRoom) -> GroupClient:
        group = room.group
        return GroupClient(
            ClientId(self._entropy(16)),
            submit=lambda request: host.submit(group, [request]),
            forget=lambda client, session: host.forget(group, client, session),
            silence="a majority of the room's servers does not answer",
        )

    def _on_answer(self, group: GroupId, answer: Reply | Rejected) -> None:
        client = self._clients.get(RoomId(group))
        if client is not None:
            client.on_answer(answer)


def _is_under_way(room: HostedRoom, place: Place) -> bool:
    """It was said already, or the owner has said something else, who goes first."""
    move = room.service.move
    return move is not None and move.epoch == place.epoch and (move == move_of(place) or move.descriptor != b"")


def _address(book: Mapping[NodeKey, Server], node_key: bytes) -> tuple[str, int]:
    server = book.get(NodeKey(node_key))
    return ("", 1) if server is None else (server.host, server.port)
