"""The roster of a cluster as a replicated state machine: who belongs to it, who may come, what holds for its rooms. Pure.

    genesis(name, founder) ──▶ cluster id = its hash; the founder is the only node
    Invite(hash) ─▶ open ─ AskToJoin(secret's hash, record) ─▶ asked ─┬─ Approve ─▶ a node; the invitation is gone
                     └─ expires by agreed time                        └─ Deny ─▶ denied, until it expires
    PlaceRooms ─▶ who leads such a room brings it to these servers (`room_server.placing`) ─▶ RoomsPlaced

An invitation is for one server: the first that asks with it. Names, node keys and replica ids of nodes and of those who ask
are all different. Servers of one cluster trust each other with the roster: `by` is what the server says that submits an
operation, and stands in the log for people to read. Clients never reach it.

`level` is the highest level of formats that all servers know (`room_server.formats`). An operation of a later one is MALFORMED: that is what
servers make of it that do not know it, so that all do the same. A server that knows less than the cluster's level is not let in.

The state is small and goes whole into each checkpoint. `revision` counts changes: whoever follows the roster from afar
takes the higher one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from collections.abc import Sequence as Many
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Final, TypeAlias, assert_never

import msgspec

from room_server import limits
from room_server.errors import SnapshotError
from room_server.formats import LEVEL, OPERATION_LEVELS
from vr.log import Request
from vr.types import OpNumber
from wire import limits as wire_limits
from wire.cluster import CLUSTER_ID_BYTES, TOKEN_HASH_BYTES, ClusterId, NodeRecord, TokenHash, check_record
from wire.errors import DecodeError
from wire.ids import NODE_KEY_BYTES, ROOM_ID_BYTES, NodeKey, RoomId

GENESIS_MARK: Final = b"samtala cluster\x01"
"""Begins the genesis of a cluster's group, which no genesis of a room begins with. Ends with its version."""
_VERSION: Final = 1
_REPLICAS_MAX: Final = wire_limits.SERVERS_PER_ROOM_MAX
_MALFORMED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class RoomMakers(IntEnum):
    """Who may make rooms on the cluster's servers."""

    EVERYBODY = 0
    NOBODY = 1


class Policy(msgspec.Struct, frozen=True, array_like=True):
    """What holds for the cluster's rooms. `replicas`: servers of a new room, as far as there are so many.

    `room_blocks_per_s`, `room_mb`: quotas of each room on each server (`room_server.room_share`), 0 for none.
    """

    makers: RoomMakers = RoomMakers.EVERYBODY
    replicas: Annotated[int, msgspec.Meta(ge=1, le=_REPLICAS_MAX)] = 3
    room_blocks_per_s: Annotated[int, msgspec.Meta(ge=0, le=limits.QUOTA_MAX)] = 0
    room_mb: Annotated[int, msgspec.Meta(ge=0, le=limits.QUOTA_MAX)] = 0


class ClusterGenesis(msgspec.Struct, frozen=True, array_like=True):
    """What a cluster begins with. `nonce`: 16 random bytes, so that no two clusters are the same."""

    name: str
    founder: NodeRecord
    nonce: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


_Key: TypeAlias = Annotated[NodeKey, msgspec.Meta(min_length=NODE_KEY_BYTES, max_length=NODE_KEY_BYTES)]
_Hash: TypeAlias = Annotated[TokenHash, msgspec.Meta(min_length=TOKEN_HASH_BYTES, max_length=TOKEN_HASH_BYTES)]


class _Operation(msgspec.Struct, frozen=True, array_like=True):
    """Of the roster's log; tags are numbers and never change meaning."""


class Invite(_Operation, frozen=True, tag=1):
    """`by` invites one server, for so many seconds of agreed time."""

    by: _Key
    token: _Hash
    valid_s: Annotated[int, msgspec.Meta(ge=1, le=limits.INVITE_S_MAX)]


class AskToJoin(_Operation, frozen=True, tag=2):
    """A server that holds an invitation wants to come in."""

    token: _Hash
    record: NodeRecord


class Approve(_Operation, frozen=True, tag=3):
    """`by` lets in who asked with this invitation."""

    by: _Key
    token: _Hash


