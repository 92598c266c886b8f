"""What a replica wants done: the effects of a step, in the order in which they may be carried out.

    send_now ─ leaves at once                append + meta ─▶ one write, one sync ─▶ storage_done(token) ─▶ send_after

Tokens complete strictly in order. Nothing of `send_after` leaves before everything written up to this Ready is durable.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vr.configuration import Configuration
from vr.errors import DecodeError
from vr.log import Entry, Request
from vr.messages import Message, Rejected, RejectReason
from vr.types import Checksum, ClientId, OpNumber, ReplicaIndex, RequestNumber, SessionNumber, ViewNumber

__all__ = [
    "Checkpoint",
    "CommittedOp",
    "DurableState",
    "EpochEnd",
    "HistoryRead",
    "Ready",
    "RejectReason",
    "Rejected",
    "Reply",
    "SnapshotRead",
]


class DurableState(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What must survive a crash beside the entries.

    `commit` is advisory (a lower bound). `frozen_do_view_change` is the message sent for `view` while view > log_view:
    resent byte for byte, also after a restart. `truncate_above` tells the log to forget operations above it.
    `is_head_certain` False: operations above the log's end may have been acknowledged here, and are lost.
    """

    view: ViewNumber
    log_view: ViewNumber
    commit: OpNumber
    base_op: OpNumber
    base_checksum: Checksum
    frozen_do_view_change: bytes | None = None
    truncate_above: OpNumber | None = None
    is_head_certain: bool = True

    def to_bytes(self) -> bytes:
        """Encode, deterministically."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> DurableState:
        """Decode.

        Raises:
            DecodeError: not such a state.
        """
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise DecodeError("malformed durable state") from error


class CommittedOp(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An operation that was committed and applied here. `requests` are those executed, with their results."""

    entry: Entry
    requests: Sequence[Request]
    results: Sequence[bytes]
    mark: int


class Reply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer to a request submitted here. For a register: number 0, `session` is the new one, `result` its own body."""

    client: ClientId
    session: SessionNumber
    number: RequestNumber
    op: OpNumber
    result: bytes


class ReadDone(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The read of that `number` may look at the service now, as it is after `op`."""

    number: int
    op: OpNumber


class EpochEnd(msgspec.Struct, frozen=True, array_like=True):
    """An epoch ended with the operation (op, checksum), its stop sign; `configuration` is that of the next one.

    The embedder keeps all three (`Restored.began`).
    """

    configuration: Configuration
    op: OpNumber
    checksum: Checksum


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Everything applied through `op`, in deterministic bytes: equal on all replicas. `epochs`: how epochs ended, so far."""

    op: OpNumber
    checksum: Checksum
    timestamp_us: int
    sessions: bytes
    service: bytes
    epochs: tuple[EpochEnd, ...] = ()


class SnapshotPart(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A chunk of a snapshot that a peer offered (`offer`, encoded), proven by its hash: what a restart need not fetch again.

    Losing one costs its transfer only. Parts of another offer, and all when a checkpoint is durable, may be forgotten.
    """

    offer: bytes
    number: int
    data: bytes


class SnapshotRead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A peer wants a chunk of the checkpoint at `op`: send it `state_transfer.make_chunk`, if it is still kept."""

    to: ReplicaIndex
    op: OpNumber
    chunk: int
    chunk_bytes: int


class HistoryRead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A peer wants committed operations that are no longer in memory: send it `Entries` with them.

    If the first is gone for good, send it `state_transfer.make_offer` of the newest checkpoint instead.
    """

    to: ReplicaIndex
    first_op: OpNumber
    last_op: OpNumber


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Effects of everything since the last Ready. `token` is None when nothing has to be made durable.

    `append` is a contiguous run: forget the durable log from its first operation on, then append it. `meta` belongs to
    the same write and takes effect before the entries. `snapshots` came from peers: make them durable as our own
    checkpoints are, then call `snapshot_saved`. `parts` are worth keeping for a restart.

    `epoch_end` comes once, when everything through the stop sign is durable here: make its configuration durable, and only
    then take `Replica.next_epoch`.
    """

    token: int | None
    append: Sequence[Entry] = ()
    meta: DurableState | None = None
    send_now: Sequence[tuple[ReplicaIndex, Message]] = ()
    send_after: Sequence[tuple[ReplicaIndex, Message]] = ()
    committed: Sequence[CommittedOp] = ()
    replies: Sequence[Reply] = ()
    rejected: Sequence[Rejected] = ()
    history_reads: Sequence[HistoryRead] = ()
    snapshot_reads: Sequence[SnapshotRead] = ()
    snapshots: Sequence[Checkpoint] = ()
    parts: Sequence[SnapshotPart] = ()
    reads: Sequence[ReadDone] = ()
    epoch_end: EpochEnd | None = None
