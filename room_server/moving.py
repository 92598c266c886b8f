"""How rooms come to other servers: the owner's wish is carried out, and everybody concerned is told.

    wish in the room's log ─▶ who leads the room ends the epoch, as soon as enough of the next servers are ready
    an epoch ends, a peer signs ─▶ kept ─▶ told to clients of the room, its servers of before and after, and the DHT
    a room that has left ─▶ answered for until a majority of its new servers has begun, and a while longer ─▶ forgotten

Nothing here decides anything: what comes next is in the room's own log, when it begins is replication's affair.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from room_server import limits
from room_server.genesis_sync import OfferedRoom
from room_server.logs import room_label
from room_server.rooms import HostedRoom, Rooms
from vr.configuration import Configuration, Member
from vr.host import Host
from vr.reconfiguration import Refusal
from vr.replica import Replica, Status
from vr.types import ReplicaId, ReplicaIndex
from wire.ids import RoomId
from wire.room import Move

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Moving:
    """See the module.

    Args:
        rooms: of this node.
        tell_clients: of a room that has other servers.
        tell_peers: what is known of a room.
        announce: the owner's record of a room's servers may be another; or (False) the room has left.
        host_room: hosts a room that we stand by for.
    """

    def __init__(
        self,
        rooms: Rooms,
        *,
        tell_clients: Callable[[RoomId], None],
        tell_peers: Callable[[HostedRoom], None],
        announce: Callable[[HostedRoom, bool], None],
        host_room: Callable[[OfferedRoom], Awaitable[None]],
    ) -> None:
        self._rooms = rooms
        self._tell_clients = tell_clients
        self._tell_peers = tell_peers
        self._announce = announce
        self._host_room = host_room
        self._changed: dict[HostedRoom, None] = {}
        self._kept: dict[tuple[RoomId, int], bytes] = {}
        self._wishes: dict[HostedRoom, None] = {}
        self._leaving: dict[HostedRoom, float] = {}
        """Rooms that left, and since when a majority of the new servers is known to have begun (infinity: it is not)."""
        self._woken = trio.Event()

    def note(self, room: HostedRoom) -> None:
        """More is known of this room's servers."""
        self._changed[room] = None
        self._woken.set()

    def wish(self, room: HostedRoom) -> None:
        """The room's owner may want other servers."""
        self._wishes[room] = None
        self._woken.set()

    async def run(self, host: Host) -> None:
        """Keep, tell, carry out and forget, until cancelled."""
        for room in self._rooms:
            self.wish(room)
            self.note(room)
        while True:
            for room in tuple(self._wishes):
                if not self._is_here(room):
                    del self._wishes[room]
                    continue
                if describes(room):
                    self._changed[room] = None
                if is_settled(room, host):
                    del self._wishes[room]
            await self._keep_and_tell(host)
            await self._forget(host)
            with trio.move_on_after(limits.MOVE_RETRY_S if self._wishes or self._leaving else float("inf")):
                await self._woken.wait()
            self._woken = trio.Event()

    async def _keep_and_tell(self, host: Host) -> None:
        changed, self._changed = self._changed, {}
        for room in changed:
            for epoch, data in room.book.notes():
                if self._kept.get((room.room_id, epoch)) != data:
                    await host.keep_note(room.group, epoch, data)
                    self._kept[room.room_id, epoch] = data
            self._tell_clients(room.room_id)
            self._tell_peers(room)
            self._announce(room, True)
            if not self._is_here(room):
                continue
            if has_left(room, host):
                self._leaving.setdefault(room, float("inf"))
            elif is_wanted_again(room, host):
                self._leaving.pop(room, None)
                await self._begin_anew(room, host)

    async def _forget(self, host: Host) -> None:
        now = trio.current_time()
        for room, since in tuple(self._leaving.items()):
            if not self._is_here(room) or not has_left(room, host):  # It is gone, or came back.
                del self._leaving[room]
            elif not others_have_begun(room):
                self._leaving[room] = float("inf")
            elif since == float("inf"):
                self._leaving[room] = now
            elif now - since >= limits.DEPART_AFTER_S:
                del self._leaving[room]
                await self._depart(room, host)

    def _is_here(self, room: HostedRoom) -> bool:
        """It has not left, and is not here anew as another object: the host has what it asks for."""
        return self._rooms.get(room.room_id) is room

    async def _depart(self, room: HostedRoom, host: Host) -> None:
        self._rooms.depart(room)
        self._announce(room, False)
        await host.forget_group(room.group)
        log.info("room_departed", room=room_label(room.room_id), epoch=room.book.servers.epoch)

    async def _begin_anew(self, room: HostedRoom, host: Host) -> None:
        """The room comes back before it was forgotten: what is here ends where it left, so it is fetched once more."""
        await self._depart(room, host)
        await self._host_room(OfferedRoom(room.genesis, room.encoded_genesis, room.book))


