"""What of a person's rooms goes along to another device of theirs: links, ownership, keys of the past, what was said. Pure.

    recovery code ── links, ownership, archives ──────────────────────────▶ joins anew; reads the past with its own old keys
    device link   ── the same, and the latest of what the device shows ──▶ has that at once, in every room

No ratchet is among it (e2ee.md §3.4). An archive holds what the room's history policy let the device keep
(docs/adr/0019), so in rooms without history only what is handed from device to device is there.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

import mls
from client.archive import Archive
from client.facts import current_link
from client.granting import encode_grant
from client.identity import Identity
from client.recovery import RecoveredRoom, Said
from client.room_state import RoomMemory
from client.store import RoomRecord, Store, StoreDamagedError, StoredRoom
from client.timeline import ItemKind, Sender, TimelineItem
from client.typed import parse_room_link
from wire.ids import RoomEpoch


class Luggage(msgspec.Struct, frozen=True, kw_only=True):
    """How many bytes may go along beside the rooms themselves: keys of the past, and what was said."""

    archive_bytes_max: int
    said_bytes_max: int = 0


def identity_of(record: RoomRecord) -> Identity:
    """Under which we are in a room."""
    return Identity.from_bytes(record.identity)


def restored(memory: RoomMemory, identity: Identity) -> mls.Group:
    """Our group of a room.

    Raises:
        StoreDamagedError: what is stored does not fit together.
    """
    try:
        return mls.Group.restore(memory.epoch_state, memory.ratchet_state, identity.signature_key)
    except mls.StateCorrupt as error:
        raise StoreDamagedError(f"what is stored of the room does not fit together: {error}; join again") from error


def pack_rooms(store: Store, luggage: Luggage) -> tuple[RecoveredRoom, ...]:
    """All rooms of a profile; each gets its share of what may go along, and the latest has precedence."""
    rooms = store.rooms()
    share = luggage.said_bytes_max // max(len(rooms), 1)
    left, packed = luggage.archive_bytes_max, list[RecoveredRoom]()
    for stored in reversed(rooms):
        room = _packed(store, stored, Luggage(archive_bytes_max=left, said_bytes_max=share))
        left -= len(room.archive)
        packed.append(room)
    return tuple(reversed(packed))


def _packed(store: Store, stored: StoredRoom, luggage: Luggage) -> RecoveredRoom:
    record, memory = stored.record, store.memory(stored.room_id)
    group = restored(memory, identity_of(record))
    return RecoveredRoom(
        current_link(parse_room_link(record.link), group).to_text(),
        record.root_seed,
        record.created_s,
        archive_that_fits(Archive(memory.archive), RoomEpoch(group.epoch), luggage.archive_bytes_max),
        tuple(_said(item) for item in store.said(stored.room_id, bytes_max=luggage.said_bytes_max)),
    )


def archive_that_fits(archive: Archive, epoch: RoomEpoch, bytes_max: int) -> bytes:
    """An encoded grant of what is kept through `epoch`, as far back as there is room for; empty if there is none."""
    records, before = archive.records, RoomEpoch(epoch + 1)
    begin = 0
    while begin < len(records):
        granted = archive.grant(before, records[begin].time_us if begin else 0)
        encoded = encode_grant(granted) if granted else b""
        if len(encoded) <= bytes_max:
            return encoded
        begin = begin + max((len(records) - begin) // 4, 1)
    return b""


def _said(item: TimelineItem) -> Said:
    sender = item.sender
    return Said(
        item.sequence, item.timestamp_us, sender.name, sender.key, sender.is_verified, item.message_id, item.text
    )


def unpacked(said: Sequence[Said]) -> list[TimelineItem]:
    """What was said, for the timeline of another device."""
    return [
        TimelineItem(
            sequence=one.sequence, timestamp_us=one.timestamp_us, kind=ItemKind.HISTORY,
            sender=Sender(one.name, one.key, one.is_verified), message_id=one.message_id, text=one.text,
        )
        for one in said
    ]  # fmt: skip
