from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.archive import FULL_HISTORY, Archive
from client.granting import read_grant
from client.identity import Identity, signing_key
from client.portable import Luggage, archive_that_fits, pack_rooms, unpacked
from client.room_state import RoomChange
from client.store import RoomRecord, Store, open_store
from client.timeline import ItemKind, Sender, TimelineItem
from tests.client.builders import ROOM_ID, Device, found_room, settle
from tests.client.test_archive import kept, readable
from wire.ids import RoomEpoch, RoomId, Sequence
from wire.link import Link

LINK = Link(root_public=signing_key(b"r" * 32), secret=b"s" * 16).to_text()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "store.db", b"k" * 32)
    yield store
    store.close()


def told(store: Store, texts: list[str], room_id: RoomId = ROOM_ID, founder: Device | None = None) -> None:
    """A room of ours in which this was said."""
    alice = founder or found_room(history=FULL_HISTORY)
    record = RoomRecord(link=LINK, name="lobby", identity=alice.identity.to_bytes())
    assert Identity.from_bytes(record.identity) == alice.identity
    store.begin_room(room_id, record, alice.disk.memory())
    items = [
        TimelineItem(
            sequence=Sequence(number), timestamp_us=number, kind=ItemKind.MESSAGE, text=text,
            sender=Sender("bob", b"u" * 32, True), message_id=number.to_bytes(16, "big"),
        )
        for number, text in enumerate(texts, 1)
    ]  # fmt: skip
    store.apply(
        room_id, RoomChange(items=(*items, TimelineItem(sequence=Sequence(99), timestamp_us=1, kind=ItemKind.LEFT)))
    )
    store.apply(room_id, RoomChange(archived=tuple(alice.disk.archive.values())))


def test_the_latest_that_fits_goes_along_in_its_order(store: Store) -> None:
    told(store, ["a" * 500, "second", "third"])

    (room,) = pack_rooms(store, Luggage(archive_bytes_max=0, said_bytes_max=500))

    assert [said.text for said in room.said] == ["second", "third"]
    assert [(item.sequence, item.text, item.sender.name, item.kind) for item in unpacked(room.said)] == [
        (2, "second", "bob", ItemKind.HISTORY),
        (3, "third", "bob", ItemKind.HISTORY),
    ]
    assert room.archive == b""


def test_each_room_gets_its_share_of_what_was_said_and_the_latest_its_archive_first(store: Store) -> None:
    alice = found_room(history=FULL_HISTORY)
    alice.propose()
    settle(alice)
    for number in range(3):
        told(store, ["hej"] * 5, RoomId(bytes([number]) * 16), alice)
    (whole,) = {len(room.archive) for room in pack_rooms(store, Luggage(archive_bytes_max=10**6))}

    rooms = pack_rooms(store, Luggage(archive_bytes_max=2 * whole, said_bytes_max=3 * 2 * 200))

    assert [len(room.said) for room in rooms] == [2, 2, 2]
    assert [len(room.archive) for room in rooms][1:] == [whole, whole]
    assert len(rooms[0].archive) == 0


def test_an_archive_goes_as_far_back_as_there_is_room_for_and_to_the_present() -> None:
    archive = kept(FULL_HISTORY, 60)
    whole = archive_that_fits(archive, RoomEpoch(59), 10**6)

    half = archive_that_fits(archive, RoomEpoch(59), len(whole) // 2)

    assert readable(read_grant(whole)[0].records) == list(range(60))
    some = readable(read_grant(half)[0].records)
    assert some == list(range(some[0], 60))
    assert 15 < len(some) < 45
    assert len(half) <= len(whole) // 2
    assert archive_that_fits(archive, RoomEpoch(59), 10) == b""
    assert archive_that_fits(Archive(()), RoomEpoch(0), 10**6) == b""
