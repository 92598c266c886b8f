"""What a room shows: messages, and notices about members and about what was refused.

Every entry of the log leaves at least one item at its sequence number, or none if nothing is to be said (a renewal of
keys). An entry that cannot be read is an item too: nothing is dropped silently. Several items of one entry are told apart
by `part`.
"""

from __future__ import annotations

import datetime
from enum import IntEnum

import msgspec

import mls
from client.identity import Person, clean_name
from wire.ids import Sequence


class ItemKind(IntEnum):
    """What an item is. Numbers are stored and never change meaning."""

    MESSAGE = 1
    JOINED = 2
    REMOVED = 3
    LEFT = 4
    REFUSED = 5
    ALARM = 6
    HISTORY = 7
    """A message from before this device came in, read with keys that a member handed over."""
    HISTORY_READ = 8
    """All of these have been read; the text says how many."""
    HISTORY_REFUSED = 9
    """An entry from before that could not be read, and why."""


class Sender(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who did it. `key` is the user key (32 bytes), empty where nobody is known."""

    name: str
    key: bytes
    is_verified: bool


NOBODY = Sender("", b"", False)


class TimelineItem(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One item as it is stored. `timestamp_us` is the servers' agreed time, unix microseconds."""

    sequence: Sequence
    part: int = 0
    timestamp_us: int
    kind: ItemKind
    sender: Sender = NOBODY
    is_mine: bool = False
    message_id: bytes = b""
    text: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message of a member, in its place.

    `sequence` is the same for everyone; `mine` says that this person wrote it on this device; `from_history`,
    that it was said before this device came in.
    """

    sequence: Sequence
    sender: Sender
    text: str
    timestamp_us: int
    mine: bool
    message_id: bytes
    from_history: bool = False

    @property
    def timestamp(self) -> datetime.datetime:
        """When the servers took it, in UTC."""
        return datetime.datetime.fromtimestamp(self.timestamp_us / 1e6, datetime.UTC)


class Notice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something else that happened at a place in the room. `text` explains REFUSED and ALARM."""

    sequence: Sequence
    kind: ItemKind
    sender: Sender
    text: str
    timestamp_us: int

    @property
    def timestamp(self) -> datetime.datetime:
        """When the servers took the entry, in UTC."""
        return datetime.datetime.fromtimestamp(self.timestamp_us / 1e6, datetime.UTC)

    @property
    def is_undecryptable(self) -> bool:
        """Tell whether an entry could not be read."""
        return self.kind is ItemKind.REFUSED


def sender_of(person: Person) -> Sender:
    """Short form of a person for the timeline."""
    return Sender(clean_name(person.name), person.user_key, person.is_verified)


def event_of(item: TimelineItem) -> Message | Notice:
    """Public form of a stored item."""
    if item.kind in {ItemKind.MESSAGE, ItemKind.HISTORY}:
        return Message(
            sequence=item.sequence, sender=item.sender, text=item.text, timestamp_us=item.timestamp_us,
            mine=item.is_mine, message_id=item.message_id, from_history=item.kind is ItemKind.HISTORY,
        )  # fmt: skip
    return Notice(
        sequence=item.sequence, kind=item.kind, sender=item.sender, text=item.text, timestamp_us=item.timestamp_us
    )


_CAUSES: dict[type[mls.PeerError], str] = {
    mls.OwnMessage: "a copy of something that this device once sent",
    mls.Replayed: "a replay: this message was read before",
    mls.WrongEpoch: "of another epoch",
    mls.WrongGroup: "of another room",
    mls.InvalidSignature: "forged: the signature does not hold",
    mls.DecryptionFailed: "forged or damaged: it does not decrypt",
    mls.UnknownSender: "from nobody in this room",
    mls.GenerationTooFar: "too far ahead of what was read before",
}


def why_unreadable(error: mls.PeerError) -> str:
    """Words for an entry that could not be read."""
    return _CAUSES.get(type(error), "malformed")
