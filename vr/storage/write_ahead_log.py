"""One append-only log for all groups of a process: the only thing that is synced before a promise leaves.

```
  write(records) ─▶ one page-aligned frame ─▶ current segment ─┬─ sync() ─▶ everything written is on the platter
                                                               └─ full: the next segment, prepared ahead
  release(group, base) ─▶ oldest segments nobody needs: live metas written anew, synced, file made the next spare
```

Synchronous and single-threaded: the host calls it from its writer thread, the simulator directly. Any OSError in a write
or sync poisons the log for ever: what the disk holds is unknown, and a second sync would report success for pages the
kernel has given up (ATC 2020). Recovery therefore also *rewrites* the tail that nothing proves synced before it syncs:
reading it back proves only that the page cache has it.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from vr.storage.errors import RecordTooLarge, StoragePoisoned
from vr.storage.file_system import File, FileSystem
from vr.storage.frame import SALT_BYTES, FrameHeader, Record, RecordKind, encode_frame, frame_bytes_of
from vr.storage.limits import (
    FRAME_BYTES_MAX,
    PAGE_BYTES,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MIN,
    SPARE_SEGMENTS,
    SPARE_SEGMENTS_MAX,
    ZERO_CHUNK_BYTES,
)
from vr.storage.log_opening import open_log
from vr.storage.log_usage import LogUsage
from vr.storage.meta import moved_meta
from vr.storage.recovery import RecoveredEntry, RecoveredGroup, Recovery, Settled
from vr.storage.segment import TEMPORARY_SUFFIX, Segment, make_segment, segment_name
from vr.types import GroupId

__all__ = [
    "Record",
    "RecordKind",
    "RecoveredEntry",
    "RecoveredGroup",
    "Recovery",
    "WriteAheadLog",
    "WriteAheadLogOptions",
]


class WriteAheadLogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`entropy(count)` gives unpredictable bytes: what an earlier use or a client left in a segment is no frame then."""

    segment_bytes: int = SEGMENT_BYTES
    entropy: Callable[[int], bytes] = secrets.token_bytes


