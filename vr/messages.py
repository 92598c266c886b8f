"""Messages between replicas of one group (VRR 4), and their encoding.

| message | sent by, to | says | durable before it leaves |
|---|---|---|---|
| Prepare | primary, backups | the next operation, and what is committed | the view (not the entry: disks work in parallel) |
| PrepareOk | backup, primary | I have everything through (op, checksum) | that entry, all before it, the view |
| Commit | primary, backups | what is committed; `want_answer` asks for a PrepareOk | nothing more |
| StartViewChange | anybody, all | I would leave my view for this one: advice, no promise | nothing |
| DoViewChange | anybody, all | I left; this is my log: header suffix | the view, the log, this message itself |
| StartView | new primary, backups | the view's log | the log view, the log |
| GetView | anybody, all | what is going on? | nothing |
| GetEntries / Entries | anybody | operations wanted by identity, or whatever is committed at op | nothing |
| SnapshotOffer | anybody | those operations are gone; this is the state after them | the snapshot |
| GetChunk / Chunk | anybody | a piece of that snapshot | the snapshot |
| NewEpoch | who has ended the epoch; anybody | the epoch ended with (op, checksum): follow | nothing: it is committed |
| Forward | backup, primary | requests of clients attached to the sender | nothing |
| Refuse | primary, backup | forwarded requests that were not taken up | nothing |
| ReadIndex | primary, backups; backup, primary | are you still with me? what has a read to see? | nothing |
| ReadIndexOk | the other way | I am NORMAL in this view; see everything through op | nothing (a lease: the log view) |

Unlike VRR 4.2, StartViewChange carries the view proposed and changes nothing at its sender; and DoViewChange and StartView
carry headers, never bodies: bodies are fetched by identity.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from vr import limits
from vr.errors import DecodeError
from vr.log import HEADER_BYTES, NUMBERS_MAX, Request
from vr.types import (
    CHECKSUM_BYTES,
    Checksum,
    ClientId,
    OpNumber,
    ReplicaIndex,
    RequestNumber,
    SessionNumber,
    ViewNumber,
)

Op: TypeAlias = Annotated[OpNumber, msgspec.Meta(ge=0, lt=NUMBERS_MAX)]
View: TypeAlias = Annotated[ViewNumber, msgspec.Meta(ge=0, lt=NUMBERS_MAX)]
Member: TypeAlias = Annotated[ReplicaIndex, msgspec.Meta(ge=0, lt=limits.REPLICAS_MAX)]
Context: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=NUMBERS_MAX)]
Digest: TypeAlias = Annotated[Checksum, msgspec.Meta(min_length=CHECKSUM_BYTES, max_length=CHECKSUM_BYTES)]
DigestOrNone: TypeAlias = Annotated[Checksum, msgspec.Meta(max_length=CHECKSUM_BYTES)]
Headers: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=limits.HEADERS_PER_MESSAGE_MAX * HEADER_BYTES)]
ChunkNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=limits.SNAPSHOT_CHUNKS_MAX)]
ChunkBytes: TypeAlias = Annotated[int, msgspec.Meta(gt=0, le=limits.SNAPSHOT_CHUNK_BYTES)]
EntryData: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=limits.ENTRY_BYTES_MAX)]


class RejectReason(IntEnum):
    """Why a request was not taken up. Only BUSY is worth repeating as it is."""

    BUSY = 1
    EVICTED = 2
    UNKNOWN_SESSION = 3
    SEQUENCE_GAP = 4
    TOO_LARGE = 5
    NEW_EPOCH = 6


class Rejected(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """A request that this attempt will not get answered; never silence."""

    client: ClientId
    session: SessionNumber
    number: RequestNumber
    reason: RejectReason
    retry_after_s: float = 0.0


class _Message(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True, tag_field="type"):
    view: View
    replica: Member


class Prepare(_Message, frozen=True, tag=1):
    """VRR 4.1 step 3. `data` is the encoded entry."""

    commit: Op
    data: EntryData


class PrepareOk(_Message, frozen=True, tag=2):
    """VRR 4.1 step 4, cumulative. `commit` is what the backup knows to be committed, `digest` its state after `digest_op`."""

    op: Op
    checksum: Digest
    commit: Op
    digest_op: Op = OpNumber(0)
    digest: DigestOrNone = Checksum(b"")


class Commit(_Message, frozen=True, tag=3):
    """VRR 4.1 step 6. `head_op` lets a backup see that it misses something; `digest` is of our state after `digest_op`."""

    commit: Op
    head_op: Op
    want_answer: bool = False
    digest_op: Op = OpNumber(0)
    digest: DigestOrNone = Checksum(b"")


class StartViewChange(_Message, frozen=True, tag=4):
    """VRR 4.2 step 1. `view` is the proposed one."""


class DoViewChange(_Message, frozen=True, tag=5):
    """VRR 4.2 step 2. The log through `commit` is committed; `headers` are packed: commit + 1 … head_op.

    The sender certainly never had anything above `nacks_above` on stable storage: a nack. What lies between `head_op` and
    `nacks_above` it may have acknowledged, and lost (vr.nacks).
    """

    log_view: View
    head_op: Op
    commit: Op
    commit_checksum: Digest
    headers: Headers
    nacks_above: Op

    @property
    def is_certain(self) -> bool:
        """Does the sender vouch for its whole log?"""
        return self.nacks_above == self.head_op


class StartView(_Message, frozen=True, tag=6):
    """VRR 4.2 step 3. Fields as in DoViewChange; the log at the view's start, or as it is now for who comes late."""

    head_op: Op
    commit: Op
    commit_checksum: Digest
    headers: Headers
    nonce: int = 0


