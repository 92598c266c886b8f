"""Reading what was before us: the room's original entries, with keys that a member handed over. Pure.

    base of the grant ─▶ entry after entry ─┬─ the commit that began the next epoch ─▶ followed
                                            └─ messages of the epoch ─▶ decrypted, signatures checked ─▶ held back
    our own first entry reached: same chain hash, same group context ─▶ all of it was true ─▶ shown

Nobody has to be believed (`mls.PublicGroup`): who forges keys, trees or entries leads elsewhere than to the group that we are
in. The grant says which of several commits for an epoch was the one that counted; if it lies, that does not lead to us
either. Only that a giver withholds older epochs cannot be noticed.

Messages that do not decrypt may be a liar's work, or have been garbage from the beginning, which members of then saw as such.
So a reading is strict at first, and another member is asked; in the end they are shown as what could not be read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

import mls
from client import limits
from client.granting import Grant
from client.identity import may_replace, person_of
from client.payload import Payload, PayloadKind, decode_payload
from client.room_state import ArchiveRecord, Cursor
from client.seals import open_commit
from client.timeline import NOBODY, ItemKind, Sender, TimelineItem, sender_of, why_unreadable
from mls import EpochReader, EpochRecord, PublicGroup
from wire.errors import DecodeError
from wire.ids import RoomEpoch, RoomId, Sequence
from wire.room import BlockKind, Delivery, chain_next, decode_block_header, decode_commit, decode_entries


class HistoryError(Exception):
    """What a member handed over is not this room's history; the text says why."""


