from __future__ import annotations

from pathlib import Path

import pytest

from client import limits
from client.errors import ForkDetectedError, RefusedError, UnavailableError, UsageError
from client.room import Room
from client.room_state import Phase
from client.store import Store, StoreError, open_store
from tests.client.communities import community, lobby, person, read_until
from tests.client.test_membership import InThread
from tests.client.test_room_driver import driver_on
from wire.link import Link


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store.db", b"k" * 32)


def room_on(store: Store, **changes: object) -> Room:
    threaded = InThread(store)
    driver = driver_on(threaded, **changes)
    return Room(driver, threaded, link=Link(root_public=b"r" * 32, secret=b"s" * 16), name="lobby", first_id=0)


@pytest.mark.parametrize("text", ["", "x" * (limits.TEXT_BYTES_MAX + 1), "å" * limits.TEXT_BYTES_MAX])
async def test_texts_have_bounds(store: Store, text: str) -> None:
    with pytest.raises(UsageError, match="a message has"):
        await room_on(store).post(text)


async def test_who_was_removed_can_neither_send_nor_change(store: Store) -> None:
    room = room_on(store, phase=Phase.REMOVED)

    with pytest.raises(RefusedError, match="removed"):
        await room.send("hej")
    with pytest.raises(RefusedError, match="removed"):
        await room.update_keys()


async def test_who_cannot_follow_is_told_what_to_do(store: Store) -> None:
    with pytest.raises(ForkDetectedError, match="join again"):
        await room_on(store, phase=Phase.BROKEN).send("hej")


async def test_a_failed_room_says_why_it_failed(store: Store) -> None:
    room = room_on(store)
    room._driver.failure = StoreError("broken disk")

    with pytest.raises(StoreError):
        await room.send("hej")


async def test_an_unconnected_room_has_no_status(store: Store) -> None:
    with pytest.raises(UnavailableError):
        await room_on(store).status()


async def test_nobody_removes_themselves(store: Store) -> None:
    room = room_on(store)
    (me,) = await room.members()

    with pytest.raises(UsageError, match="leave"):
        await room.remove(me)


async def test_facts_of_a_room(store: Store) -> None:
    room = room_on(store)

    assert room.link.startswith("SAMTALA:")
    assert (room.epoch, room.sequence, room.undecryptable, room.alarms, room.failures) == (0, 0, 0, 0, ())
    assert len(room.code) == 8
    assert [(member.name, member.is_me, len(member.fingerprint)) for member in await room.members()] == [
        ("alice", True, 8)
    ]
    assert await room.unsent() == []


async def test_halves_of_characters_are_replaced_not_sent(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice:
        room = await lobby(cluster, alice)

        await room.send("broken \ud83d emoji")

        assert [message.text for message in await read_until(room, "broken ? emoji")] == ["broken ? emoji"]
