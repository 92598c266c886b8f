"""Which segment still holds what: decides when a segment may be recycled. Pure bookkeeping, a few steps per record.

Per group the live operations as runs (first, last, segment), oldest first, and the newest meta with its segment. A
segment is needed while a run lies in it; metas are small and move along.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import msgspec

from vr.storage.frame import Record, RecordKind, RecordSummary
from vr.storage.recovery import GroupReplay, Settled
from vr.types import GroupId


class _Run(msgspec.Struct, gc=False):
    first_op: int
    last_op: int
    segment: int


class _GroupUsage(msgspec.Struct):
    runs: deque[_Run]
    meta: Record | None
    meta_segment: int
    pinned_segment: int = 0
    """Where damage shows that this group has not got over yet; 0 = none. Recycling it would make the loss invisible."""
    meta_lost: bool = False
    """A newer meta than `meta` was lost: moving `meta` along would hide that."""
    known_from: int = 0
    """Operations between the base and this one may be lost."""


class LogUsage:
    """The live content of the log, by group and segment."""

    def __init__(self, settled: Settled) -> None:
        self._groups: dict[GroupId, _GroupUsage] = {}
        self._runs_in: Counter[int] = Counter()
        self._pins_in: Counter[int] = Counter()
        for group_id, replay in settled.groups.items():
            self._restore(group_id, replay, settled.oldest_segment)

    def note(self, records: Sequence[Record], segment: int) -> bool:
        """Count records just written to `segment`; whether metas were among them."""
        has_meta = False
        for record in records:
            usage = self._groups.get(record.group)
            if usage is None:
                usage = self._groups[record.group] = _GroupUsage(deque(), None, segment)
            if record.kind is RecordKind.ENTRY:
                self._extend(usage, record.op, segment)
            else:
                has_meta = True
                self._set_meta(usage, record, segment)
        return has_meta

    def release(self, group: GroupId, base_op: int) -> None:
        """Operations up to `base_op` are not needed."""
        usage = self._groups.get(group)
        if usage is None:
            return
        if usage.known_from <= base_op + 1:
            usage.known_from = 0
            self._unpin(usage)
        while usage.runs and usage.runs[0].first_op <= base_op:
            if usage.runs[0].last_op > base_op:
                usage.runs[0].first_op = base_op + 1
                return
            self._runs_in[usage.runs.popleft().segment] -= 1

    def oldest_needed(self, current: int) -> int:
        """The first segment that holds a live operation, at most `current`."""
        needed = [segment for counter in (self._runs_in, self._pins_in) for segment, count in counter.items() if count]
        return min(needed, default=current)

    def metas_below(self, segment: int) -> list[Record]:
        """The newest metas that lie in older segments: write them again before those go."""
        return [
            usage.meta for usage in self._groups.values() if usage.meta is not None and usage.meta_segment < segment
        ]

    def groups_in(self, segment: int) -> list[GroupId]:
        """Groups with live operations in a segment."""
        return [group for group, usage in self._groups.items() if usage.runs and usage.runs[0].segment <= segment]

    def _extend(self, usage: _GroupUsage, op: int, segment: int) -> None:
        runs = usage.runs
        if op < usage.known_from:
            usage.known_from = op
        while runs and runs[-1].last_op >= op:  # the durable log is truncated to op - 1 first
            if runs[-1].first_op < op:
                runs[-1].last_op = op - 1
            else:
                self._runs_in[runs.pop().segment] -= 1
        if runs and runs[-1].segment == segment:
            runs[-1].last_op = op
        else:
            runs.append(_Run(op, op, segment))
            self._runs_in[segment] += 1

    def _set_meta(self, usage: _GroupUsage, record: Record, segment: int) -> None:
        usage.meta = record
        usage.meta_segment = segment
        if usage.meta_lost:
            usage.meta_lost = False
            self._unpin(usage)

    def _unpin(self, usage: _GroupUsage) -> None:
        """Let the damaged segment go, if the group has got over all of it."""
        if usage.pinned_segment and not usage.meta_lost and not usage.known_from:
            self._pins_in[usage.pinned_segment] -= 1
            usage.pinned_segment = 0

    def _restore(self, group_id: GroupId, replay: GroupReplay, oldest_segment: int) -> None:
        usage = _GroupUsage(deque(), None, replay.meta_segment)
        self._groups[group_id] = usage
        segment = oldest_segment
        for slot in replay.slots:
            segment = segment if slot.location is None else slot.location.segment
            self._extend(usage, slot.op, segment)
        if replay.meta_record is not None:
            usage.meta = _record(replay.meta_record)
        usage.meta_lost = replay.meta_lost
        usage.known_from = 0 if replay.head_certain else replay.known_from
        if usage.meta_lost or usage.known_from:
            usage.pinned_segment = oldest_segment
            self._pins_in[oldest_segment] += 1


def _record(summary: RecordSummary) -> Record:
    assert summary.payload is not None, "only metas are moved along"
    return Record(
        group=summary.group,
        kind=summary.kind,
        view=summary.view,
        op=summary.op,
        checksum=summary.checksum,
        payload=summary.payload,
    )