class Reading:
    """One way through the log, from where a grant begins.

    Args:
        grant: in order in itself (`client.granting.read_grant`).
        public: what it begins with.
        room_id: the room.
        until: our own first entry.
        context: of the group that we came into there; None if the grant is our own, of another device of ours.
        since_us: earlier entries are not shown.
        is_strict: give up at the first entry that does not decrypt.
    """

    def __init__(
        self,
        grant: Grant,
        public: PublicGroup,
        room_id: RoomId,
        *,
        until: Cursor,
        context: bytes | None,
        since_us: int,
        is_strict: bool,
    ) -> None:
        self.items: deque[TimelineItem] = deque(maxlen=limits.HISTORY_MESSAGES_MAX)
        """To be shown when `is_done`, and not before."""
        self.is_done = False
        self.records: list[ArchiveRecord] = []
        """Those of the grant that were gone through, with places and times as the log has them, and not as the giver says."""
        self._records = deque(grant.records)
        first = self._records[0]
        self._cursor = Cursor(first.sequence, first.chain)
        self._public = public
        self._reader = self._reader_of_epoch()
        self._room_id = room_id
        self._until = until
        self._context = context
        self._since_us = since_us
        self._is_strict = is_strict
        self._message_ids: dict[tuple[bytes, bytes], None] = {}
        if public.group_id != room_id or first.sequence >= until.sequence:
            raise HistoryError("it is of another room, or of another time")

    @property
    def after(self) -> Sequence:
        """Where to read on."""
        return self._cursor.sequence

    def feed(self, deliveries: Iterable[Delivery]) -> None:
        """Entries in the log's order.

        Raises:
            HistoryError: somebody lies.
        """
        for delivery in deliveries:
            if self.is_done:
                return
            self._take(delivery)

    def _take(self, delivery: Delivery) -> None:
        sequence = delivery.first_sequence
        if self._records and delivery.timestamp_us < self._records[0].time_us:
            # Of the first epoch nobody but the giver says when it began, but not after its own entries.
            self._records[0] = msgspec.structs.replace(self._records[0], time_us=delivery.timestamp_us)
        if sequence != self._cursor.sequence + 1:
            raise HistoryError(f"a server skipped from {self._cursor.sequence} to {sequence}")
        try:
            header = decode_block_header(delivery.block)
            is_epochs_end = sequence == self._next_beginning
            self._cursor = Cursor(Sequence(sequence + header.count - 1), chain_next(self._cursor.chain, delivery))
            if is_epochs_end:
                self._follow(delivery)
            elif header.kind is BlockKind.APP and header.epoch == self._public.epoch:
                self._read(delivery)
        except (DecodeError, mls.PeerError) as error:
            raise HistoryError(str(error)) from error
        if self._cursor.sequence >= self._until.sequence:
            self._finish()

    @property
    def _next_beginning(self) -> Sequence:
        """Where the next epoch began that we follow into."""
        if len(self._records) > 1:
            return min(self._records[1].sequence, self._until.sequence)
        return self._until.sequence if self._context is not None else Sequence(-1)

    def _follow(self, delivery: Delivery) -> None:
        record, epoch = self._records.popleft(), RoomEpoch(self._public.epoch)
        self.records.append(record)
        if self._records:
            self._records[0] = msgspec.structs.replace(
                self._records[0],
                sequence=self._cursor.sequence,
                chain=self._cursor.chain,
                time_us=delivery.timestamp_us,
            )
        commit = open_commit(
            decode_commit(delivery.block).commit, env_key=record.env_key, room_id=self._room_id, epoch=epoch
        )
        self._public = self._public.follow(commit, may_replace)
        self._reader = self._reader_of_epoch()

    def _reader_of_epoch(self) -> EpochReader | None:
        record = self._records[0] if self._records else None
        if record is None or not record.encryption_secret:
            return None
        return self._public.reader(EpochRecord(record.encryption_secret, record.sender_data_secret))

    def _finish(self) -> None:
        if self._cursor != self._until:
            raise HistoryError("it is not the history of the room that we came into")
        if self._context is not None and self._public.context != self._context:
            raise HistoryError("it leads to another group than the one that we came into")
        if self._context is None:
            self.records += self._records  # Our own, which end before our own first entry.
        self.is_done = True

    # Messages

    def _read(self, delivery: Delivery) -> None:
        if self._reader is None or delivery.timestamp_us < self._since_us:
            return
        for index, entry in enumerate(decode_entries(delivery.block)):
            try:
                message = self._reader.unprotect(entry)
            except mls.PeerError as error:
                if self._is_strict:
                    raise
                self._add(delivery, index, ItemKind.HISTORY_REFUSED, text=why_unreadable(error))
                continue
            sender = sender_of(person_of(message.sender, delivery.timestamp_us // 1_000_000))
            try:
                payload = decode_payload(message.plaintext)
            except DecodeError:
                self._add(
                    delivery,
                    index,
                    ItemKind.HISTORY_REFUSED,
                    text="not a message that this version knows",
                    sender=sender,
                )
            else:
                self._show(delivery, index, payload, sender)

    def _show(self, delivery: Delivery, index: int, payload: Payload, sender: Sender) -> None:
        if (sender.key, payload.message_id) in self._message_ids:
            self._add(
                delivery, index, ItemKind.HISTORY_REFUSED, text="a double: this message was shown before", sender=sender
            )
            return
        self._message_ids[sender.key, payload.message_id] = None
        if len(self._message_ids) > limits.MESSAGE_IDS_MAX:
            del self._message_ids[next(iter(self._message_ids))]
        if payload.kind == PayloadKind.TEXT:
            self._add(
                delivery, index, ItemKind.HISTORY, text=payload.text, sender=sender, message_id=payload.message_id
            )

    def _add(
        self,
        delivery: Delivery,
        index: int,
        kind: ItemKind,
        *,
        text: str,
        sender: Sender = NOBODY,
        message_id: bytes = b"",
    ) -> None:
        self.items.append(
            TimelineItem(
                sequence=Sequence(delivery.first_sequence + index), timestamp_us=delivery.timestamp_us, kind=kind,
                sender=sender, message_id=message_id, text=text,
            )
        )  # fmt: skip
