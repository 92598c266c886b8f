"""What servers tell each other, once their hellos are exchanged (`wire.messages`): of rooms that they share, of their cluster.

    PeerRooms, PeerGetGenesis, PeerGenesis, PeerEpochs                           about rooms
    PeerCluster, PeerVitals, PeerErrand(Done), PeerAskPlaces, PeerPlaces         about the cluster

Replication's own frames travel in `wire.messages.PeerFrame`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from wire.ids import NodeKey, RoomId


class MessageBase(msgspec.Struct, frozen=True, array_like=True, gc=False, tag_field="type"):
    """Of all messages; each has its own tag, a number that never changes meaning."""


class PeerRooms(MessageBase, frozen=True, tag=50):
    """Between servers: rooms hosted here whose genesis names you."""

    room_ids: tuple[RoomId, ...]


class PeerGetGenesis(MessageBase, frozen=True, tag=51):
    """Between servers: give me these rooms' genesis records; I was away when they were created."""

    room_ids: tuple[RoomId, ...]


class PeerGenesis(MessageBase, frozen=True, tag=52):
    """Between servers: an encoded `wire.room.Genesis` that was asked for, and the certificates of all epochs since."""

    genesis: bytes
    certificates: tuple[bytes, ...] = ()


class PeerEpochs(MessageBase, frozen=True, tag=53):
    """Between servers of a room, past ones too: how it came to its servers. Certificates may be short of signatures.

    `epoch`: in which the sender takes part, with all that was before on its disk; -1 if it does not.
    """

    room_id: RoomId
    certificates: tuple[bytes, ...]
    epoch: int = -1


RoomMessage: TypeAlias = PeerRooms | PeerGetGenesis | PeerGenesis | PeerEpochs
"""What servers that share rooms tell each other about them."""


class PeerCluster(MessageBase, frozen=True, tag=54):
    """Between servers of one cluster: what it began with, who replicates its roster now, and the roster. All opaque here.

    Without configuration and roster it is a question: the sender has just come in, over a link that stood before.
    """

    genesis: bytes
    configuration: bytes
    roster: bytes


class PeerVitals(MessageBase, frozen=True, tag=55):
    """Between servers of one cluster, every few seconds: how the sender is.

    `margin`: failures that the worst room led there survives, -1 none and it has stopped; NO_ROOM without one.
    `critical`: servers without which a room led there would stop. `stopped`: rooms there without a majority.
    `lag_ops`: the farthest that a room there is behind. `disk_free`: share of the disk, per mille. `backup_age_s`: of the
    newest copy of its rooms, seconds; -1: there is none.
    """

    version: str
    protocol: int
    reason: str
    led: int
    hosted: int
    stopped: int
    margin: int
    lag_ops: int
    disk_free: int
    critical: tuple[NodeKey, ...] = ()
    backup_age_s: int = -1


NO_ROOM: Final = 127


class PeerErrand(MessageBase, frozen=True, tag=56):
    """Between servers of one cluster: have this operation of the roster executed, because the sender does not keep it."""

    id: int
    operation: bytes


class PeerErrandDone(MessageBase, frozen=True, tag=57):
    """Answer: what became of it (`room_server.roster.RosterCode`); -1: it could not be decided, and may still be executed."""

    id: int
    code: int


class PeerAskPlaces(MessageBase, frozen=True, tag=58):
    """Between servers of one cluster: which rooms do you have? Those whose ids come after `after`; `id` names the question."""

    id: int
    after: bytes = b""


class RoomPlace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a room is. `is_movable`: its servers may say which come next (`wire.room.Genesis.by_quorum`). `is_led`: by the sender."""

    room_id: RoomId
    servers: tuple[NodeKey, ...]
    is_movable: bool
    is_led: bool


class PeerPlaces(MessageBase, frozen=True, tag=59):
    """Answer: some of them, in the order of their ids; without any, that is all."""

    id: int
    rooms: tuple[RoomPlace, ...] = ()


ClusterMessage: TypeAlias = PeerCluster | PeerVitals | PeerErrand | PeerErrandDone | PeerAskPlaces | PeerPlaces
"""What servers of one cluster tell each other about it."""
