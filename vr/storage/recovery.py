"""What a scanned log means: which frames count, what was torn, what rotted, what every group is left with. Pure.

```
 lsn   1   2   3   4   5   6   7        highest synced_lsn any sound frame tells = 5
       ok  ok  ??  ok  ok  ok  ??
               │               └ above 5: TORN. Never acknowledged; the log is cut here and what follows is dropped.
               └ up to 5: FAULTY. Was on the platter, may have been acknowledged; never cut. Its entries are handed on
                 as faulty where a directory survived; else every group's head is uncertain from here.
```

Records replay in lsn order: an ENTRY(op) drops the group's operations >= op and appends; a META replaces the one before
and applies its truncation and its base. Residual, documented: rot of exactly the last batch, when the process died within
50 ms of it and before the next batch, looks like a torn write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from vr.storage.frame import RecordKind, RecordSummary
from vr.storage.limits import HOLE_OPS_MAX, PAGE_BYTES, REPORT_LINES_MAX
from vr.storage.segment import ScannedFrame, ScannedSegment, segment_name
from vr.types import Checksum, GroupId

UNKNOWN_OP = 1 << 64
"""Above every operation number."""


class MetaEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What a meta does to the log before it: operations above `truncate_above` and up to `base_op` are gone."""

    base_op: int
    truncate_above: int | None


class RecoveredEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An operation of the log. `payload` is None when its bytes rotted; `checksum` too when not even that is known."""

    op: int
    view: int
    checksum: Checksum | None
    payload: bytes | None


class RecoveredGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What the log holds of one group.

    `meta` is None when the group was born here and promised nothing. With `meta_faulty` a later meta than `meta` may
    have been lost: the replica must not vote. Without `head_certain` operations above or among `entries` may have been lost.
    """

    meta: bytes | None
    meta_faulty: bool
    entries: list[RecoveredEntry]
    head_certain: bool


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """The whole log. `report` says in human words what was cut and what is damaged; empty after a clean end.

    Unless `complete`, synced frames are lost without a trace of whose they were: a group missing from `groups` may have
    promised something.
    """

    groups: dict[GroupId, RecoveredGroup]
    report: list[str]
    frames: int
    cut_frames: int
    faulty_entries: int
    complete: bool


