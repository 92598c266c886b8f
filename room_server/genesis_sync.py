"""How a server learns of rooms that were created while it was away. Sans-IO, one instance per peer link.

    a                                  b
      PeerRooms([ids that name b]) ──▶    which of these do I lack?
      ◀────────── PeerGetGenesis([id])
      PeerGenesis(genesis) ───────────▶   host it, if it names both of us

A client creates a room at a majority; whoever was down meets it here, when a link comes up or when the other side
creates one. A genesis is only taken from a peer that is a member of it, and only if it names this server with this data
folder: a peer cannot make a server host a stranger's room, nor impersonate it under an old replica id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from room_server import limits
from room_server.errors import ConnectionCutError
from room_server.rooms import HostedRoom, Rooms
from wire.errors import DecodeError
from wire.ids import ROOM_ID_BYTES, NodeKey, RoomId
from wire.messages import Message, PeerGenesis, PeerGetGenesis, PeerRooms
from wire.room import Genesis, decode_genesis


def names(genesis: Genesis, node_key: NodeKey, replica_id: bytes) -> bool:
    """Whether a genesis makes this server, with this data folder, a member."""
    return any(member.node_key == node_key and member.replica_id == replica_id for member in genesis.members)


class GenesisSync:
    """This side of the exchange with one peer. `own` and `peer` are (node key, replica id)."""

    def __init__(self, rooms: Rooms, *, own: tuple[NodeKey, bytes], peer: tuple[NodeKey, bytes]) -> None:
        self._rooms = rooms
        self._own = own
        self._peer = peer
        self._asked: dict[RoomId, None] = {}

    def announce(self, rooms: Iterable[HostedRoom]) -> Iterator[Message]:
        """Messages that tell the peer of those rooms that it is a member of."""
        shared = (room.room_id for room in rooms if names(room.genesis, *self._peer))
        while page := tuple(islice(shared, limits.PEER_ROOMS_MAX)):
            yield PeerRooms(page)

    def on_rooms(self, message: PeerRooms) -> Iterator[Message]:
        """Ask for those that are not here.

        Raises:
            ConnectionCutError: more ids than one message may have, or ids of a wrong size.
        """
        _check_ids(message.room_ids)
        missing = [room_id for room_id in message.room_ids if self._rooms.get(room_id) is None]
        if missing and len(self._asked) + len(missing) <= limits.PEER_ROOMS_ASKED_MAX:
            self._asked.update(dict.fromkeys(missing))
            yield PeerGetGenesis(tuple(missing))

    def on_get_genesis(self, message: PeerGetGenesis) -> Iterator[Message]:
        """Give the genesis of each room that the peer is a member of, and nothing of others.

        Raises:
            ConnectionCutError: as `on_rooms`.
        """
        _check_ids(message.room_ids)
        for room_id in message.room_ids:
            room = self._rooms.get(room_id)
            if room is not None and names(room.genesis, *self._peer):
                yield PeerGenesis(room.encoded_genesis)

    def on_genesis(self, message: PeerGenesis) -> Genesis | None:
        """The genesis of a room to host now; None when it is here already.

        Raises:
            ConnectionCutError: malformed, not asked for, or of a room that does not name both of us.
        """
        try:
            genesis = decode_genesis(message.genesis)
        except DecodeError as error:
            raise ConnectionCutError("decode", "malformed genesis from a peer") from error
        if genesis.room_id not in self._asked:
            raise ConnectionCutError("protocol", "a genesis that was not asked for")
        del self._asked[genesis.room_id]
        if not names(genesis, *self._peer) or not names(genesis, *self._own):
            raise ConnectionCutError("protocol", "a genesis that does not name both servers")
        return None if self._rooms.get(genesis.room_id) is not None else genesis


def _check_ids(room_ids: tuple[RoomId, ...]) -> None:
    if len(room_ids) > limits.PEER_ROOMS_MAX or any(len(room_id) != ROOM_ID_BYTES for room_id in room_ids):
        raise ConnectionCutError("protocol", "room ids out of bounds")