class WriteAheadLog:
    """The log of one process. Make it with `open`."""

    def __init__(
        self,
        file_system: FileSystem,
        directory: str,
        options: WriteAheadLogOptions,
        *,
        segments: list[Segment],
        settled: Settled,
    ) -> None:
        self._file_system = file_system
        self._directory = directory
        self._options = options
        self._current = next(segment for segment in segments if segment.number == settled.segment)
        self._used = deque(segment for segment in segments if segment.number < settled.segment)  # oldest first
        self._spares = deque(segment for segment in segments if segment.number > settled.segment)
        self._offset = settled.offset
        self._oldest_segment = settled.oldest_segment
        self._last_number = settled.last_number
        self._preparing: File | None = None
        self._usage = LogUsage(settled)
        self._written_lsn = settled.last_lsn
        self._synced_lsn = settled.last_lsn
        self._meta_lsn = settled.meta_lsn
        self._told_synced_lsn = settled.synced_lsn
        self._unsynced: list[File] = []
        self._poison: str | None = None
        self.frames_written = 0
        self.bytes_written = 0
        self.syncs = 0

    @classmethod
    def open(
        cls, file_system: FileSystem, directory: str, *, options: WriteAheadLogOptions | None = None
    ) -> tuple[WriteAheadLog, Recovery]:
        """Read the log in `directory` (made when there is none) and make durable what it holds.

        Raises:
            StoragePoisoned: the disk refused; nothing was lost by trying.
        """
        options = options or WriteAheadLogOptions()
        assert options.segment_bytes >= SEGMENT_BYTES_MIN, "a segment holds at least a few frames"
        assert options.segment_bytes % PAGE_BYTES == 0, "segments are whole pages"
        try:
            segments, settled, recovery = open_log(
                file_system, directory, segment_bytes=options.segment_bytes, entropy=options.entropy
            )
        except OSError as error:
            raise StoragePoisoned(f"the write-ahead log in {directory} cannot be opened: {error}") from error
        return cls(file_system, directory, options, segments=segments, settled=settled), recovery

    # --- writing ----------------------------------------------------------------------------------------------------

    @property
    def written_lsn(self) -> int:
        """The last frame written."""
        return self._written_lsn

    @property
    def synced_lsn(self) -> int:
        """The last frame known to be on the platter."""
        return self._synced_lsn

    @property
    def is_poisoned(self) -> bool:
        """Whether a write or sync failed."""
        return self._poison is not None

    def write(self, records: Sequence[Record]) -> int:
        """Append the records as one batch, whole or not at all; durable after `sync`. Returns the batch's last lsn.

        Raises:
            RecordTooLarge: a record does not fit a segment; nothing was written.
            StoragePoisoned: this write failed, or something before it.
        """
        self._check()
        parts = self._parts(records)
        try:
            for index, part in enumerate(parts):
                self._write_frame(part, more=index < len(parts) - 1)
        except OSError as error:
            raise self._poisoned("write", error) from error
        return self._written_lsn

    def sync(self) -> None:
        """Make everything written durable.

        Raises:
            StoragePoisoned: the sync failed, or something before it. Nothing may be acknowledged any more.
        """
        self._check()
        try:
            for file in self._unsynced:
                file.sync()
        except OSError as error:
            raise self._poisoned("sync", error) from error
        self._unsynced.clear()
        self._synced_lsn = self._written_lsn
        self.syncs += 1

    def write_sync_mark(self) -> None:
        """Tell on disk that everything before is synced, so that its rot is told from a torn write. For idle moments.

        Does nothing when the disk knows already. Raises StoragePoisoned.
        """
        self._check()
        if self._told_synced_lsn < self._synced_lsn and self._synced_lsn == self._written_lsn:
            self.write(())
            self.sync()
            # A mark promises nothing itself: without this every mark would ask for another one.
            self._told_synced_lsn = self._synced_lsn

    def _parts(self, records: Sequence[Record]) -> list[Sequence[Record]]:
        frame_bytes_max = min(FRAME_BYTES_MAX, self._options.segment_bytes - PAGE_BYTES)
        if frame_bytes_of(records) <= frame_bytes_max:
            return [records]
        parts: list[Sequence[Record]] = []
        part: list[Record] = []
        size = 0
        for record in records:
            record_bytes = frame_bytes_of([record])  # rounded up: a part never turns out larger than its sum
            if record_bytes > self._options.segment_bytes - PAGE_BYTES:
                raise RecordTooLarge(f"a record of {len(record.payload)} bytes does not fit a segment")
            if part and size + record_bytes > frame_bytes_max:
                parts.append(part)
                part, size = [], 0
            part.append(record)
            size += record_bytes
        parts.append(part)
        return parts

    def _write_frame(self, records: Sequence[Record], *, more: bool) -> None:
        data = encode_frame(self._header(more=more), records)
        if self._offset + len(data) > self._current.size:
            self._rotate()
            data = encode_frame(self._header(more=more), records)
        self._current.file.write_at(self._offset, data)
        if not self._unsynced or self._unsynced[-1] is not self._current.file:
            self._unsynced.append(self._current.file)
        self._offset += len(data)
        self._written_lsn += 1
        self._told_synced_lsn = self._synced_lsn
        self.frames_written += 1
        self.bytes_written += len(data)
        if self._usage.note(records, self._current.number):
            self._meta_lsn = self._written_lsn

    def _header(self, *, more: bool) -> FrameHeader:
        return FrameHeader(
            salt=self._current.salt,
            lsn=self._written_lsn + 1,
            synced_lsn=self._synced_lsn,
            meta_lsn=self._meta_lsn,
            segment=self._current.number,
            oldest_segment=self._oldest_segment,
            offset=self._offset,
            more=more,
        )

    # --- segments ---------------------------------------------------------------------------------------------------

    @property
    def live_segments(self) -> int:
        """Segments that hold something a restart needs, the current one included."""
        return len(self._used) + 1

    @property
    def live_bytes(self) -> int:
        """Bytes of log a restart would read."""
        return sum(segment.size for segment in self._used) + self._offset

    @property
    def wants_spare(self) -> bool:
        """Whether the next segment should be prepared now: the current one is half full and there is none."""
        return len(self._spares) < SPARE_SEGMENTS and self._offset * 2 > self._current.size

    def prepare_spare(self) -> None:
        """Do a piece of preparing the next segment, at most 1 MiB; for moments when nobody waits. Raises StoragePoisoned."""
        self._check()
        try:
            self._prepare_piece()
        except OSError as error:
            raise self._poisoned("allocation", error) from error

    def _prepare_piece(self) -> None:
        if self._preparing is None:
            self._preparing = self._file_system.open(self._spare_path, create=True)
        size = min(self._preparing.size() + ZERO_CHUNK_BYTES, self._options.segment_bytes)
        self._preparing.allocate(size)
        self._preparing.sync()
        if size == self._options.segment_bytes:
            self._preparing.close()
            self._preparing = None
            self._spares.append(self._make(self._spare_path))

    def _rotate(self) -> None:
        while not self._spares:
            self._prepare_piece()
        self._used.append(self._current)
        self._current = self._spares.popleft()
        self._offset = PAGE_BYTES

    def _make(self, temporary: str) -> Segment:
        self._last_number += 1
        return make_segment(
            self._file_system,
            self._directory,
            number=self._last_number,
            salt=self._options.entropy(SALT_BYTES),
            temporary=temporary,
        )

    @property
    def _spare_path(self) -> str:
        return f"{self._directory}/spare{TEMPORARY_SUFFIX}"

    @property
    def _recycled_path(self) -> str:
        return f"{self._directory}/recycled{TEMPORARY_SUFFIX}"

    # --- release ----------------------------------------------------------------------------------------------------

    def release(self, group: GroupId, base_op: int) -> None:
        """Operations up to `base_op` are durable elsewhere. Recycles the oldest segments when nobody needs them.

        Raises StoragePoisoned.
        """
        self._check()
        self._usage.release(group, base_op)
        oldest = self._usage.oldest_needed(self._current.number)
        if oldest <= self._oldest_segment:
            return
        try:
            self._recycle_below(oldest)
        except OSError as error:
            raise self._poisoned("release", error) from error

    def pinning_groups(self) -> list[GroupId]:
        """Groups whose entries keep the oldest segment: checkpoint them to shorten the log."""
        return self._usage.groups_in(self._oldest_segment) if self._used else []

    def _recycle_below(self, oldest: int) -> None:
        self._oldest_segment = oldest
        # Even without metas: the new oldest segment must be on the platter before an older one disappears.
        self.write([moved_meta(meta) for meta in self._usage.metas_below(oldest)])
        self.sync()
        while self._used and self._used[0].number < oldest:
            self._recycle(self._used.popleft())

    def _recycle(self, segment: Segment) -> None:
        path = f"{self._directory}/{segment_name(segment.number)}"
        segment.file.close()
        if len(self._spares) >= SPARE_SEGMENTS_MAX or segment.size != self._options.segment_bytes:
            self._file_system.remove(path)
            self._file_system.sync_directory(self._directory)
            return
        self._file_system.rename(path, self._recycled_path)
        self._file_system.sync_directory(self._directory)
        self._spares.append(self._make(self._recycled_path))

    # --- end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the files back. Syncs nothing: what was not synced was not acknowledged."""
        for segment in (*self._used, self._current, *self._spares):
            segment.file.close()
        if self._preparing is not None:
            self._preparing.close()

    def _check(self) -> None:
        if self._poison is not None:
            raise StoragePoisoned(self._poison)

    def _poisoned(self, what: str, error: OSError) -> StoragePoisoned:
        self._poison = f"{what} of the write-ahead log failed: {error}; this process may acknowledge nothing more"
        return StoragePoisoned(self._poison)
