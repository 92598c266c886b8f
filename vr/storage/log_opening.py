"""Opening a log: read, judge, make durable, clear the torn tail. After this the disk holds exactly what was recovered.

Order matters. The tail that nothing proves synced is written again before the sync: after an earlier failed sync the
page cache may hold what the platter lacks, as clean pages. So is a segment's header of which one copy has rotted, and the
one copy of metas that is missing where the other was found: a torn frame may have its front alone. The rest
of a cut segment is zeroed and synced before anything new is written behind it: a dropped frame must not come back to life
behind a new one of the same length.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from vr.storage.file_system import FileSystem
from vr.storage.frame import SALT_BYTES, RecordKind, lost_copy
from vr.storage.limits import PAGE_BYTES, ZERO_CHUNK_BYTES
from vr.storage.meta import meta_effect
from vr.storage.recovery import (
    GroupReplay,
    RecoveredEntry,
    RecoveredGroup,
    Recovery,
    Settled,
    Slot,
    settle,
)
from vr.storage.segment import (
    TEMPORARY_SUFFIX,
    ScannedSegment,
    Segment,
    make_segment,
    mend_segment_header,
    scan_segment,
    segment_name,
    segment_number,
)


def open_log(
    file_system: FileSystem, directory: str, *, segment_bytes: int, entropy: Callable[[int], bytes]
) -> tuple[list[Segment], Settled, Recovery]:
    """Segments by number (the one to write on at `Settled.segment`), the verdict, and what the groups get. Raises OSError."""
    file_system.make_directory(directory)
    scanned = scan_log(file_system, directory)
    settled = settle(scanned, meta_effect)
    segments = _open_segments(file_system, directory, scanned, settled)
    if all(segment.number != settled.segment for segment in segments):
        segments.append(_first_segment(file_system, directory, settled, segment_bytes=segment_bytes, entropy=entropy))
    _settle_tail(segments, settled)
    file_system.sync_directory(directory)
    groups = {group_id: _recovered(replay, segments) for group_id, replay in settled.groups.items()}
    recovery = Recovery(
        groups=groups,
        report=settled.report,
        frames=len(settled.frames),
        cut_frames=settled.cut_frames,
        faulty_entries=sum(entry.payload is None for group in groups.values() for entry in group.entries),
        complete=settled.complete,
    )
    return segments, settled, recovery


def scan_log(file_system: FileSystem, directory: str) -> list[ScannedSegment]:
    """Every segment of a folder, ascending; changes nothing. Raises OSError."""
    scanned: list[ScannedSegment] = []
    for name in file_system.list(directory):
        number = segment_number(name)
        if number is not None:
            file = file_system.open(f"{directory}/{name}")
            scanned.append(scan_segment(number, file.read_at(0, file.size())))
            file.close()
    return scanned


def _open_segments(
    file_system: FileSystem, directory: str, scanned: list[ScannedSegment], settled: Settled
) -> list[Segment]:
    """Open what is live or a clean spare; remove what was released, cut off, or half made."""
    segments: list[Segment] = []
    for segment in scanned:
        path = f"{directory}/{segment_name(segment.number)}"
        is_cut_off = segment.number > settled.segment and (segment.frames or segment.residue_offset is not None)
        if segment.number < settled.oldest_segment or segment.is_stale or is_cut_off:
            file_system.remove(path)
        elif segment.salt is not None:
            file = file_system.open(path)
            mend_segment_header(file, segment.number, segment.salt)
            segments.append(Segment(number=segment.number, file=file, salt=segment.salt, size=file.size()))
        # An unreadable segment stays where it is: each start has to see that something is missing.
    for name in file_system.list(directory):
        if name.endswith(TEMPORARY_SUFFIX):
            file_system.remove(f"{directory}/{name}")
    return segments


def _first_segment(
    file_system: FileSystem,
    directory: str,
    settled: Settled,
    *,
    segment_bytes: int,
    entropy: Callable[[int], bytes],
) -> Segment:
    """A segment to write on, when there is none or the newest cannot be read."""
    temporary = f"{directory}/first{TEMPORARY_SUFFIX}"
    file = file_system.open(temporary, create=True)
    file.allocate(segment_bytes)
    file.sync()
    file.close()
    settled.last_number += 1
    settled.segment, settled.offset = settled.last_number, PAGE_BYTES
    settled.must_clear = False
    return make_segment(file_system, directory, number=settled.segment, salt=entropy(SALT_BYTES), temporary=temporary)


def _settle_tail(segments: list[Segment], settled: Settled) -> None:
    """Put on the platter what was recovered, and nothing behind it."""
    by_number = {segment.number: segment for segment in segments}
    for frame in settled.frames:
        segment = by_number[frame.segment]
        if frame.header.lsn > settled.synced_lsn:
            segment.file.write_at(frame.offset, segment.file.read_at(frame.offset, frame.frame_bytes))
        if any(record.kind is not RecordKind.ENTRY for record in frame.records):
            lost = lost_copy(segment.file.read_at(frame.offset, frame.frame_bytes), segment.salt)
            if lost is not None:
                segment.file.write_at(frame.offset + lost[0], lost[1])
    if settled.must_clear:
        current = by_number[settled.segment]
        zeros = bytes(ZERO_CHUNK_BYTES)
        for offset in range(settled.offset, current.size, ZERO_CHUNK_BYTES):
            current.file.write_at(offset, zeros[: current.size - offset])
    for segment in segments:
        segment.file.sync()


def _recovered(replay: GroupReplay, segments: list[Segment]) -> RecoveredGroup:
    by_number = {segment.number: segment for segment in segments}
    return RecoveredGroup(
        meta=replay.meta,
        meta_faulty=replay.meta_lost,
        entries=[
            RecoveredEntry(op=slot.op, view=slot.view, checksum=slot.checksum, payload=_payload(slot, by_number))
            for slot in replay.slots
        ],
        head_certain=replay.head_certain,
    )


def _payload(slot: Slot, segments: dict[int, Segment]) -> bytes | None:
    """The entry's bytes, checked once more: they may have rotted since the scan."""
    if slot.is_rotten or slot.location is None:
        return None
    payload = segments[slot.location.segment].file.read_at(slot.location.offset, slot.location.size)
    return payload if crc32(payload) == slot.location.crc else None
