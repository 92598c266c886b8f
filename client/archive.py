"""What a member keeps of a room's epochs, so that newcomers can read what its owner lets them (e2ee.md §3.5). Pure.

    an epoch begins ─▶ policy none: nothing                                               forward secrecy as MLS gives it
                    ─▶ else: ArchiveRecord, before any key of the epoch is used           given up for as long as it is kept
    policy, time ────▶ what is older than the window is dropped, and with it what it could open

One record in so many carries its epoch's public group as well: that is where a newcomer can begin to follow commits. Between
such a beginning and the first epoch that may be read a record keeps the key of its commit only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

import mls
from client import limits
from client.room_state import ArchiveRecord, Cursor
from wire.ids import RoomEpoch

_DAY_US: Final = 86_400_000_000
EVERYTHING: Final = -1


class HistoryPolicy(msgspec.Struct, frozen=True, gc=False):
    """How much newcomers may read of what was before them: nothing (0 days), a window, or all that is kept (-1)."""

    days: int = 0

    @property
    def is_kept(self) -> bool:
        """Tell whether members keep anything for newcomers."""
        return self.days != 0

    def since_us(self, now_us: int) -> int:
        """The earliest time that may be read, unix microseconds."""
        return 0 if self.days < 0 else now_us - self.days * _DAY_US

    def __str__(self) -> str:
        match self.days:
            case 0:
                return "none"
            case -1:
                return "full"
            case 1:
                return "1 day"
            case _:
                return f"{self.days} days"


NO_HISTORY: Final = HistoryPolicy()
FULL_HISTORY: Final = HistoryPolicy(EVERYTHING)


class Archive:
    """The records of one room. `added` and `dropped` are to be stored, in this order; the core takes them out."""

    def __init__(self, stored: Iterable[ArchiveRecord]) -> None:
        self.added: list[ArchiveRecord] = []
        self.dropped: list[RoomEpoch] = []
        self._records = {record.epoch: record for record in sorted(stored, key=lambda record: record.epoch)}

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is kept."""
        return not self._records

    @property
    def records(self) -> tuple[ArchiveRecord, ...]:
        """All that is kept, the oldest first."""
        return tuple(self._records.values())

    def has(self, epoch: RoomEpoch) -> bool:
        """Tell whether an epoch is kept."""
        return epoch in self._records

    def enter(self, group: mls.Group, policy: HistoryPolicy, *, env_key: bytes, place: Cursor, time_us: int) -> None:
        """Keep an epoch that begins.

        Args:
            group: in that epoch, untouched since it began.
            policy: the room's.
            env_key: that of the epoch, 32 bytes.
            place: the entry that began it.
            time_us: when that was, by the log.
        """
        secrets = mls.record_of(group) if policy.is_kept else None
        if secrets is None:
            return
        epoch = RoomEpoch(group.epoch)
        public = mls.PublicGroup.of(group).encode() if self._is_beginning(epoch, len(group.members())) else b""
        self._put(
            ArchiveRecord(
                epoch=epoch, sequence=place.sequence, chain=place.chain, time_us=time_us, env_key=env_key,
                encryption_secret=secrets.encryption_secret, sender_data_secret=secrets.sender_data_secret, public=public,
            )
        )  # fmt: skip
        while len(self._records) > limits.ARCHIVE_EPOCHS_MAX:
            self._drop_until(self._beginnings()[1])

    def take(self, records: Iterable[ArchiveRecord]) -> None:
        """Keep what another member kept before us, once it is known to be true."""
        for record in records:
            if record.epoch not in self._records:
                self._put(record)
        self._records = dict(sorted(self._records.items()))

    def keep(self, policy: HistoryPolicy, now_us: int) -> None:
        """Drop what nobody may be given any more; the epoch that we are in stays."""
        if not policy.is_kept:
            self._drop_until(None)
            return
        records = self.records
        first = _first_within(records, policy.since_us(now_us))
        if first == 0:
            return
        begin = max((place for place in range(first + 1) if records[place].public), default=first)
        self._drop_until(records[begin].epoch)
        for record in records[begin:first]:
            if record.encryption_secret:
                self._put(_without_messages(record))

    def grant(self, before: RoomEpoch, since_us: int) -> tuple[ArchiveRecord, ...]:
        """What somebody may be given who came in with epoch `before`; empty if nothing leads there.

        Args:
            before: their first epoch.
            since_us: what ended before that is not given, unix microseconds.
        """
        run: list[ArchiveRecord] = []
        epoch = RoomEpoch(before - 1)
        while epoch in self._records:
            run.append(self._records[epoch])
            epoch = RoomEpoch(epoch - 1)
        run.reverse()
        first = _first_within(run, since_us)
        begin = max((place for place in range(first + 1) if place < len(run) and run[place].public), default=None)
        if begin is None:
            begin = next((place for place, record in enumerate(run) if record.public), None)
        if begin is None:
            return ()
        first = max(first, begin)
        given = [_without_messages(record) for record in run[begin:first]]
        given += [msgspec.structs.replace(record, public=b"") for record in run[first:]]
        return (msgspec.structs.replace(given[0], public=run[begin].public), *given[1:])

    def _put(self, record: ArchiveRecord) -> None:
        self._records[record.epoch] = record
        self.added.append(record)

    def _drop_until(self, epoch: RoomEpoch | None) -> None:
        for old in [old for old in self._records if epoch is None or old < epoch]:
            del self._records[old]
            self.dropped.append(old)

    def _beginnings(self) -> list[RoomEpoch]:
        return [record.epoch for record in self._records.values() if record.public]

    def _is_beginning(self, epoch: RoomEpoch, members: int) -> bool:
        """The tree grows with the members, so the larger it is the fewer are kept: some 250 bytes an epoch."""
        beginnings = self._beginnings()
        has_gap = RoomEpoch(epoch - 1) not in self._records
        return has_gap or not beginnings or epoch - beginnings[-1] >= max(limits.ARCHIVE_PUBLIC_EPOCHS, members)


def _first_within(records: Sequence[ArchiveRecord], since_us: int) -> int:
    """The place of the first epoch that had not ended by then. The last one has not ended as far as they know."""
    for place in range(1, len(records)):
        if records[place].time_us > since_us:
            return place - 1
    return max(len(records) - 1, 0)


def _without_messages(record: ArchiveRecord) -> ArchiveRecord:
    return msgspec.structs.replace(record, encryption_secret=b"", sender_data_secret=b"")