class GetView(_Message, frozen=True, tag=7):
    """Asks the primary of the sender's view, or of a higher one, for StartView with `nonce`."""

    nonce: int


class GetEntries(_Message, frozen=True, tag=8):
    """Asks for operations. An empty checksum means: what is committed there, or belongs to `view`."""

    wanted: Annotated[tuple[tuple[Op, DigestOrNone], ...], msgspec.Meta(max_length=limits.ENTRIES_PER_MESSAGE_MAX)]


class Entries(_Message, frozen=True, tag=9):
    """Encoded entries, ascending. Those through `commit` their sender knows to be committed; others are of its view."""

    data: Annotated[tuple[EntryData, ...], msgspec.Meta(max_length=limits.ENTRIES_PER_MESSAGE_MAX)]
    commit: Op = OpNumber(0)


class Forward(_Message, frozen=True, tag=10):
    """Requests of clients attached to the sender."""

    requests: Annotated[tuple[Request, ...], msgspec.Meta(max_length=limits.PENDING_REQUESTS_MAX)]


class Refuse(_Message, frozen=True, tag=11):
    """Forwarded requests that the primary did not take up."""

    rejected: Annotated[tuple[Rejected, ...], msgspec.Meta(max_length=limits.PENDING_REQUESTS_MAX)]


class ReadIndex(_Message, frozen=True, tag=20):
    """Of a primary: do you still follow me? Of a backup: what has a read to see? `nonce`, `context` come back.

    `lease_ms`: a primary asks its backup not to leave the view for so long; 0: no lease.
    """

    nonce: int
    context: Context
    lease_ms: Annotated[int, msgspec.Meta(ge=0, le=limits.LEASE_MS_MAX)] = 0


class ReadIndexOk(_Message, frozen=True, tag=21):
    """Yes, I am NORMAL in this view; of the primary: a read has to see everything through `op`."""

    nonce: int
    context: Context
    op: Op


class NewEpoch(_Message, frozen=True, tag=22):
    """VRR 7.1: `epoch` has begun; the operation before it, its predecessor's stop sign, is (op, checksum), committed."""

    epoch: Annotated[int, msgspec.Meta(gt=0, lt=limits.EPOCHS_MAX)]
    op: Op
    checksum: Digest


class SnapshotOffer(_Message, frozen=True, tag=30):
    """VRR 5.3: the operations asked for are gone, but here is the state after `op`. `hashes` are those of its chunks."""

    op: Op
    checksum: Digest
    size: Annotated[int, msgspec.Meta(gt=0, le=limits.SNAPSHOT_BYTES_MAX)]
    chunk_bytes: ChunkBytes
    hashes: Annotated[bytes, msgspec.Meta(max_length=limits.SNAPSHOT_CHUNKS_MAX * CHECKSUM_BYTES)]


class GetChunk(_Message, frozen=True, tag=31):
    """Asks for one chunk of the snapshot that was offered at `op`."""

    op: Op
    number: ChunkNumber
    chunk_bytes: ChunkBytes


class Chunk(_Message, frozen=True, tag=32):
    """That chunk."""

    op: Op
    number: ChunkNumber
    data: Annotated[bytes, msgspec.Meta(max_length=limits.SNAPSHOT_CHUNK_BYTES)]


Message: TypeAlias = (
    Prepare | PrepareOk | Commit | StartViewChange | DoViewChange | StartView | GetView | GetEntries | Entries | Forward
    | Refuse | ReadIndex | ReadIndexOk | NewEpoch | SnapshotOffer | GetChunk | Chunk
)  # fmt: skip

_DECODER: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """Encode; equal messages have equal bytes."""
    return _ENCODER.encode(message)


def decode(data: bytes | memoryview) -> Message:
    """Decode, sizes first.

    Raises:
        DecodeError: too large, malformed, or out of bounds.
    """
    if len(data) > limits.MESSAGE_BYTES_MAX:
        raise DecodeError("message too large")
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError("malformed message, or out of bounds") from error
