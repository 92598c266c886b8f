"""The language of a room: blocks that members append, results, deliveries, the hash chain, the genesis record.

A client appends *blocks*. A block is one VR request: its bytes travel unopened from the sender through Prepare, the
write-ahead log and history to every subscriber. Only this header is in clear (e2ee.md §3.1):

    kind 1 | epoch 8 | count 2 | body          big endian

| kind | count | body |
|---|---|---|
| APP | 1..128 | msgpack array of entries, each an MLS PrivateMessage of that epoch |
| COMMIT | 1 | msgpack `CommitBody`: everything one new epoch needs, stored or refused as a whole |
| KNOCK | 1 | a KeyPackage, sealed for members: its maker has the link and asks to be added |
| CONTROL | 1 | msgpack `Ack` (its epoch works), `Override` (an admin says which epoch is right), `Move` (and which servers) or `Place` (so do the servers) |

The room accepts a block or refuses it with a typed result (R1 to R4). An accepted block takes `count` sequence numbers.
What was accepted is delivered to subscribers as `Delivery` values; the chain hash covers them in order, so that two
clients who compare one 32-byte value know they saw the same history.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import Final, TypeAlias, assert_never

import msgspec

from wire import limits
from wire.certificate import Server, check_servers
from wire.errors import DecodeError
from wire.ids import NODE_KEY_BYTES, ROOM_ID_BYTES, GroupEpoch, NodeKey, RoomEpoch, RoomId, Sequence

CHAIN_BYTES: Final = 32
GENESIS_VERSION: Final = 1

_BLOCK_HEADER: Final = struct.Struct(">BQH")
_DELIVERY_HEADER: Final = struct.Struct(">QQQQ")
BLOCK_HEADER_BYTES: Final = _BLOCK_HEADER.size


class Purpose(IntEnum):
    """What a proof opens."""

    READ = 1
    WRITE = 2
    JOIN = 3
    ADMIN = 4


class BlockKind(IntEnum):
    """What a block carries."""

    APP = 1
    COMMIT = 2
    CONTROL = 3
    KNOCK = 4


class BlockHeader(msgspec.Struct, frozen=True, gc=False):
    """The part of a block that servers read. `count` is the sequence numbers it takes if accepted."""

    kind: BlockKind
    epoch: RoomEpoch
    count: int


class StoredWelcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A Welcome, kept by servers under the reference of each of its KeyPackages (RFC 9420 §12.4.3.1): 32 bytes each."""

    references: tuple[bytes, ...]
    welcome: bytes


