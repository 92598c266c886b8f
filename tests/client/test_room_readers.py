from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from client.connection import ConnectionState, StateChanged
from client.room_driver import RoomDriver
from client.room_readers import EventReader, MessageReader, StateReader
from client.room_state import RoomChange
from client.store import Store, StoreError, open_store
from client.timeline import ItemKind, Message
from tests.client.builders import ROOM_ID
from tests.client.test_membership import InThread
from tests.client.test_room_driver import driver_on
from tests.client.test_store import item
from wire.ids import Sequence


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store.db", b"k" * 32)


def reader(driver: RoomDriver, store: Store, *, since: int = 0) -> EventReader:
    return EventReader(driver, InThread(store), after_id=None, since=Sequence(since))


def say(driver: RoomDriver, store: Store, *sequences: int, kind: ItemKind = ItemKind.MESSAGE) -> None:
    store.apply(ROOM_ID, RoomChange(items=tuple(item(sequence, kind=kind) for sequence in sequences)))
    driver._spread_news()


async def test_a_reader_goes_on_after_what_it_has_read(store: Store) -> None:
    driver = driver_on(InThread(store))
    say(driver, store, 1, 2, 3)
    events = reader(driver, store, since=1)

    assert [(await anext(events)).sequence for _ in range(2)] == [2, 3]


async def test_a_reader_at_the_end_waits_for_news(store: Store) -> None:
    driver = driver_on(InThread(store))
    events = reader(driver, store)
    read: list[int] = []

    async def go_on() -> None:
        event = await anext(events)
        read.append(event.sequence)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        await trio.testing.wait_all_tasks_blocked()
        assert read == []
        say(driver, store, 1)

    assert read == [1]


async def test_messages_leave_the_rest_out(store: Store) -> None:
    driver = driver_on(InThread(store))
    say(driver, store, 1, kind=ItemKind.REFUSED)
    say(driver, store, 2)

    message = await anext(MessageReader(reader(driver, store)))

    assert isinstance(message, Message)
    assert message.sequence == 2


async def test_a_room_that_is_over_ends_its_readers_after_the_last_item(store: Store) -> None:
    driver = driver_on(InThread(store))
    say(driver, store, 1)
    driver._close()

    assert [event.sequence async for event in reader(driver, store)] == [1]


async def test_a_room_that_failed_tells_its_readers(store: Store) -> None:
    driver = driver_on(InThread(store))
    say(driver, store, 1)
    driver.failure = StoreError("broken disk")
    events = reader(driver, store)
    await anext(events)

    with pytest.raises(StoreError):
        await anext(events)


async def test_states_are_given_at_once_and_then_when_they_change(store: Store) -> None:
    driver = driver_on(InThread(store))
    states = StateReader(driver)
    first = await anext(states)
    assert first.state is ConnectionState.CONNECTING
    seen: list[StateChanged] = []

    async def go_on() -> None:
        seen.append(await anext(states))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        await trio.testing.wait_all_tasks_blocked()
        driver.state = StateChanged(ConnectionState.LIVE, None, "connected")
        driver.state_news.set()

    assert [state.state for state in seen] == [ConnectionState.LIVE]
    assert aiter(states) is states
