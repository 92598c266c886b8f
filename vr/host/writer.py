"""The thread that owns the write-ahead log: one write and one sync at a time, for all groups.

```
 loop: submit(job) ──queue──▶ write + sync ──run_sync_soon──▶ on_done(job) ─▶ loop
                              idle 50 ms: sync mark, the next segment
```

A thread of its own, not a thread pool: handing a job over and back costs half as much (ADR on the hot writer), and the
log has a single owner. While a sync runs the loop collects the next batch.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from vr.host.limits import FREE_CHECK_S, MARK_AFTER_IDLE_S
from vr.storage.errors import StorageError
from vr.storage.frame import Record
from vr.storage.write_ahead_log import WriteAheadLog
from vr.types import GroupId


class WriteJob(msgspec.Struct, frozen=True, kw_only=True):
    """Records to make durable together."""

    records: Sequence[Record]


class ReleaseJob(msgspec.Struct, frozen=True, kw_only=True):
    """Operations of groups that are durable elsewhere: (group, through op)."""

    bases: Sequence[tuple[GroupId, int]]


class PinsJob(msgspec.Struct, frozen=True, kw_only=True):
    """Ask which groups keep the oldest segment."""


Job = WriteJob | ReleaseJob | PinsJob


class LogWriter:
    """Callbacks come through `call_soon`, in the order of the jobs: `on_done(job, pins)`, or once `on_failed(error)`.

    `free_bytes()` is asked now and then, in the thread.
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
        self._thread = threading.Thread(target=self._run, name="vr-log-writer", daemon=True)
        self.live_segments = log.live_segments
        self.free_bytes = free_bytes()
        self._free_checked_at = time.monotonic()
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; never blocks."""
        self._queue.put(job)

    def close(self) -> None:
        """Finish what is queued, write a last mark and end the thread; blocks for that long."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                pins = self._do(job)
                self._call_soon(self._on_done, job, pins)
                self._look_around()
            self._log.write_sync_mark()
        except StorageError as error:
            self._call_soon(self._on_failed, error)

    def _next(self) -> Job | None:
        """The next job; idle moments on the way to it are used."""
        try:
            return self._queue.get(timeout=MARK_AFTER_IDLE_S)
        except queue.Empty:
            self._log.write_sync_mark()
        while self._log.wants_spare and self._queue.empty():
            self._log.prepare_spare()
        return self._queue.get()

    def _do(self, job: Job) -> Sequence[GroupId]:
        match job:
            case WriteJob():
                self._log.write(job.records)
                self._log.sync()
            case ReleaseJob():
                for group, base_op in job.bases:
                    self._log.release(group, base_op)
            case PinsJob():
                return self._log.pinning_groups()
        return ()

    def _look_around(self) -> None:
        self.live_segments = self._log.live_segments
        now = time.monotonic()
        if now - self._free_checked_at > FREE_CHECK_S:
            self._free_checked_at = now
            try:
                self.free_bytes = self._measure_free_bytes()
            except OSError:
                self.free_bytes = 0
