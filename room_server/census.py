"""Which rooms the cluster has, and where: every server says which ones it has, and which of them it leads.

    take ─▶ PeerAskPlaces(after) to each linked server ─▶ a page of its rooms ─▶ … ─▶ an empty one ─▶ RoomPlaces

What who leads a room says of it counts. A room that nobody leads is there all the same: it gets a leader in a moment, or has no
majority. Nothing of it is kept.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection

import msgspec
import trio

from room_server import limits
from room_server.errors import ClusterError, ConnectionCutError
from room_server.hosting import Hosting
from vr.replica import Status
from wire import limits as wire_limits
from wire.ids import NODE_KEY_BYTES, ROOM_ID_BYTES, NodeKey, RoomId
from wire.messages import Message
from wire.peer_messages import PeerAskPlaces, PeerPlaces, RoomPlace


class Census:
    """See the module.

    Args:
        hosting: the rooms of this server.
        tell: queues a message for a server; False while there is no link to it.
        fellows: the servers of the cluster, this one among them.
    """

    def __init__(
        self,
        hosting: Hosting,
        *,
        tell: Callable[[NodeKey, Message], bool],
        fellows: Callable[[], Collection[NodeKey]],
    ) -> None:
        self._hosting = hosting
        self._tell = tell
        self._fellows = fellows
        self._id = 0
        self._waiting: dict[int, tuple[NodeKey, trio.MemorySendChannel[PeerPlaces]]] = {}

    def page(self, after: bytes) -> tuple[RoomPlace, ...]:
        """Rooms of this server, whose ids come after this one."""
        host = self._hosting.host
        later = ((room, host.replica(room.group)) for room in self._hosting.rooms if room.room_id > after)
        places = (
            RoomPlace(
                room.room_id,
                tuple(NodeKey(member.node_key) for member in replica.configuration.members),
                room.service.by_quorum,
                replica.is_primary and replica.status is Status.NORMAL,
            )
            for room, replica in later
            if replica.status is not Status.RETIRED and replica.configuration.is_member(replica.index)
        )
        return tuple(heapq.nsmallest(limits.PLACES_PER_PAGE, places, key=_id))

    async def take(self, own: NodeKey) -> list[RoomPlace]:
        """All rooms of the cluster's servers that are linked; `own`: this one.

        Raises:
            ClusterError: a linked server does not answer, or there are too many rooms.
        """
        found: dict[RoomId, RoomPlace] = {}
        for node_key in self._fellows():
            after = b""
            while page := self.page(after) if node_key == own else await self._ask(node_key, after):
                found.update((room.room_id, room) for room in page if room.is_led or room.room_id not in found)
                after = page[-1].room_id
                if len(found) > limits.PLACES_MAX:
                    raise ClusterError(f"the cluster has more than {limits.PLACES_MAX} rooms")
        return list(found.values())

    async def _ask(self, node_key: NodeKey, after: bytes) -> tuple[RoomPlace, ...]:
        """One page; none of a server that is not linked."""
        self._id += 1
        call = self._id
        send, receive = trio.open_memory_channel[PeerPlaces](1)
        self._waiting[call] = (node_key, send)
        try:
            if not self._tell(node_key, PeerAskPlaces(call, after)):
                return ()
            with trio.move_on_after(limits.PLACES_WAIT_S_MAX):
                rooms = (await receive.receive()).rooms
                if any(room.room_id <= after for room in rooms):
                    raise ClusterError("a server of the cluster tells of its rooms in no order")
                return rooms
        finally:
            del self._waiting[call]
        raise ClusterError("a server of the cluster does not say which rooms it has; try again in a moment")

    # --- what other servers say -----------------------------------------------------------------------------------------

    def on_ask(self, node_key: NodeKey, message: PeerAskPlaces) -> None:
        """A server of the cluster wants to know."""
        if node_key in self._fellows():
            self._tell(node_key, PeerPlaces(message.id, self.page(message.after)))

    def on_places(self, node_key: NodeKey, message: PeerPlaces) -> None:
        """A server of the cluster says.

        Raises:
            ConnectionCutError: out of bounds.
        """
        if len(message.rooms) > limits.PLACES_PER_PAGE or not all(map(_is_sound, message.rooms)):
            raise ConnectionCutError("protocol", "a peer's places of rooms are out of bounds")
        asked, answers = self._waiting.get(message.id, (None, None))
        if asked == node_key and answers is not None:
            try:
                answers.send_nowait(msgspec.structs.replace(message, rooms=tuple(sorted(message.rooms, key=_id))))
            except trio.WouldBlock:
                raise ConnectionCutError("protocol", "a peer answers twice") from None


def _id(room: RoomPlace) -> RoomId:
    return room.room_id


def _is_sound(room: RoomPlace) -> bool:
    return (
        len(room.room_id) == ROOM_ID_BYTES
        and 0 < len(room.servers) <= wire_limits.SERVERS_PER_ROOM_MAX
        and len(set(room.servers)) == len(room.servers)
        and all(len(key) == NODE_KEY_BYTES for key in room.servers)
    )
