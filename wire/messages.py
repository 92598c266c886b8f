"""What clients and servers say to each other, and the hello of two servers.

Every frame (`wire.frames`) holds one message: a msgpack array whose first element is its tag. After TLS:

    client                                server
      Hello(nonce) ────────────────────▶
      ◀──────────────── ServerHello(nonce)
      Prove(room, READ, epoch, signature) ▶   ◀ Proved
      Subscribe(room, after) ──────────▶      ◀ Subscribed(next, chain), RoomTip, Deliver, Deliver, …
      OpenSession(room, client_id) ────▶      ◀ SessionOpened(session)
      Append(room, session, n, blocks) ▶      ◀ Appended(room, session, [(n, result), …])

Calls with an `id` are answered by one message with that id, or by `Refused`. Append is pipelined and answered by
(session, number). Nobody names a person: a proof is a signature by a key that all members of an epoch share
(e2ee.md §3.1), over the server's key and both nonces, so that it cannot be relayed or replayed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

import msgspec

from wire.errors import DecodeError, RefusalCode
from wire.ids import ClientId, GroupEpoch, NodeKey, RoomEpoch, RoomId, Sequence
from wire.peer_messages import ClusterMessage, MessageBase, RoomMessage
from wire.room import MALFORMED, Delivery, Purpose

NONCE_BYTES: Final = 32
BOX_BYTES: Final = 16
_PROOF_LABEL: Final = b"samtala/proof/v1"
_PEER_PROOF_LABEL: Final = b"samtala/peer-proof/v1"


class Hello(MessageBase, frozen=True, tag=1):
    """First frame of a client."""

    version: int
    nonce: bytes
    agent: str = ""
    oldest: int = 0
    """The oldest version that it speaks (`wire.versions`); 0: `version` is the only one."""


class ServerHello(MessageBase, frozen=True, tag=2):
    """First frame of a server to a client. `version` is the one that they speak; `wall_us` its clock, unix microseconds."""

    version: int
    nonce: bytes
    node_key: NodeKey
    name: str
    wall_us: int


class RelayAsk(MessageBase, frozen=True, tag=65):
    """Between servers: somebody wants the one that is asked, and only the asker can be dialled: come, with these 16 bytes."""

    token: bytes


class PeerHello(MessageBase, frozen=True, tag=3):
    """First frame between two servers, both ways; who dialled speaks first and then proves itself (`wire.peering`)."""

    version: int
    replica_id: bytes
    name: str
    software: str
    node_key: NodeKey
    nonce: bytes
    oldest: int = 0
    """As in `Hello`."""


class PeerProof(MessageBase, frozen=True, tag=8):
    """Second frame of the server that dialled: its signature over this connection (`peer_proof_message`)."""

    signature: bytes


class PeerFrame(MessageBase, frozen=True, tag=4):
    """Replication traffic between two servers; opaque here, decoded by `vr.host`."""

    data: bytes


class Ping(MessageBase, frozen=True, tag=5):
    """Are you there? Between servers nobody answers, and `id` is the sender's clock, unix microseconds; 0: it does not say."""

    id: int


class Pong(MessageBase, frozen=True, tag=6):
    """I am here."""

    id: int


class Refused(MessageBase, frozen=True, tag=7):
    """A call failed; nothing changed. `retry_after_s` > 0 where a retry makes sense."""

    id: int
    code: RefusalCode
    text: str
    retry_after_s: float = 0.0


class GetNodeInfo(MessageBase, frozen=True, tag=10):
    """Which servers are in this cluster?"""

    id: int


