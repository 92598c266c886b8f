"""Which servers the room has, as far as this device believes, across reconfigurations. Pure.

    owner's descriptor ─▶ known(epoch e) ─── KnownServers(e) ──▶ server
                             ▲                                     │ only if it knows later ones, now or whenever
                             └── every link of the chain holds ◀── ServersChanged(certificates)

What does not hold changes nothing and is an alarm: a server that sends it lies, or passes on lies.
"""

from __future__ import annotations

from dht.items import MutableItem
from wire.certificate import RoomServers, Server, follow_chain
from wire.descriptor import Descriptor
from wire.errors import DecodeError
from wire.ids import GroupEpoch, NodeKey, RoomId
from wire.limits import CERTIFICATES_PER_FRAME_MAX
from wire.messages import KnownServers, ServersChanged

_EPOCH_BITS = 32


class Whereabouts:
    """What is known of one room's servers. `known` is None where nobody told us whom to believe: nothing is followed."""

    def __init__(self, room_id: RoomId, known: RoomServers | None) -> None:
        self.known = known
        self._room_id = room_id
        self._told = 0
        """The epoch that the server of now knows us to know: its certificates begin behind it."""

    def introduction(self) -> KnownServers | None:
        """What to tell a server on each new connection, so that it tells us of later ones."""
        if self.known is None:
            return None
        self._told = self.known.epoch
        return KnownServers(self._room_id, self.known.epoch)

    def believe(self, known: RoomServers) -> bool:
        """Take the owner's word, unless it is about an epoch before ours; tells whether it was taken."""
        if self.known is not None and known.epoch < self.known.epoch:
            return False
        self.known = known
        return True

    def follow(self, message: ServersChanged) -> bool:
        """Take a chain of certificates; tells whether we know better now.

        Raises:
            PeerError: it does not hold (`wire.certificate.follow_chain`); nothing changed.
        """
        if self.known is None:
            return False
        if message.room_id != self._room_id or not 0 < len(message.certificates) <= CERTIFICATES_PER_FRAME_MAX:
            raise DecodeError("other servers of no room of ours, or too many at once")
        known_already = self.known.epoch - self._told  # The owner told us meanwhile.
        fresh = message.certificates[known_already:]
        self.known = follow_chain(fresh, self.known, room_id=self._room_id)
        self._told += len(message.certificates)
        return bool(fresh)


def servers_of(item: MutableItem, descriptor: Descriptor) -> RoomServers:
    """The servers that the owner's record names, each once, with the address it was last seen at.

    The record does not say which data folders they have: those ids stay empty.
    """
    servers: dict[bytes, Server] = {}
    for replica in descriptor.replicas:
        host, port = next(iter(replica.addresses), ("", replica.port))
        servers.setdefault(replica.node_key, Server(b"", NodeKey(replica.node_key), host, port))
    return RoomServers(GroupEpoch(item.seq >> _EPOCH_BITS), tuple(servers.values()))
