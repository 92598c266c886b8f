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
from vr.ready import CommittedOp, HistoryRead
from vr.replica import Checkpoint
from vr.storage.history import History, HistoryEntry
from vr.types import GroupId


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
    wanted: HistoryRead
    entries: list[HistoryEntry] = msgspec.field(default_factory=list)


class ArchiveJob(msgspec.Struct, kw_only=True, eq=False):
    """What one visit to the database does, in this order."""

    appends: Sequence[tuple[GroupId, Sequence[CommittedOp]]] = ()
    checkpoints: Sequence[tuple[GroupId, Checkpoint]] = ()
    reads: Sequence[Read] = ()
    peer_reads: Sequence[PeerRead] = ()


def do_archive_job(history: History, job: ArchiveJob) -> None:
    """Perform a job; runs in the worker thread.

    Raises:
        HistoryUnusable: the database failed; the process has to stop.
    """
    if job.appends:
        history.append_many(job.appends)
    if job.checkpoints:
        history.save_checkpoints(job.checkpoints)
    for read in job.reads:
        read.entries = history.read_from_mark(read.group, read.mark, bytes_max=read.bytes_max)
    for peer_read in job.peer_reads:
        peer_read.entries = history.read_entries(
            peer_read.group,
            peer_read.wanted.first_op,
            peer_read.wanted.last_op,
            bytes_max=PEER_FRAME_BYTES_MAX // 2,
        )