class CommitBody(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """A new epoch as one unit (rule R2): installed whole or not at all.

    `commit` and `group_info` are sealed by the members (32-byte keys that servers never hold); `next_write_key` and
    `next_read_key` are Ed25519 public keys (32 bytes) exported from the next epoch, with which servers admit writers
    and readers without knowing them. `external` says that the author joins by link. `join_key` and
    `descriptor` are empty, or those of a new link (needs ADMIN as well): the old one opens nothing from then on.
    """

    commit: bytes
    group_info: bytes
    next_write_key: bytes
    next_read_key: bytes
    external: bool = False
    welcomes: tuple[StoredWelcome, ...] = ()
    join_key: bytes = b""
    descriptor: bytes = b""


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """Rule R3: somebody could apply the commit that began the block's epoch. Whoever proves its write key may say so."""


class Override(msgspec.Struct, frozen=True, array_like=True, tag=2, kw_only=True, gc=False):
    """Rule R4: the room goes back to the block's epoch, with these keys (32 bytes each) and this sealed GroupInfo.

    Needs the admin key.
    """

    write_key: bytes
    read_key: bytes
    group_info: bytes


class Move(msgspec.Struct, frozen=True, array_like=True, tag=3, kw_only=True, gc=False):
    """The room's servers of `epoch` (counting memberships), to be made so as soon as they are ready. Needs the admin key.

    `servers` have a vote; `standbys` get everything and have none. `descriptor` is the owner's signed record of where the
    room is then, published once it is so; servers hold its bytes, never the key (dht.md §3). A later Move for the same
    epoch takes the place of one that is not carried out yet.
    """

    epoch: GroupEpoch
    servers: tuple[Server, ...]
    standbys: tuple[Server, ...] = ()
    descriptor: bytes = b""


class Place(msgspec.Struct, frozen=True, array_like=True, tag=4, kw_only=True, gc=False):
    """What a `Move` is, said by the room's own servers to spread rooms over their cluster; only in a room that lets them.

    It comes with no record of the owner's: the certificates of the epochs lead from the last one to the servers of now.
    """

    epoch: GroupEpoch
    servers: tuple[Server, ...]
    standbys: tuple[Server, ...] = ()


ControlBody: TypeAlias = Ack | Override | Move | Place


class ResultKind(IntEnum):
    """How the room answered a block."""

    ACCEPTED = 1
    STALE = 2
    CONFLICT = 3
    MALFORMED = 4
    FORBIDDEN = 5


class BlockResult(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The room's answer to a block, deterministic, the same at every replica.

    ACCEPTED: `sequence` is the block's first. STALE: an APP block of another epoch; re-encrypt for `epoch`.
    CONFLICT: a COMMIT lost the race, or an Ack came second; `sequence` is that of the commit in force. `epoch` is always
    the room's now.
    """

    kind: ResultKind
    sequence: Sequence
    epoch: RoomEpoch


class Delivery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An accepted block in its place. `session` and `number` let the author recognise it after any crash."""

    first_sequence: Sequence
    timestamp_us: int
    session: int
    number: int
    block: bytes


class GenesisMember(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A replica of the room at its birth. `replica_id` is that of its data folder; host and port are hints."""

    replica_id: bytes
    node_key: NodeKey
    host: str
    port: int


class Genesis(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What a room starts from; every replica keeps the same bytes.

    Public keys are Ed25519 (32 bytes). `join_key` admits those who hold the link, `admin_key` its owner.
    `group_info` is the sealed GroupInfo of epoch 0; `descriptor` is the owner's signed BEP 44 item, republished by the
    replicas, who cannot sign one. `created_us` is unix microseconds. `by_approval`: the link opens knocking only; no
    external commit is taken, and every `group_info` is empty. `by_quorum`: the room's servers, too, may say which come next
    (`Place`); without it only the owner may.
    """

    version: int
    room_id: RoomId
    created_us: int
    members: tuple[GenesisMember, ...]
    write_key: bytes
    read_key: bytes
    join_key: bytes
    admin_key: bytes
    group_info: bytes
    descriptor: bytes
    by_approval: bool = False
    by_quorum: bool = False


MALFORMED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that it cannot decode: bad text and deep nesting are not its own errors."""

_ENTRIES_DECODER: Final[msgspec.msgpack.Decoder[list[bytes]]] = msgspec.msgpack.Decoder(list[bytes])
_COMMIT_DECODER: Final[msgspec.msgpack.Decoder[CommitBody]] = msgspec.msgpack.Decoder(CommitBody)
_CONTROL_DECODER: Final[msgspec.msgpack.Decoder[ControlBody]] = msgspec.msgpack.Decoder(ControlBody)
_RESULT_DECODER: Final[msgspec.msgpack.Decoder[BlockResult]] = msgspec.msgpack.Decoder(BlockResult)
_GENESIS_DECODER: Final[msgspec.msgpack.Decoder[Genesis]] = msgspec.msgpack.Decoder(Genesis)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode_app_block(epoch: RoomEpoch, entries: list[bytes]) -> bytes:
    """Pack entries of one epoch, 1 to BLOCK_ENTRIES_MAX of them, into a block."""
    assert 0 < len(entries) <= limits.BLOCK_ENTRIES_MAX
    block = _BLOCK_HEADER.pack(BlockKind.APP, epoch, len(entries)) + _ENCODER.encode(entries)
    assert len(block) <= limits.BLOCK_BYTES_MAX
    return block


def encode_commit_block(epoch: RoomEpoch, body: CommitBody) -> bytes:
    """Pack the bundle that ends `epoch` into a block."""
    return _BLOCK_HEADER.pack(BlockKind.COMMIT, epoch, 1) + _ENCODER.encode(body)


def encode_control_block(epoch: RoomEpoch, body: ControlBody) -> bytes:
    """Pack a statement about `epoch` into a block."""
    return _BLOCK_HEADER.pack(BlockKind.CONTROL, epoch, 1) + _ENCODER.encode(body)


def encode_knock_block(epoch: RoomEpoch, sealed: bytes) -> bytes:
    """Pack a sealed KeyPackage into a block; `epoch` is the room's as the newcomer knows it."""
    block = _BLOCK_HEADER.pack(BlockKind.KNOCK, epoch, 1) + sealed
    assert BLOCK_HEADER_BYTES < len(block) <= limits.KNOCK_BYTES_MAX
    return block


def decode_knock(block: bytes) -> bytes:
    """The sealed KeyPackage of a KNOCK block.

    Raises:
        DecodeError: the block is not such a block.
    """
    if decode_block_header(block).kind is not BlockKind.KNOCK:
        raise DecodeError("not a knock")
    return block[BLOCK_HEADER_BYTES:]


def decode_block_header(block: bytes) -> BlockHeader:
    """Read what servers may read.

    Raises:
        DecodeError: too short, too long, an unknown kind, or a count out of bounds.
    """
    if len(block) < BLOCK_HEADER_BYTES:
        raise DecodeError("block shorter than its header")
    kind, epoch, count = _BLOCK_HEADER.unpack_from(block)
    if kind == BlockKind.APP:
        if not 0 < count <= limits.BLOCK_ENTRIES_MAX or len(block) > limits.BLOCK_BYTES_MAX:
            raise DecodeError("application block out of bounds")
        return BlockHeader(BlockKind.APP, epoch, count)
    if kind == BlockKind.COMMIT:
        if count != 1 or len(block) > limits.COMMIT_BYTES_MAX:
            raise DecodeError("commit block out of bounds")
        return BlockHeader(BlockKind.COMMIT, epoch, count)
    if kind == BlockKind.CONTROL:
        if count != 1 or len(block) > limits.COMMIT_BYTES_MAX:
            raise DecodeError("control block out of bounds")
        return BlockHeader(BlockKind.CONTROL, epoch, count)
    if kind == BlockKind.KNOCK:
        if count != 1 or not BLOCK_HEADER_BYTES < len(block) <= limits.KNOCK_BYTES_MAX:
            raise DecodeError("knock out of bounds")
        return BlockHeader(BlockKind.KNOCK, epoch, count)
    raise DecodeError("unknown kind of block")


def decode_entries(block: bytes) -> list[bytes]:
    """Entries of an APP block, in order; as many as its header says, none empty or above ENTRY_BYTES_MAX.

    Raises:
        DecodeError: the block is not such a block.
    """
    header = decode_block_header(block)
    if header.kind is not BlockKind.APP:
        raise DecodeError("not an application block")
    try:
        entries = _ENTRIES_DECODER.decode(memoryview(block)[BLOCK_HEADER_BYTES:])
    except MALFORMED as error:
        raise DecodeError("malformed entries") from error
    if len(entries) != header.count:
        raise DecodeError("entry count differs from the header")
    if not all(0 < len(entry) <= limits.ENTRY_BYTES_MAX for entry in entries):
        raise DecodeError("entry of a forbidden size")
    return entries


def decode_commit(block: bytes) -> CommitBody:
    """The bundle of a COMMIT block.

    Raises:
        DecodeError: the block is not such a block, or a key in it has the wrong size.
    """
    if decode_block_header(block).kind is not BlockKind.COMMIT:
        raise DecodeError("not a commit block")
    try:
        body = _COMMIT_DECODER.decode(memoryview(block)[BLOCK_HEADER_BYTES:])
    except MALFORMED as error:
        raise DecodeError("malformed commit bundle") from error
    if len(body.next_write_key) != NODE_KEY_BYTES or len(body.next_read_key) != NODE_KEY_BYTES:
        raise DecodeError("epoch key of a wrong size")
    references = [reference for stored in body.welcomes for reference in stored.references]
    if max(len(body.welcomes), len(references)) > limits.WELCOMES_PER_COMMIT_MAX:
        raise DecodeError("too many welcomes")
    if any(len(reference) > NODE_KEY_BYTES for reference in references):
        raise DecodeError("a reference of a wrong size")
    if len(body.join_key) not in {0, NODE_KEY_BYTES} or len(body.descriptor) > limits.DESCRIPTOR_ITEM_BYTES_MAX:
        raise DecodeError("join key or descriptor of a wrong size")
    return body


def decode_control(block: bytes) -> ControlBody:
    """The statement of a CONTROL block.

    Raises:
        DecodeError: the block is not such a block, or a key in it has the wrong size.
    """
    if decode_block_header(block).kind is not BlockKind.CONTROL:
        raise DecodeError("not a control block")
    try:
        body = _CONTROL_DECODER.decode(memoryview(block)[BLOCK_HEADER_BYTES:])
    except MALFORMED as error:
        raise DecodeError("malformed control block") from error
    if isinstance(body, Override) and {len(body.write_key), len(body.read_key)} != {NODE_KEY_BYTES}:
        raise DecodeError("epoch key of a wrong size")
    if isinstance(body, Place):
        move_of(body)
    if isinstance(body, Move):
        _check_move(body)
    return body


def move_of(place: Place) -> Move:
    """The same wish, without a record of the owner's.

    Raises:
        DecodeError: out of bounds.
    """
    move = Move(epoch=place.epoch, servers=place.servers, standbys=place.standbys)
    _check_move(move)
    return move


def _check_move(move: Move) -> None:
    check_servers(move.servers)
    if move.standbys:
        check_servers(move.standbys)
        keys = {server.node_key for server in (*move.servers, *move.standbys)}
        ids = {server.replica_id for server in (*move.servers, *move.standbys)}
        if {len(keys), len(ids)} != {len(move.servers) + len(move.standbys)}:
            raise DecodeError("a server is named twice")
    if move.epoch <= 0 or len(move.descriptor) > limits.DESCRIPTOR_ITEM_BYTES_MAX:
        raise DecodeError("epoch or descriptor of a move out of bounds")


def needed_proof(block: bytes) -> Purpose:
    """The proof that opens the log for a block: ADMIN for an override, a move, a place or a new link, JOIN for a knock or an external commit, else WRITE.

    WRITE of the block's epoch serves external commits as well.

    Raises:
        DecodeError: not a block.
    """
    kind = decode_block_header(block).kind
    match kind:
        case BlockKind.APP:
            return Purpose.WRITE
        case BlockKind.COMMIT:
            body = decode_commit(block)
            if body.join_key:
                return Purpose.ADMIN
            return Purpose.JOIN if body.external else Purpose.WRITE
        case BlockKind.CONTROL:
            return Purpose.WRITE if isinstance(decode_control(block), Ack) else Purpose.ADMIN
        case BlockKind.KNOCK:
            return Purpose.JOIN
        case _:
            assert_never(kind)


def encode_result(result: BlockResult) -> bytes:
    """Encode a room's answer."""
    return _ENCODER.encode(result)


def decode_result(data: bytes) -> BlockResult:
    """Decode a room's answer.

    Raises:
        DecodeError: malformed.
    """
    try:
        return _RESULT_DECODER.decode(data)
    except MALFORMED as error:
        raise DecodeError("malformed result") from error


def chain_start(room_id: RoomId) -> bytes:
    """The chain hash of a room before its first entry."""
    return hashlib.blake2b(room_id, digest_size=CHAIN_BYTES, person=b"samtala-chain0").digest()


def chain_next(chain: bytes, delivery: Delivery) -> bytes:
    """Extend the chain hash over one delivery: 32 bytes that stand for all history through it."""
    header = _DELIVERY_HEADER.pack(delivery.first_sequence, delivery.timestamp_us, delivery.session, delivery.number)
    block_hash = hashlib.blake2b(delivery.block, digest_size=CHAIN_BYTES).digest()
    return hashlib.blake2b(chain + header + block_hash, digest_size=CHAIN_BYTES, person=b"samtala-chain").digest()


def encode_genesis(genesis: Genesis) -> bytes:
    """Encode a genesis record; deterministic."""
    return _ENCODER.encode(genesis)


def decode_genesis(data: bytes) -> Genesis:
    """Decode and check the shape of a genesis record.

    Raises:
        DecodeError: malformed, of another version, with keys of wrong sizes, or with no or repeated members.
    """
    if len(data) > limits.GENESIS_BYTES_MAX:
        raise DecodeError("genesis too large")
    try:
        genesis = _GENESIS_DECODER.decode(data)
    except MALFORMED as error:
        raise DecodeError("malformed genesis") from error
    if genesis.version != GENESIS_VERSION or len(genesis.room_id) != ROOM_ID_BYTES:
        raise DecodeError("genesis of another version")
    keys = [genesis.write_key, genesis.read_key, genesis.join_key, genesis.admin_key]
    keys.extend(member.node_key for member in genesis.members)
    if any(len(key) != NODE_KEY_BYTES for key in keys):
        raise DecodeError("genesis key of a wrong size")
    distinct = {member.replica_id for member in genesis.members}
    if not 0 < len(genesis.members) <= 7 or len(distinct) != len(genesis.members):
        raise DecodeError("genesis members missing, repeated or too many")
    return genesis