class Deny(_Operation, frozen=True, tag=4):
    """`by` turns away who asked with this invitation, or withdraws it."""

    by: _Key
    token: _Hash


class Remove(_Operation, frozen=True, tag=5):
    """`by` takes a server off the roster, perhaps itself."""

    by: _Key
    node_key: _Key


class Renew(_Operation, frozen=True, tag=6):
    """A server of the roster says of itself what has changed: its address, its version."""

    record: NodeRecord


class SetPolicy(_Operation, frozen=True, tag=7):
    """`by` changes what holds for the cluster's rooms."""

    by: _Key
    policy: Policy


class Placement(msgspec.Struct, frozen=True, array_like=True):
    """Where a room is wanted: its id (16 bytes), the keys of its servers, each once."""

    room: Annotated[RoomId, msgspec.Meta(min_length=ROOM_ID_BYTES, max_length=ROOM_ID_BYTES)]
    servers: Annotated[tuple[_Key, ...], msgspec.Meta(min_length=1, max_length=_REPLICAS_MAX)]


class PlaceRooms(_Operation, frozen=True, tag=8):
    """`by` wants these rooms on these servers; what it wanted of one of them before is over."""

    by: _Key
    placements: Annotated[tuple[Placement, ...], msgspec.Meta(min_length=1, max_length=limits.PLACEMENTS_AT_ONCE_MAX)]


class RoomsPlaced(_Operation, frozen=True, tag=9):
    """These rooms are where they are wanted, or nobody tries any more."""

    by: _Key
    rooms: Annotated[tuple[RoomId, ...], msgspec.Meta(min_length=1, max_length=limits.PLACEMENTS_MAX)]


Operation: TypeAlias = Invite | AskToJoin | Approve | Deny | Remove | Renew | SetPolicy | PlaceRooms | RoomsPlaced


class RosterCode(IntEnum):
    """What became of an operation; the state is unchanged unless DONE. The numbers are stored in histories."""

    DONE = 0
    MALFORMED = 1
    """Of another version, not decodable, or out of bounds."""
    NOT_A_NODE = 2
    """Who did it, or whom it is about, is not on the roster."""
    UNKNOWN_TOKEN = 3
    TOKEN_EXPIRED = 4
    TOKEN_USED = 5
    """Another server asked with it, or it is an invitation twice."""
    DENIED = 6
    NAME_TAKEN = 7
    KEY_TAKEN = 8
    """The node key or the replica id."""
    FULL = 9
    """The cluster has as many servers, invitations or rooms on their way as it may."""
    NOBODY_ASKED = 10
    LAST_NODE = 11
    NOT_PLACED = 12
    """None of these rooms is wanted anywhere."""
    TOO_OLD = 13
    """The server does not know what the cluster's servers write."""


class Invitation(msgspec.Struct, frozen=True, array_like=True):
    """One that was made: `asked` is who used it."""

    by: NodeKey
    expires_us: int
    asked: NodeRecord | None = None
    is_denied: bool = False