class NodeAddress(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A server as clients reach it. `replica_id` is empty where it is not known yet."""

    name: str
    node_key: NodeKey
    replica_id: bytes
    host: str
    port: int
    up: bool


class NodeInfo(MessageBase, frozen=True, tag=11):
    """The servers that this one knows, itself first. `room_servers`: so many a new room should have, 0 if nobody says."""

    id: int
    nodes: tuple[NodeAddress, ...]
    room_servers: int = 0


class CreateRoom(MessageBase, frozen=True, tag=12):
    """Host this room: `genesis` is an encoded `wire.room.Genesis`. Repeating it is harmless."""

    id: int
    genesis: bytes


class RoomCreated(MessageBase, frozen=True, tag=13):
    """The genesis is on this server's stable storage."""

    id: int
    room_id: RoomId


class GetRoomStatus(MessageBase, frozen=True, tag=14):
    """How is this room?"""

    id: int
    room_id: RoomId


class ReplicaStatus(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One replica as the answering server sees it. `lag_ops` is -1 where unknown. `replica_id` is its data folder's."""

    node_key: NodeKey
    name: str
    up: bool
    lag_ops: int
    replica_id: bytes = b""


class RoomStatus(MessageBase, frozen=True, tag=15):
    """A room as the answering server sees it; `spare_failures` is how many more replicas it can lose, -1: no quorum.

    `group_epoch` counts which servers the room has had; `standbys` get everything and have no vote.
    """

    id: int
    room_id: RoomId
    view: int
    status: str
    primary: NodeKey
    op_number: int
    commit_number: int
    epoch: RoomEpoch
    next_sequence: Sequence
    chain: bytes
    spare_failures: int
    replicas: tuple[ReplicaStatus, ...]
    group_epoch: GroupEpoch = GroupEpoch(0)
    standbys: tuple[ReplicaStatus, ...] = ()


class Prove(MessageBase, frozen=True, tag=20):
    """Open `purpose` of a room for this connection. JOIN and ADMIN proofs carry epoch 0."""

    id: int
    room_id: RoomId
    purpose: Purpose
    epoch: RoomEpoch
    signature: bytes


class Proved(MessageBase, frozen=True, tag=21):
    """The proof holds. `epoch` is the room's now, which may be above the proven one."""

    id: int
    room_id: RoomId
    purpose: Purpose
    epoch: RoomEpoch


class Subscribe(MessageBase, frozen=True, tag=22):
    """Deliver everything after sequence `after` (0: from the start), as far as READ is proven, and go on."""

    id: int
    room_id: RoomId
    after: Sequence


class Subscribed(MessageBase, frozen=True, tag=23):
    """Deliveries follow. `next_sequence`, `epoch` and `chain` are the room's now."""

    id: int
    room_id: RoomId
    next_sequence: Sequence
    epoch: RoomEpoch
    chain: bytes


class RoomTip(MessageBase, frozen=True, tag=28):
    """Pushed once for each Subscribed, with its id: what anybody was promised before has a sequence below `next_sequence`.

    The server asks a majority for it (VRR 6.3, ReadIndex): its own state may be old. Without a majority it does not come.
    """

    id: int
    room_id: RoomId
    next_sequence: Sequence


class Deliver(MessageBase, frozen=True, tag=24):
    """Accepted blocks, in order, without gaps within one subscription."""

    room_id: RoomId
    deliveries: tuple[Delivery, ...]


class Unsubscribe(MessageBase, frozen=True, tag=25):
    """Stop delivering this room."""

    id: int
    room_id: RoomId


class RoomCondition(MessageBase, frozen=True, tag=27):
    """How the room stands where the server stands; pushed once something is proven, and again when it changes.

    `spare_failures`: replicas that may be lost before the room stops; -1: from here, nothing can be appended now.
    """

    room_id: RoomId
    spare_failures: int


class KnownServers(MessageBase, frozen=True, tag=44):
    """The client knows the room's servers of this epoch; answered with `ServersChanged` if there are later ones, else not.

    Needs no proof: who knows a room's id may know where it is.
    """

    room_id: RoomId
    epoch: GroupEpoch


class ServersChanged(MessageBase, frozen=True, tag=45):
    """The room has other servers since the epoch that the client said it knows; pushed when that comes to be.

    `certificates` are encoded `wire.certificate.EpochCertificate`s, one for each epoch since then, in order.
    """

    room_id: RoomId
    certificates: tuple[bytes, ...]


class Done(MessageBase, frozen=True, tag=26):
    """A call without other answer is done."""

    id: int


class OpenSession(MessageBase, frozen=True, tag=30):
    """Register a session for exactly-once appends (VRR §4.5, logged). Needs WRITE or JOIN."""

    id: int
    room_id: RoomId
    client_id: ClientId


class SessionOpened(MessageBase, frozen=True, tag=31):
    """The session's number; its requests count from 1."""

    id: int
    room_id: RoomId
    session: int


class Append(MessageBase, frozen=True, tag=32):
    """Blocks for the log: requests `number`, `number`+1, … of `session`. A resend is the same bytes again."""

    room_id: RoomId
    client_id: ClientId
    session: int
    number: int
    blocks: tuple[bytes, ...]


class Appended(MessageBase, frozen=True, tag=33):
    """Committed: each is (request number, encoded `wire.room.BlockResult`), durable at a majority."""

    room_id: RoomId
    session: int
    results: tuple[tuple[int, bytes], ...]


class AppendRefused(MessageBase, frozen=True, tag=34):
    """Requests of this session from `number` on were not taken up here; their outcome stays open until resent."""

    room_id: RoomId
    session: int
    number: int
    code: RefusalCode
    retry_after_s: float = 0.0


class GetJoinBundle(MessageBase, frozen=True, tag=40):
    """The sealed GroupInfo of the room's epoch. Needs JOIN, READ or WRITE."""

    id: int
    room_id: RoomId


class JoinBundle(MessageBase, frozen=True, tag=41):
    """Answer: `sequence` is that of the commit which began `epoch` (0 for genesis); `chain` the hash through it."""

    id: int
    room_id: RoomId
    epoch: RoomEpoch
    group_info: bytes
    sequence: Sequence
    chain: bytes


class GetWelcome(MessageBase, frozen=True, tag=42):
    """The Welcome stored under a KeyPackage reference. Needs JOIN, READ or WRITE."""

    id: int
    room_id: RoomId
    reference: bytes


class StoredWelcomeReply(MessageBase, frozen=True, tag=43):
    """Answer: the Welcome, and the sequence and chain hash of the commit that carried it."""

    id: int
    room_id: RoomId
    welcome: bytes
    sequence: Sequence
    chain: bytes


class PutLetter(MessageBase, frozen=True, tag=60):
    """Keep a sealed letter for whoever knows its box, a random number of BOX_BYTES; answered by Done. Needs no proof."""

    id: int
    box: bytes
    letter: bytes


class TakeLetter(MessageBase, frozen=True, tag=61):
    """Hand out the letter of a box and forget it; NOT_FOUND if there is none. Needs no proof."""

    id: int
    box: bytes


class Letter(MessageBase, frozen=True, tag=62):
    """Answer: the letter."""

    id: int
    letter: bytes


class DialBack(MessageBase, frozen=True, tag=63):
    """Dial me where I come from: can `node_key`, one of your peers, be reached at my address and this TCP port?

    The request names no address, so that nobody can be made to dial somebody else. Needs no proof.
    """

    id: int
    node_key: NodeKey
    port: int


class Reach(IntEnum):
    """What became of a call back. The numbers are part of the protocol."""

    REACHED = 1
    """The server with that key answered."""
    CLOSED = 2
    """Something said that nobody listens there."""
    SILENT = 3
    """No answer: a firewall, or a router that forwards nothing."""
    STRANGER = 4
    """Something else listens there."""


class DialledBack(MessageBase, frozen=True, tag=64):
    """Answer: what came of it, and the numeric address that was dialled: the asker's as seen from here."""

    id: int
    reach: Reach
    host: str


class AskCluster(MessageBase, frozen=True, tag=66):
    """First and only kind of message of a server that joins a cluster; again whenever it wants to know. Needs no hello.

    `secret`: of the token. `record`: `wire.cluster.NodeRecord`, encoded. `signature`: `wire.cluster.sign_ask`.
    """

    secret: bytes
    record: bytes
    signature: bytes


class Asked(IntEnum):
    """What became of a wish to join. The numbers are part of the protocol."""

    WAITING = 1
    """Somebody has to approve it."""
    JOINED = 2
    DENIED = 3
    UNKNOWN = 4
    """No such invitation: withdrawn, or long over."""
    EXPIRED = 5
    USED = 6
    """Another server asked with this invitation."""
    NAME_TAKEN = 7
    KEY_TAKEN = 8
    FULL = 9
    LATER = 10
    """The cluster's servers cannot decide now: ask again."""
    TOO_OLD = 11
    """The asker does not know the formats that the cluster's servers write."""


class ClusterAnswer(MessageBase, frozen=True, tag=67):
    """Answer. `genesis` and `roster` as in PeerCluster, once the asker belongs to the cluster; until then empty."""

    asked: Asked
    cluster_id: bytes
    name: str
    genesis: bytes = b""
    roster: bytes = b""


Message: TypeAlias = (
    Hello | ServerHello | PeerHello | PeerProof | PeerFrame | Ping | Pong | Refused | GetNodeInfo | NodeInfo | CreateRoom
    | RoomCreated | GetRoomStatus | RoomStatus | Prove | Proved | Subscribe | Subscribed | Deliver | Unsubscribe
    | RoomCondition | RoomTip | KnownServers | ServersChanged | Done | OpenSession | SessionOpened | Append
    | Appended | AppendRefused | GetJoinBundle | JoinBundle | GetWelcome | StoredWelcomeReply | RoomMessage
    | PutLetter | TakeLetter | Letter | DialBack | DialledBack | ClusterMessage | AskCluster | ClusterAnswer
    | RelayAsk
)  # fmt: skip

_DECODER: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """Encode one message; `wire.frames` adds the length."""
    return _ENCODER.encode(message)


def decode(data: bytes | memoryview) -> Message:
    """Decode one message.

    Raises:
        DecodeError: unknown tag, wrong types, or trailing bytes.
    """
    try:
        return _DECODER.decode(data)
    except MALFORMED as error:
        raise DecodeError(f"malformed message: {error}") from error


def proof_message(
    *, purpose: Purpose, node_key: NodeKey, server_nonce: bytes, client_nonce: bytes, room_id: RoomId, epoch: RoomEpoch
) -> bytes:
    """The bytes that a proof signs: bound to this server, this connection, this room and this epoch."""
    return b"".join(
        (_PROOF_LABEL, bytes((purpose,)), node_key, server_nonce, client_nonce, room_id, epoch.to_bytes(8, "big"))
    )


def peer_proof_message(*, acceptor: PeerHello, dialer: PeerHello) -> bytes:
    """The bytes by which the server that dialled proves its key: bound to both keys, nonces and replicas."""
    fields = (
        _PEER_PROOF_LABEL,
        *(acceptor.node_key, acceptor.nonce, acceptor.replica_id),
        *(dialer.node_key, dialer.nonce, dialer.replica_id),
    )
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)
