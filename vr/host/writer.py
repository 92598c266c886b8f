"""Who writes the log: a thread of its own, or the loop itself when that is quicker.

```
 loop: submit(job) ──queue──▶ thread: write + sync ──run_sync_soon──▶ on_done(job) ─▶ loop
       write_here(job): write + sync, at once
```

A thread of its own, not trio's pool: handing a job over and back costs 0.14 ms instead of 0.20 (measured beside a sync of
0.11). Even that is more than a sync takes on a good disk, so when peers wait for nothing but our disk, the batch is small
and syncs have been quick, the loop does it itself. A slow sync ends that until the thread has seen quick ones again.

The log has one owner at a time: the thread while any job is outstanding, else the loop. The loop counts, so no lock is
needed; the thread touches nothing after it has reported.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from vr.host.limits import FREE_CHECK_BYTES, FREE_CHECK_S, INLINE_BYTES_MAX, INLINE_SYNC_S_MAX
from vr.storage.errors import StorageError
from vr.storage.frame import Record
from vr.storage.write_ahead_log import WriteAheadLog
from vr.types import GroupId


class WriteJob(msgspec.Struct, frozen=True, kw_only=True):
    """Records to make durable together; `size` is their payloads' bytes."""

    records: Sequence[Record]
    size: int


class ReleaseJob(msgspec.Struct, frozen=True, kw_only=True):
    """Operations of groups that are durable elsewhere: (group, through op)."""

    bases: Sequence[tuple[GroupId, int]]


class PinsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Ask which groups keep the oldest segment."""


class MarkJob(msgspec.Struct, frozen=True, kw_only=True):
    """The log is idle: make what was acknowledged provable."""


class SpareJob(msgspec.Struct, frozen=True, kw_only=True):
    """Prepare the next segment, until another job comes."""


class LookJob(msgspec.Struct, frozen=True, kw_only=True):
    """Only look at the free space."""


Job = WriteJob | ReleaseJob | PinsJob | MarkJob | SpareJob | LookJob


class LogWriter:
    """Callbacks come through `call_soon`, in the order of the jobs: `on_done(job, pins)`, or once `on_failed(error)`.

    `free_bytes()` is asked now and then. Attributes are as of the last job.
    """

    def __init__(
        self,
        log: WriteAheadLog,
        *,
        call_soon: Callable[..., object],
        on_done: Callable[[Job, Sequence[GroupId]], None],
        on_failed: Callable[[StorageError], None],
        free_bytes: Callable[[], int],
    ) -> None:
        self._log = log
        self._call_soon = call_soon
        self._on_done = on_done
        self._on_failed = on_failed
        self._measure_free_bytes = free_bytes
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outstanding = 0
        self._free_checked_at = time.monotonic()
        self._unchecked_bytes = 0
        self.free_bytes = free_bytes()
        self.live_segments = log.live_segments
        self.wants_spare = log.wants_spare
        self.sync_s = INLINE_SYNC_S_MAX  # smoothed duration of a write with its sync; unproven at first
        self._thread = threading.Thread(target=self._run, name="vr-log-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job for the thread; never blocks."""
        self._outstanding += 1
        self._queue.put(job)

    def look_again(self) -> None:
        """Measure the free space soon, also when nothing is written: a full disk that was cleared must be noticed."""
        if self._outstanding == 0 and time.monotonic() - self._free_checked_at > FREE_CHECK_S:
            self.submit(LookJob())

    def may_write_here(self, size: int) -> bool:
        """Whether the loop would be done sooner without the thread."""
        return (
            self._outstanding == 0
            and size <= INLINE_BYTES_MAX
            and self.sync_s < INLINE_SYNC_S_MAX
            and not self.wants_spare
        )

    def write_here(self, job: WriteJob) -> bool:
        """Write and sync in the calling thread. False when it failed: `on_failed` was called then."""
        assert self._outstanding == 0, "the thread owns the log"
        try:
            self._do(job)
        except StorageError as error:
            self._on_failed(error)
            return False
        return True

    def close(self) -> None:
        """Finish what is queued, write a last mark and end the thread; blocks for that long."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (job := self._queue.get()) is not None:
                pins = self._do(job)
                self._call_soon(self._report, job, pins)
            self._log.write_sync_mark()
        except StorageError as error:
            self._call_soon(self._on_failed, error)

    def _report(self, job: Job, pins: Sequence[GroupId]) -> None:
        """In the loop's thread."""
        self._outstanding -= 1
        self._on_done(job, pins)

    def _do(self, job: Job) -> Sequence[GroupId]:
        pins: Sequence[GroupId] = ()
        match job:
            case WriteJob():
                start = time.perf_counter()
                self._log.write(job.records)
                self._log.sync()
                self._unchecked_bytes += job.size
                self.sync_s += (time.perf_counter() - start - self.sync_s) / 8
            case ReleaseJob():
                for group, base_op in job.bases:
                    self._log.release(group, base_op)
            case PinsJob():
                pins = self._log.pinning_groups()
            case MarkJob():
                self._log.write_sync_mark()
            case SpareJob():
                while self._log.wants_spare and self._queue.empty():
                    self._log.prepare_spare()
            case LookJob():
                pass
        self._look_around()
        return pins

    def _look_around(self) -> None:
        self.live_segments = self._log.live_segments
        self.wants_spare = self._log.wants_spare
        now = time.monotonic()
        if now - self._free_checked_at > FREE_CHECK_S or self._unchecked_bytes > FREE_CHECK_BYTES:
            self._free_checked_at = now
            self._unchecked_bytes = 0
            try:
                self.free_bytes = self._measure_free_bytes()
            except OSError:
                self.free_bytes = 0
