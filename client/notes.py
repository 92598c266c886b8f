"""What a room's core writes down for people, until it is stored: items of the timeline, refusals, alarms. Pure."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Final

import mls
from client.identity import Identity, person_of
from client.payload import Payload, PayloadKind
from client.timeline import NOBODY, ItemKind, Sender, TimelineItem, sender_of
from wire.ids import Sequence
from wire.room import Delivery

_ALARM_PART: Final = 1 << 20
"""Alarms come after everything else at their place, and words of the program after them."""
_WORD_PART: Final = 1 << 30


class Notes:
    """`items` are to be stored; the core takes them out.

    Args:
        identity: who we are.
        undecryptable: entries that could not be read so far.
        alarms: contradictions that were found so far.
    """

    def __init__(self, identity: Identity, *, undecryptable: int, alarms: int) -> None:
        self.items: deque[TimelineItem] = deque()
        self.undecryptable = undecryptable
        self.alarms = alarms
        self.time_us = 0
        """The log's time, as of the last delivery."""
        self._identity = identity

    @property
    def me(self) -> Sender:
        """Ourselves, as the timeline has it."""
        return Sender(self._identity.name, self._identity.user_key, is_verified=True)

    def alarm(self, sequence: Sequence, text: str, sender: Sender = NOBODY) -> None:
        """Something contradicts the history that we hold."""
        self.alarms += 1
        self._put(sequence, _ALARM_PART + self.alarms, ItemKind.ALARM, text=text, sender=sender)

    def word(self, sequence: Sequence, kind: ItemKind, text: str, *, is_own: bool) -> None:
        """The program itself has something to say: once of each kind at a place, and once more about what is our own."""
        self._put(sequence, _WORD_PART + 2 * kind + is_own, kind, text=text)

    def refuse(self, delivery: Delivery, index: int, text: str, sender: Sender = NOBODY) -> None:
        """An entry that cannot be read is shown as such."""
        self.undecryptable += 1
        self.add(delivery, ItemKind.REFUSED, index=index, sender=sender, text=text)

    def add(
        self, delivery: Delivery, kind: ItemKind, *, index: int = 0, part: int = 0, sender: Sender = NOBODY,
        is_mine: bool = False, message_id: bytes = b"", text: str = "",
    ) -> None:  # fmt: skip
        """Something happened at an entry's place."""
        item = TimelineItem(
            sequence=Sequence(delivery.first_sequence + index), part=part, timestamp_us=delivery.timestamp_us, kind=kind,
            sender=sender, is_mine=is_mine, message_id=message_id, text=text,
        )  # fmt: skip
        self.items.append(item)

    def show(self, delivery: Delivery, index: int, payload: Payload, sender: Sender) -> None:
        """A message of another member."""
        if payload.kind == PayloadKind.TEXT:
            self.add(
                delivery, ItemKind.MESSAGE, index=index, sender=sender,
                message_id=payload.message_id, text=payload.text,
            )  # fmt: skip
        elif payload.kind == PayloadKind.LEAVE:
            self.add(delivery, ItemKind.LEFT, index=index, sender=sender)
        else:
            self.refuse(delivery, index, f"kind {payload.kind}, of a newer version", sender)

    def announce(self, delivery: Delivery, staged: mls.StagedCommit, *, is_mine: bool) -> None:
        """Members came and went by a commit."""
        now_s = delivery.timestamp_us // 1_000_000
        parts = itertools.count()
        added = [sender_of(person_of(member, now_s)) for member in staged.added]
        for member in staged.removed:
            gone = sender_of(person_of(member, now_s))
            if gone.key not in {sender.key for sender in added}:
                self.add(delivery, ItemKind.REMOVED, part=next(parts), sender=gone, is_mine=is_mine)
        for sender in added:
            self.add(delivery, ItemKind.JOINED, part=next(parts), sender=sender)

    def _put(self, sequence: Sequence, part: int, kind: ItemKind, *, text: str, sender: Sender = NOBODY) -> None:
        self.items.append(
            TimelineItem(
                sequence=sequence, part=part, timestamp_us=self.time_us, kind=kind, sender=sender, text=text
            )
        )  # fmt: skip
