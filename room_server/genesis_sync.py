"""How a server learns of rooms that it is to host, and of where rooms went. Sans-IO, one instance per peer link.

    a                                  b
      PeerRooms([ids that name b]) ──▶    which of these do I lack?
      ◀────────── PeerGetGenesis([id])
      PeerGenesis(genesis, epochs) ───▶   host it, if they name us now, and the peer now or once
      PeerEpochs(room, epochs) ───────▶   signatures that we lack, of where the room is now

A client creates a room at a majority; whoever was down meets it here, when a link comes up or when the other side
creates one; so does a server to which the room has moved. A genesis is only taken with proof that the room's servers of
now, by the genesis or by its epochs' certificates, include this server with this data folder: a peer cannot make a
server host a stranger's room, nor impersonate it under an old replica id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from room_server import limits
from room_server.epoch_book import EpochBook
from room_server.errors import ConnectionCutError
from room_server.rooms import HostedRoom, Rooms
from wire.errors import DecodeError
from wire.ids import ROOM_ID_BYTES, NodeKey, RoomId
from wire.messages import Message
from wire.peer_messages import PeerEpochs, PeerGenesis, PeerGetGenesis, PeerRooms
from wire.room import Genesis, decode_genesis


def names(genesis: Genesis, node_key: NodeKey, replica_id: bytes) -> bool:
    """Whether a genesis makes this server, with this data folder, a member."""
    return any(member.node_key == node_key and member.replica_id == replica_id for member in genesis.members)


class OfferedRoom(msgspec.Struct, frozen=True):
    """A room to host, with its genesis as encoded, and how it came to us."""

    genesis: Genesis
    encoded_genesis: bytes
    book: EpochBook


class GenesisSync:
    """This side of the exchange with one peer. `own` and `peer` are (node key, replica id)."""

    def __init__(self, rooms: Rooms, *, own: tuple[NodeKey, bytes], peer: tuple[NodeKey, bytes]) -> None:
        self._rooms = rooms
        self._own = own
        self._peer = peer
        self._asked: dict[RoomId, int] = {}
        """How often, less the answers: the peer may tell of a room again before it has given it, and need not give it."""

    def announce(self, rooms: Iterable[HostedRoom]) -> Iterator[Message]:
        """Messages that tell the peer of those rooms that it is a member of, and where those went that it was in."""
        shared = (room.room_id for room in rooms if room.book.names(*self._peer))
        while page := tuple(islice(shared, limits.PEER_ROOMS_MAX)):
            yield PeerRooms(page)

    def tell_epochs(self, rooms: Iterable[HostedRoom]) -> Iterator[Message]:
        """Messages that tell the peer how rooms came to their servers, where it has or had a vote."""
        for room in rooms:
            told = room.book.told()
            if told and room.book.concerns(self._peer[0]):
                yield PeerEpochs(room.room_id, told, room.epoch)

    def on_rooms(self, message: PeerRooms) -> Iterator[Message]:
        """Ask for those that are not here.

        Raises:
            ConnectionCutError: more ids than one message may have, or ids of a wrong size.
        """
        _check_ids(message.room_ids)
        missing = [room_id for room_id in message.room_ids if self._rooms.get(room_id) is None]
        if missing and len(self._asked) + len(missing) <= limits.PEER_ROOMS_ASKED_MAX:
            self._asked.update((room_id, self._asked.get(room_id, 0) + 1) for room_id in missing)
            yield PeerGetGenesis(tuple(missing))

    def on_get_genesis(self, message: PeerGetGenesis) -> Iterator[Message]:
        """Give the genesis of each room that the peer is a member of, and nothing of others.

        Raises:
            ConnectionCutError: as `on_rooms`.
        """
        _check_ids(message.room_ids)
        for room_id in message.room_ids:
            room = self._rooms.get(room_id)
            if room is None or not room.book.names(*self._peer) or not room.book.is_certified:
                continue
            certificates = tuple(room.book.certificates)
            if sum(map(len, certificates)) <= limits.EPOCHS_GIVEN_BYTES_MAX:
                yield PeerGenesis(room.encoded_genesis, certificates)

    def on_genesis(self, message: PeerGenesis) -> OfferedRoom | None:
        """The room to host now; None when it is here already.

        Raises:
            ConnectionCutError: malformed, not asked for, or of a room that does not concern both of us.
            PeerError: the certificates do not hold.
        """
        try:
            genesis = decode_genesis(message.genesis)
        except DecodeError as error:
            raise ConnectionCutError("decode", "malformed genesis from a peer") from error
        if genesis.room_id not in self._asked:
            raise ConnectionCutError("protocol", "a genesis that was not asked for")
        self._asked[genesis.room_id] -= 1
        if not self._asked[genesis.room_id]:
            del self._asked[genesis.room_id]
        book = EpochBook(genesis)
        for certificate in message.certificates:
            if not book.add(certificate, may_be_forced=True):
                raise ConnectionCutError("protocol", "an epoch of a room without its certificate")
        if not book.names(*self._own) or not (book.names(*self._peer) or book.concerns(self._peer[0])):
            raise ConnectionCutError("protocol", "a room that does not concern both servers")
        if self._rooms.get(genesis.room_id) is not None:
            return None
        return OfferedRoom(genesis, message.genesis, book)

    def on_epochs(self, message: PeerEpochs) -> HostedRoom | None:
        """Take what a peer knows of a room's servers; the room, if that is more than was known here.

        Raises:
            ConnectionCutError: too much at once.
            PeerError: signatures that do not hold, or contradict what was seen here.
        """
        room = self._rooms.get(message.room_id)
        if len(message.certificates) > limits.EPOCHS_TOLD_MAX:
            raise ConnectionCutError("protocol", "too many epochs at once")
        if room is None:
            return None
        has_begun = message.epoch > room.begun.get(self._peer[0], -1) and room.book.concerns(self._peer[0])
        if has_begun:
            room.begun[self._peer[0]] = message.epoch
        news = [room.book.add(certificate) for certificate in message.certificates]
        return room if has_begun or any(news) else None


def _check_ids(room_ids: tuple[RoomId, ...]) -> None:
    if len(room_ids) > limits.PEER_ROOMS_MAX or any(len(room_id) != ROOM_ID_BYTES for room_id in room_ids):
        raise ConnectionCutError("protocol", "room ids out of bounds")
