"""What the client remembers of a room, and what one step changes about it: values shared by core and store.

    RoomCore ── Effects ──▶ shell: 1. store `change` in one transaction   2. send `appends`   3. tell `outcomes`

A `RoomChange` with something in `sent` is a promise: the ratchet has moved on and the ciphertext is about to leave. It
must be on the disk first, or a crash would use a key twice.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Final

import msgspec

from client.timeline import TimelineItem
from wire.ids import RoomEpoch, RoomId, Sequence

DIGEST_BYTES: Final = 32


class Phase(IntEnum):
    """How we stand to a room. Numbers are stored.

    JOINING: our external commit is on its way. LIVE: a member. REMOVED: somebody removed us. BROKEN: we cannot follow
    the room's history any more, see the last ALARM.
    """

    JOINING = 1
    LIVE = 2
    REMOVED = 3
    BROKEN = 4


class RoomKeys(msgspec.Struct, frozen=True, kw_only=True):
    """A room's id, the key of its join bundles and the root key of its links (32 bytes each)."""

    room_id: RoomId
    bundle_key: bytes
    root_public: bytes = b""


class Cursor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far we have read: the last sequence, and the hash over all history through it."""

    sequence: Sequence
    chain: bytes


class Outgoing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message of ours that is not in the log yet, as far as we know. `kind` is a `PayloadKind`."""

    message_id: bytes
    kind: int
    text: str


class InFlight(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A block that was sent, or was about to be: known by its digest until the log shows it, or never will.

    `staged` is the encoded staged commit of a COMMIT block, empty for an APP block.
    """

    digest: bytes
    outgoing: tuple[Outgoing, ...]
    staged: bytes = b""


class Block(msgspec.Struct, frozen=True, gc=False):
    """A block to append, and the digest under which its fate is reported back."""

    digest: bytes
    data: bytes


class Mark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The chain hash right after `sequence`."""

    sequence: Sequence
    chain: bytes


class OutcomeKind(IntEnum):
    """What became of a message.

    ACKNOWLEDGED: a majority of the servers has it on disk. UNSENT: it certainly is not in the log; it is kept and can
    be sent again. FAILED: the servers refuse it as it is.
    """

    ACKNOWLEDGED = 1
    UNSENT = 2
    FAILED = 3


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The fate of a message. `sequence` is set for ACKNOWLEDGED."""

    message_id: bytes
    kind: OutcomeKind
    sequence: Sequence


class ChangeOutcome(msgspec.Struct, frozen=True, gc=False):
    """The fate of a change of members: its place in the log, or why it failed."""

    sequence: Sequence | None
    reason: str = ""


class ArchiveRecord(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What is kept of an epoch. `sequence` and `chain` are those of the entry that began it, at `time_us` of the log.

    Keys have 32 bytes. The two secrets open its messages (`mls.EpochRecord`), and are empty where nobody may read them any
    more; `env_key` opens the commit that ends it. `public` is its encoded `mls.PublicGroup`, where one can begin here.
    """

    epoch: RoomEpoch
    sequence: Sequence
    chain: bytes
    time_us: int
    env_key: bytes
    encryption_secret: bytes
    sender_data_secret: bytes
    public: bytes = b""


class QuestState(IntEnum):
    """How far a device has got with reading what was before it. Numbers are stored.

    WANTED: nobody has answered yet. GRANTED: a member handed over keys, and the log is to be read with them. READ: done.
    FAILED: what members handed over did not hold.
    """

    WANTED = 1
    GRANTED = 2
    READ = 3
    FAILED = 4


class Quest(msgspec.Struct, frozen=True, kw_only=True):
    """A device's way to what was before it (`client.past`). `epoch` is its first; `cursor` stands at the entry that began it.

    `context` is that of the epoch (`mls.PublicGroup.context`), to which everything has to lead. `private` opens what is sealed
    for `ask_id`, asked at `asked_s` (unix seconds) for the `asks`th time. `giver` and `refused` are device keys, `parts` texts
    of the giver's answer so far, `grant` an encoded `client.granting.Grant`.
    """

    epoch: RoomEpoch
    cursor: Cursor
    context: bytes
    state: QuestState = QuestState.WANTED
    ask_id: bytes = b""
    private: bytes = b""
    asked_s: int = 0
    asks: int = 0
    giver: bytes = b""
    parts: tuple[str, ...] = ()
    refused: tuple[bytes, ...] = ()
    grant: bytes = b""
    is_own: bool = False
    """The grant is our own, of another device of ours: it is not asked where it leads."""


class RoomChange(msgspec.Struct, frozen=True, kw_only=True):
    """What one step changes in the store, all or nothing. None and empty mean: as before."""

    cursor: Cursor | None = None
    phase: Phase | None = None
    epoch_state: bytes | None = None
    ratchet_state: bytes | None = None
    items: tuple[TimelineItem, ...] = ()
    marks: tuple[Mark, ...] = ()
    evidence: tuple[bytes, ...] = ()
    """Encoded `client.evidence.ForkEvidence`."""
    sent: tuple[InFlight, ...] = ()
    settled: tuple[bytes, ...] = ()
    unsent: tuple[Outgoing, ...] = ()
    knocks: bytes | None = None
    """Of `client.letting_in.Knocks`."""
    archived: tuple[ArchiveRecord, ...] = ()
    forgotten: tuple[RoomEpoch, ...] = ()
    """Epochs of which nothing is kept any more; after `archived`."""
    quest: Quest | None = None

    @property
    def is_promise(self) -> bool:
        """Tell whether it must survive a power cut before anything else happens."""
        return bool(self.sent)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is to be stored."""
        return self == _NOTHING


_NOTHING: Final = RoomChange()


class Effects(msgspec.Struct, frozen=True, kw_only=True):
    """What the shell must do, in this order."""

    change: RoomChange
    appends: tuple[Block, ...]
    outcomes: tuple[Outcome, ...]
    change_outcome: ChangeOutcome | None

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to do."""
        return self.change.is_empty and not self.appends and not self.outcomes and self.change_outcome is None


class RoomMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the core needs to go on after a restart."""

    phase: Phase
    cursor: Cursor
    epoch_state: bytes
    ratchet_state: bytes
    marks: tuple[Mark, ...]
    in_flight: tuple[InFlight, ...]
    message_ids: tuple[tuple[bytes, bytes], ...]
    """(user key, message id) of recent messages, oldest first."""
    undecryptable: int
    alarms: int
    knocks: bytes = b""
    archive: tuple[ArchiveRecord, ...] = ()
    quest: Quest | None = None


def block_digest(block: bytes) -> bytes:
    """Name of a block: nobody else can make one with the same bytes before it was sent."""
    return hashlib.blake2b(block, digest_size=DIGEST_BYTES).digest()
