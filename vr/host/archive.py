"""The worker that keeps history: one job at a time in a thread, everything that is due in it.

```
 loop: backlogs, checkpoints, reads ──▶ job ──thread──▶ append all, save checkpoints (one sync), read ──▶ loop
                                        the next job gathers meanwhile
```

History may lag: until a checkpoint is durable the log holds everything. So a job that is lost with the process, or
cancelled, costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from vr.host.limits import PEER_FRAME_BYTES_MAX
from vr.ready import CommittedOp, EpochEnd, HistoryRead, SnapshotPart, SnapshotRead
from vr.replica import Checkpoint
from vr.storage.history import History, HistoryEntry
from vr.types import GroupId, ReplicaId


class Read(msgspec.Struct, kw_only=True, eq=False):
    """A read by the embedder: operations that moved the service past `mark`."""

    group: GroupId
    mark: int
    bytes_max: int
    is_done: trio.Event
    entries: list[HistoryEntry] = msgspec.field(default_factory=list)


class PeerRead(msgspec.Struct, kw_only=True, eq=False):
    """A read for a peer that lags."""

    group: GroupId
    peer: ReplicaId
    wanted: HistoryRead
    entries: list[HistoryEntry] = msgspec.field(default_factory=list)
    checkpoint: Checkpoint | None = None
    """Set when the first of them is gone: the state after all that is."""


class ChunkRead(msgspec.Struct, kw_only=True, eq=False):
    """A read of one chunk of a checkpoint, for a peer that is brought back by it."""

    group: GroupId
    peer: ReplicaId
    wanted: SnapshotRead
    checkpoint: Checkpoint | None = None


class EpochBegin(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch ended here: what has to be durable before the next begins. `end` is None if we are not in the next one."""

    group: GroupId
    end: EpochEnd | None
    notes: Sequence[tuple[int, bytes]]


class ArchiveJob(msgspec.Struct, kw_only=True, eq=False):
    """What one visit to the database does, in this order."""

    appends: Sequence[tuple[GroupId, Sequence[CommittedOp]]] = ()
    parts: Sequence[tuple[GroupId, Sequence[SnapshotPart]]] = ()
    checkpoints: Sequence[tuple[GroupId, Checkpoint]] = ()
    snapshots: Sequence[tuple[GroupId, Checkpoint]] = ()
    forgotten: Sequence[tuple[GroupId, int]] = ()
    reads: Sequence[Read] = ()
    peer_reads: Sequence[PeerRead] = ()
    chunk_reads: Sequence[ChunkRead] = ()
    epochs: Sequence[EpochBegin] = ()


def do_archive_job(history: History, job: ArchiveJob) -> None:
    """Perform a job; runs in the worker thread.

    Raises:
        HistoryUnusable: the database failed; the process has to stop.
    """
    if job.appends:
        history.append_many(job.appends)
    for group, parts in job.parts:
        history.keep_parts(group, parts)
    if job.checkpoints or job.snapshots:
        history.save_checkpoints([*job.checkpoints, *job.snapshots])
    for epoch in job.epochs:
        history.begin_epoch(epoch.group, epoch.end, epoch.notes)
    for group, through_op in job.forgotten:
        history.forget_entries(group, through_op)
    for read in job.reads:
        read.entries = history.read_from_mark(read.group, read.mark, bytes_max=read.bytes_max)
    for peer_read in job.peer_reads:
        _read_for_peer(history, peer_read)
    for chunk_read in job.chunk_reads:
        chunk_read.checkpoint = history.load_checkpoint_at(chunk_read.group, chunk_read.wanted.op)


def _read_for_peer(history: History, read: PeerRead) -> None:
    wanted = read.wanted
    entries = history.read_entries(read.group, wanted.first_op, wanted.last_op, bytes_max=PEER_FRAME_BYTES_MAX // 2)
    if entries and entries[0].op == wanted.first_op:
        read.entries = entries
        return
    checkpoint = history.load_checkpoint(read.group)
    if checkpoint is not None and checkpoint.op >= wanted.first_op:
        read.checkpoint = checkpoint