class RosterState(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """All of it, as it is in checkpoints and as servers outside the group are told. `now_us`: agreed time of the last change."""

    version: int
    name: str
    founder: NodeRecord
    revision: int
    now_us: int
    policy: Policy
    nodes: Annotated[tuple[NodeRecord, ...], msgspec.Meta(max_length=limits.CLUSTER_NODES_MAX)]
    invitations: Annotated[
        tuple[tuple[TokenHash, Invitation], ...], msgspec.Meta(max_length=limits.CLUSTER_INVITES_MAX)
    ]
    placements: Annotated[tuple[Placement, ...], msgspec.Meta(max_length=limits.PLACEMENTS_MAX)] = ()
    """Of rooms that are not there yet."""
    level: int = 1
    """The highest level of formats that all servers know, or knew once."""


_OPERATION_DECODER: Final[msgspec.msgpack.Decoder[Operation]] = msgspec.msgpack.Decoder(Operation)
_STATE_DECODER: Final[msgspec.msgpack.Decoder[RosterState]] = msgspec.msgpack.Decoder(RosterState)
_GENESIS_DECODER: Final[msgspec.msgpack.Decoder[ClusterGenesis]] = msgspec.msgpack.Decoder(ClusterGenesis)


class RosterService:
    """One cluster's roster at one replica; implements `vr.service.Service`. Its attributes may be read at any time."""

    def __init__(self, genesis: ClusterGenesis) -> None:
        self.name = genesis.name
        self.policy = Policy()
        self.revision = 0
        self.now_us = 0
        self.nodes: dict[NodeKey, NodeRecord] = {genesis.founder.node_key: genesis.founder}
        self.invitations: dict[TokenHash, Invitation] = {}
        self.placements: dict[RoomId, Placement] = {}
        self.level = genesis.founder.level
        self._founder = genesis.founder

    # --- vr.service.Service ------------------------------------------------------------------------------------------

    def apply(self, op: OpNumber, timestamp_us: int, requests: Many[Request]) -> list[bytes]:
        """Apply one committed operation: one result code per request, as one byte."""
        del op
        return [bytes((self._apply_body(request.body, timestamp_us),)) for request in requests]

    def snapshot(self) -> bytes:
        """Everything, in deterministic bytes."""
        return encode_state(self.state())

    def restore(self, snapshot: bytes) -> None:
        """Become what `snapshot` describes.

        Raises:
            SnapshotError: it is none.
        """
        state = decode_state(snapshot)
        self.name, self.policy, self.revision, self.now_us = state.name, state.policy, state.revision, state.now_us
        self._founder = state.founder
        self.nodes = {record.node_key: record for record in state.nodes}
        self.invitations = dict(state.invitations)
        self.placements = {placement.room: placement for placement in state.placements}
        self.level = state.level

    # --- looking -----------------------------------------------------------------------------------------------------

    def state(self) -> RosterState:
        """All of it."""
        return RosterState(
            version=_VERSION,
            name=self.name,
            founder=self._founder,
            revision=self.revision,
            now_us=self.now_us,
            policy=self.policy,
            nodes=tuple(self.nodes.values()),
            invitations=tuple(self.invitations.items()),
            placements=tuple(self.placements.values()),
            level=self.level,
        )

    def waiting(self) -> dict[TokenHash, NodeRecord]:
        """Who asked and has no answer yet, those who asked with the oldest invitation first."""
        return {
            token: invitation.asked
            for token, invitation in self.invitations.items()
            if invitation.asked is not None and not invitation.is_denied
        }

    # --- changing ----------------------------------------------------------------------------------------------------

    def _apply_body(self, body: bytes, timestamp_us: int) -> RosterCode:
        try:
            operation = decode_operation(body)
        except DecodeError:
            return RosterCode.MALFORMED
        if needed_level(operation) > self.level:
            return RosterCode.MALFORMED
        code = self._apply_operation(operation, timestamp_us)
        if code is RosterCode.DONE:
            self.level = max(self.level, min(node.level for node in self.nodes.values()))
            self.revision += 1
            self.now_us = timestamp_us
        return code

    def _apply_operation(self, operation: Operation, timestamp_us: int) -> RosterCode:
        match operation:
            case AskToJoin():
                return self._ask(operation, timestamp_us)
            case Renew():
                return self._renew(operation.record)
            case _ if operation.by not in self.nodes:
                return RosterCode.NOT_A_NODE
            case _:
                return self._apply_wish(operation, timestamp_us)

    def _apply_wish(
        self, operation: Invite | Approve | Deny | Remove | SetPolicy | PlaceRooms | RoomsPlaced, timestamp_us: int
    ) -> RosterCode:
        """What a server of the roster wants."""
        match operation:
            case Invite():
                return self._invite(operation, timestamp_us)
            case Approve():
                return self._approve(operation, timestamp_us)
            case Deny():
                return self._deny(operation)
            case Remove():
                return self._remove(operation.node_key)
            case SetPolicy():
                self.policy = operation.policy
                return RosterCode.DONE
            case PlaceRooms():
                return self._place_rooms(operation)
            case RoomsPlaced():
                return self._rooms_placed(operation)
            case _:
                assert_never(operation)

    def _invite(self, operation: Invite, timestamp_us: int) -> RosterCode:
        self._forget_expired(timestamp_us)
        if operation.token in self.invitations:
            return RosterCode.TOKEN_USED
        if len(self.invitations) >= limits.CLUSTER_INVITES_MAX:
            return RosterCode.FULL
        expires_us = timestamp_us + operation.valid_s * 1_000_000
        self.invitations[operation.token] = Invitation(operation.by, expires_us)
        return RosterCode.DONE

    def _forget_expired(self, timestamp_us: int) -> None:
        self.invitations = {
            token: invitation for token, invitation in self.invitations.items() if timestamp_us < invitation.expires_us
        }

    def _open(self, token: TokenHash, timestamp_us: int) -> Invitation | RosterCode:
        """An invitation that holds, or why it does not."""
        invitation = self.invitations.get(token)
        if invitation is None:
            return RosterCode.UNKNOWN_TOKEN
        if timestamp_us >= invitation.expires_us:
            return RosterCode.TOKEN_EXPIRED
        return RosterCode.DENIED if invitation.is_denied else invitation

    def _ask(self, operation: AskToJoin, timestamp_us: int) -> RosterCode:
        record = operation.record
        invitation = self._open(operation.token, timestamp_us)
        if isinstance(invitation, RosterCode):
            return invitation
        if invitation.asked is not None and invitation.asked.node_key != record.node_key:
            return RosterCode.TOKEN_USED
        self._forget_expired(timestamp_us)
        others = [asked for token, asked in self.waiting().items() if token != operation.token]
        clash = self._too_old(record) or _clash(record, [*self.nodes.values(), *others])
        if clash is None:
            self.invitations[operation.token] = msgspec.structs.replace(invitation, asked=record)
        return clash or RosterCode.DONE

    def _approve(self, operation: Approve, timestamp_us: int) -> RosterCode:
        invitation = self._open(operation.token, timestamp_us)
        if isinstance(invitation, RosterCode):
            return invitation
        if invitation.asked is None:
            return RosterCode.NOBODY_ASKED
        if len(self.nodes) >= limits.CLUSTER_NODES_MAX:
            return RosterCode.FULL
        clash = self._too_old(invitation.asked) or _clash(invitation.asked, self.nodes.values())
        if clash is None:
            del self.invitations[operation.token]
            self.nodes[invitation.asked.node_key] = invitation.asked
        return clash or RosterCode.DONE

    def _deny(self, operation: Deny) -> RosterCode:
        invitation = self.invitations.get(operation.token)
        if invitation is None:
            return RosterCode.UNKNOWN_TOKEN
        self.invitations[operation.token] = msgspec.structs.replace(invitation, is_denied=True)
        return RosterCode.DONE

    def _remove(self, node_key: NodeKey) -> RosterCode:
        if node_key not in self.nodes:
            return RosterCode.NOT_A_NODE
        if len(self.nodes) == 1:
            return RosterCode.LAST_NODE
        del self.nodes[node_key]
        self.placements = {
            room: placement for room, placement in self.placements.items() if node_key not in placement.servers
        }
        return RosterCode.DONE

    def _place_rooms(self, operation: PlaceRooms) -> RosterCode:
        placements = self.placements | {placement.room: placement for placement in operation.placements}
        if len(placements) > limits.PLACEMENTS_MAX:
            return RosterCode.FULL
        self.placements = placements
        return RosterCode.DONE

    def _rooms_placed(self, operation: RoomsPlaced) -> RosterCode:
        left = {room: placement for room, placement in self.placements.items() if room not in operation.rooms}
        if len(left) == len(self.placements):
            return RosterCode.NOT_PLACED
        self.placements = left
        return RosterCode.DONE

    def _renew(self, record: NodeRecord) -> RosterCode:
        if record.node_key not in self.nodes:
            return RosterCode.NOT_A_NODE
        others = [node for key, node in self.nodes.items() if key != record.node_key]
        clash = self._too_old(record) or _clash(record, [*others, *self.waiting().values()])
        if clash is None:
            self.nodes[record.node_key] = record
        return clash or RosterCode.DONE

    def _too_old(self, record: NodeRecord) -> RosterCode | None:
        return RosterCode.TOO_OLD if record.level < self.level else None


def needed_level(operation: Operation) -> int:
    """The level of formats that an operation belongs to."""
    return OPERATION_LEVELS.get(type(operation), 1)


def _clash(record: NodeRecord, others: Iterable[NodeRecord]) -> RosterCode | None:
    """What a server may not share with others."""
    for other in others:
        if other.node_key == record.node_key or other.replica_id == record.replica_id:
            return RosterCode.KEY_TAKEN
        if other.name == record.name:
            return RosterCode.NAME_TAKEN
    return None


def encode_operation(operation: Operation) -> bytes:
    """The body of a request: a byte for the version, then the operation."""
    return bytes((_VERSION,)) + msgspec.msgpack.encode(operation)


def decode_operation(body: bytes) -> Operation:
    """Read the body of a request.

    Raises:
        DecodeError: another version, malformed, or out of bounds.
    """
    if not body or body[0] != _VERSION or len(body) > limits.ROSTER_OPERATION_BYTES_MAX:
        raise DecodeError("no operation of a roster that this version knows")
    try:
        operation = _OPERATION_DECODER.decode(memoryview(body)[1:])
    except _MALFORMED as error:
        raise DecodeError("malformed operation of a roster") from error
    if isinstance(operation, AskToJoin | Renew):
        check_record(operation.record)
    if isinstance(operation, PlaceRooms) and any(
        len(set(placement.servers)) != len(placement.servers) for placement in operation.placements
    ):
        raise DecodeError("a room's server is named twice")
    return operation


def encode_state(state: RosterState) -> bytes:
    """Deterministic bytes."""
    return msgspec.msgpack.encode(state)


def decode_state(data: bytes) -> RosterState:
    """Read a state, one's own or another server's.

    Raises:
        SnapshotError: another version, malformed, or out of bounds.
    """
    try:
        state = _STATE_DECODER.decode(data)
        for record in state.nodes:
            check_record(record)
    except (*_MALFORMED, DecodeError) as error:
        raise SnapshotError("these bytes are no roster") from error
    if state.version != _VERSION or not state.nodes:
        raise SnapshotError("the roster is of another version, or empty")
    if state.level > LEVEL:
        raise SnapshotError(f"the cluster's servers write formats of level {state.level}; this version knows {LEVEL}")
    return state


def level_of(data: bytes) -> int:
    """The level of formats in an encoded state, whatever else a later version wrote there; 0 if it is none at all."""
    try:
        fields = msgspec.msgpack.decode(data, type=list[msgspec.Raw])
        return msgspec.msgpack.decode(fields[RosterState.__struct_fields__.index("level")], type=int)
    except (*_MALFORMED, IndexError):
        return 0


def encode_genesis(genesis: ClusterGenesis) -> bytes:
    """What the cluster's group begins with."""
    return GENESIS_MARK + msgspec.msgpack.encode(genesis)


def decode_genesis(data: bytes) -> ClusterGenesis:
    """Read what a cluster began with.

    Raises:
        DecodeError: not a cluster's, another version's, or out of bounds.
    """
    if not data.startswith(GENESIS_MARK) or len(data) > limits.ROSTER_OPERATION_BYTES_MAX:
        raise DecodeError("not the genesis of a cluster that this version knows")
    try:
        genesis = _GENESIS_DECODER.decode(memoryview(data)[len(GENESIS_MARK) :])
    except _MALFORMED as error:
        raise DecodeError("malformed genesis of a cluster") from error
    if not 0 < len(genesis.name) <= wire_limits.NAME_CHARACTERS_MAX or not genesis.name.isprintable():
        raise DecodeError("a cluster's name out of bounds")
    check_record(genesis.founder)
    return genesis


@lru_cache(maxsize=4)
def cluster_id(genesis: bytes) -> ClusterId:
    """What the cluster with this encoded genesis is known by; asked with each append, for the quota of its room."""
    return ClusterId(hashlib.blake2b(genesis, digest_size=CLUSTER_ID_BYTES, person=b"samtala-cluster").digest())