def has_left(room: HostedRoom, host: Host) -> bool:
    """This node is none of the room's servers any more, and the others know which they are."""
    replica = host.replica(room.group)
    if replica.status is not Status.RETIRED or not room.book.is_certified:
        return False
    configuration = room.book.configuration
    return configuration is not None and configuration.index_of(host.replica_id) is None


def is_wanted_again(room: HostedRoom, host: Host) -> bool:
    """This node left the room, stands by for it again, and the room can do without what is here."""
    replica = host.replica(room.group)
    configuration = room.book.configuration
    if replica.status is not Status.RETIRED or not room.book.is_certified or configuration is None:
        return False
    index = configuration.index_of(host.replica_id)
    is_standby = index is not None and not configuration.is_member(index)
    return is_standby and configuration.epoch > replica.configuration.epoch + 1 and others_have_begun(room)


def others_have_begun(room: HostedRoom) -> bool:
    """A majority of the room's servers have its log on their disks, up to the beginning of their epoch."""
    servers = room.book.servers
    begun = sum(room.begun.get(server.node_key, -1) >= servers.epoch for server in servers.servers)
    return begun >= len(servers.servers) // 2 + 1


def describes(room: HostedRoom) -> bool:
    """Take the owner's record of servers that the room has already: it was placed there without one."""
    move = room.service.move
    if move is None or {server.node_key for server in move.servers} != room.book.servers.node_keys:
        return False
    return room.book.describe(move.epoch, move.descriptor)


def is_settled(room: HostedRoom, host: Host) -> bool:
    """Carry out the owner's newest wish, if it is for us to do; tells whether nothing is left of it to wait for."""
    move = room.service.move
    replica = host.replica(room.group)
    if move is None or move.epoch <= replica.configuration.epoch or replica.status is Status.RETIRED:
        return True
    if move.epoch > replica.configuration.epoch + 1 or not replica.is_primary:
        return False
    refusal = host.reconfigure(room.group, next_configuration(replica, move))
    if refusal in {Refusal.STRANGERS, Refusal.NOT_SUCCESSOR}:
        log.warning("move_refused", room=room_label(room.room_id), reason=refusal.name.lower(), epoch=move.epoch)
        return True
    return False


def next_configuration(replica: Replica, move: Move) -> Configuration:
    """What a wish means for replication: who has a vote, who stands by, and who leads first.

    That is who leads now, if it stays: nobody then waits for an election. Else who has most of the log.
    """
    members = tuple(Member(ReplicaId(server.replica_id), server.node_key) for server in move.servers)
    standbys = tuple(Member(ReplicaId(server.replica_id), server.node_key) for server in move.standbys)
    current = replica.configuration
    own = current.replicas[replica.index].replica_id

    def standing(place: int) -> int:
        replica_id = members[place].replica_id
        index = current.index_of(replica_id)
        if replica_id == own:
            return 1 << 62
        return -1 if index is None else int(replica.peer_standing(ReplicaIndex(index))[0])

    return current.successor(members, standbys, first_primary=max(range(len(members)), key=standing))