class Location(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an entry's bytes are."""

    segment: int
    offset: int
    size: int
    crc: int


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """An operation of a group; without `location` (and checksum) its frame is lost and only its number is known."""

    op: int
    view: int
    checksum: Checksum | None
    location: Location | None
    is_rotten: bool


class GroupReplay(msgspec.Struct, kw_only=True):
    """A group while its records replay."""

    meta: bytes | None = None
    meta_record: RecordSummary | None = None
    meta_segment: int = 0
    meta_lost: bool = False
    base_op: int = 0
    slots: list[Slot] = msgspec.field(default_factory=list)
    known_from: int = 0
    """After unreadable frames: every operation from this one on is known; those between the base and it may be lost."""

    @property
    def head_certain(self) -> bool:
        """Whether no operation above the base may have been lost without a trace."""
        return self.known_from <= self.base_op + 1

    def truncate_above(self, op: int) -> None:
        """Drop operations above `op`."""
        if self.slots:
            del self.slots[max(0, op + 1 - self.slots[0].op) :]

    def drop_up_to(self, op: int) -> None:
        """Drop operations up to `op`: a checkpoint holds them."""
        self.base_op = max(self.base_op, op)
        if self.slots:
            del self.slots[: max(0, op + 1 - self.slots[0].op)]


class Settled(msgspec.Struct, kw_only=True):
    """The verdict: frames that count, groups after replay, and where writing goes on."""

    frames: list[ScannedFrame]
    groups: dict[GroupId, GroupReplay]
    report: list[str]
    cut_frames: int = 0
    synced_lsn: int = 0
    last_lsn: int = 0
    meta_lsn: int = 0
    oldest_segment: int = 1
    segment: int = 1
    offset: int = PAGE_BYTES
    last_number: int = 0
    """The highest segment number in the folder; new segments go on from it."""
    complete: bool = True
    must_clear: bool = False
    """The rest of `segment` bears marks of dropped frames: zero it before writing on."""


def settle(segments: Sequence[ScannedSegment], meta_effect: Callable[[bytes], MetaEffect | None]) -> Settled:
    """Judge the scanned segments, ascending by number."""
    report: list[str] = []
    found = _ascending((frame for segment in segments for frame in segment.frames), report)
    synced_lsn = max((frame.header.synced_lsn for frame in found), default=0)
    kept = _kept(found, synced_lsn)
    settled = Settled(frames=kept, groups={}, report=report, synced_lsn=synced_lsn, cut_frames=len(found) - len(kept))
    if kept:
        settled.last_lsn = kept[-1].header.lsn
        settled.oldest_segment = kept[-1].header.oldest_segment
        settled.segment, settled.offset = kept[-1].segment, kept[-1].end
    elif segments:
        settled.oldest_segment = settled.segment = segments[0].number
    settled.last_number = max((segment.number for segment in segments), default=0)
    settled.frames = [frame for frame in kept if frame.segment >= settled.oldest_segment]
    _note_cut(settled, segments, found[len(kept) :])
    _Replay(settled, meta_effect).run()
    _note_unreadable(settled, segments)
    if len(report) > REPORT_LINES_MAX:
        report[REPORT_LINES_MAX:] = [f"and {len(report) - REPORT_LINES_MAX} lines more"]
    return settled


def _ascending(frames: Iterable[ScannedFrame], report: list[str]) -> list[ScannedFrame]:
    """Frames by position; one whose lsn does not ascend cannot be of this log and is ignored."""
    ascending: list[ScannedFrame] = []
    for frame in frames:
        if ascending and frame.header.lsn <= ascending[-1].header.lsn:
            report.append(f"{segment_name(frame.segment)}: ignored a frame out of order at byte {frame.offset}")
        else:
            ascending.append(frame)
    return ascending


def _kept(frames: list[ScannedFrame], synced_lsn: int) -> list[ScannedFrame]:
    """Frames before the first torn one. Torn: missing or with rotten bytes, and nothing says that it was synced."""
    kept: list[ScannedFrame] = []
    expected = _first_expected(frames)
    for frame in frames:
        # From `expected` to this frame's predecessor all are missing; if the last of them was not known synced, cut.
        if is_torn(first_missing=expected, frame=frame, synced_lsn=synced_lsn):
            break
        kept.append(frame)
        expected = frame.header.lsn + 1
    while kept and kept[-1].header.more and kept[-1].header.lsn > synced_lsn:
        kept.pop()  # a batch of several frames without its last one
    return kept


def is_torn(*, first_missing: int, frame: ScannedFrame, synced_lsn: int) -> bool:
    """Whether the log ends before `frame`: it, or one missing before it, is bad and was never known to be synced."""
    lsn = frame.header.lsn
    return (lsn - 1 > synced_lsn and first_missing < lsn) or (lsn > synced_lsn and bool(frame.rotten))


def _first_expected(frames: list[ScannedFrame]) -> int:
    """The lsn that must come first. Frames begin right after a segment's header, so a later start means a lost one."""
    if not frames:
        return 1
    first = frames[0]
    return first.header.lsn - (first.offset != PAGE_BYTES)


def _note_cut(settled: Settled, segments: Sequence[ScannedSegment], dropped: list[ScannedFrame]) -> None:
    residue = [
        segment
        for segment in segments
        if segment.residue_offset is not None
        and (segment.number, segment.residue_offset) >= (settled.segment, settled.offset)
    ]
    settled.must_clear = bool(dropped or residue)
    if settled.must_clear:
        groups = {record.group for frame in dropped for record in frame.records}
        settled.report.append(
            f"{segment_name(settled.segment)}: cut a torn tail at byte {settled.offset}, after lsn {settled.last_lsn}"
            f" ({len(dropped)} readable frames of {len(groups)} groups dropped); none of it was acknowledged"
        )


def _note_unreadable(settled: Settled, segments: Sequence[ScannedSegment]) -> None:
    """A segment that cannot be read at all and lies after the last frame: nobody knows what it held."""
    for segment in segments:
        if segment.salt is None and segment.number >= settled.segment:
            settled.report.append(
                f"{segment_name(segment.number)}: unreadable, and it may have held the newest promises;"
                " every group of this log starts uncertain"
            )
            for group in settled.groups.values():
                group.known_from = UNKNOWN_OP
                group.meta_lost = True
            settled.complete = False
            # The lost frames stay lost for later starts too: numbering goes on past them.
            settled.last_lsn += 1
            settled.meta_lsn = settled.last_lsn


class _Replay:
    """Applies the kept frames to the groups."""

    def __init__(self, settled: Settled, meta_effect: Callable[[bytes], MetaEffect | None]) -> None:
        self._settled = settled
        self._meta_effect = meta_effect
        self._groups = settled.groups
        self._gap_seen = False
        self._meta_gap_seen = False

    def run(self) -> None:
        settled = self._settled
        frames = settled.frames
        expected = _first_expected(frames)
        if frames and (expected < frames[0].header.lsn or frames[0].segment > settled.oldest_segment):
            expected = 1  # the beginning is missing or unreadable: nobody knows how much of it
        for frame in frames:
            if frame.header.lsn > expected:
                self._on_gap(expected, frame)
            if any(record.kind is not RecordKind.ENTRY for record in frame.records):
                settled.meta_lsn = frame.header.lsn
            for index, record in enumerate(frame.records):
                self._on_record(frame, record, is_rotten=index in frame.rotten)
            expected = frame.header.lsn + 1

    def _on_gap(self, expected: int, frame: ScannedFrame) -> None:
        """Frames that were synced are gone without a directory: whose they were nobody knows."""
        lost_meta = frame.header.meta_lsn >= expected
        self._gap_seen = True
        self._settled.complete = False
        self._meta_gap_seen |= lost_meta
        for group in self._groups.values():
            group.known_from = UNKNOWN_OP
            group.meta_lost |= lost_meta
        self._settled.report.append(
            f"{segment_name(frame.segment)}: frames {expected} to {frame.header.lsn - 1} before byte {frame.offset} are"
            f" unreadable though they were synced{', metas among them' if lost_meta else ''};"
            " every group of this log starts uncertain"
        )

    def _on_record(self, frame: ScannedFrame, record: RecordSummary, *, is_rotten: bool) -> None:
        group = self._groups.get(record.group)
        if group is None:
            group = self._groups[record.group] = GroupReplay(
                known_from=UNKNOWN_OP if self._gap_seen else 0, meta_lost=self._meta_gap_seen
            )
        match record.kind:
            case RecordKind.ENTRY:
                self._on_entry(group, record, frame, is_rotten=is_rotten)
            case RecordKind.META:
                self._on_meta(group, record, frame)
            case RecordKind.BIRTH:
                self._groups[record.group] = GroupReplay(meta_record=record, meta_segment=frame.segment)

    def _on_meta(self, group: GroupReplay, record: RecordSummary, frame: ScannedFrame) -> None:
        assert record.payload is not None, "metas travel in the description"
        effect = self._meta_effect(record.payload)
        group.meta, group.meta_record, group.meta_segment = record.payload, record, frame.segment
        group.meta_lost = effect is None
        if effect is None:
            self._settled.report.append(f"{record.group.hex()}: a meta cannot be decoded at lsn {frame.header.lsn}")
            return
        if effect.truncate_above is not None:
            group.truncate_above(effect.truncate_above)
        group.drop_up_to(effect.base_op)

    def _on_entry(self, group: GroupReplay, record: RecordSummary, frame: ScannedFrame, *, is_rotten: bool) -> None:
        op, slots = record.op, group.slots
        group.known_from = min(group.known_from, op)
        group.truncate_above(op - 1)
        if slots and op - slots[-1].op - 1 > HOLE_OPS_MAX:
            slots.clear()
            group.known_from = op
        if slots:
            slots.extend(
                Slot(op=hole, view=0, checksum=None, location=None, is_rotten=True)
                for hole in range(slots[-1].op + 1, op)
            )
        location = Location(
            segment=frame.segment,
            offset=frame.offset + record.offset,
            size=record.payload_bytes,
            crc=record.payload_crc,
        )
        slots.append(Slot(op=op, view=record.view, checksum=record.checksum, location=location, is_rotten=is_rotten))
        if is_rotten:
            self._settled.report.append(
                f"{segment_name(frame.segment)}: operation {op} of group {record.group.hex()} at byte {location.offset}"
                " rotted after it was synced; it will be fetched from peers"
            )
