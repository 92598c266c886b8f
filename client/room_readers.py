"""Readers of a room: cursors into the store, woken when something was stored.

Iterators and not generators, so that a reader may stop in the middle of its loop and leave nothing behind.
"""

from __future__ import annotations

from collections import deque
from typing import Self

import trio

from client.connection import StateChanged
from client.room_driver import RoomDriver
from client.store import Store, StoredItem
from client.store_access import StoreAccess
from client.timeline import Message, Notice, event_of
from wire.ids import RoomId, Sequence


class EventReader:
    """Everything that happens in a room, in the order in which it became known; for one task at a time.

    Args:
        driver: the room's.
        store: the profile's.
        after_id: the timeline id to go on after; None: see `since`.
        since: the sequence to go on after.
    """

    def __init__(self, driver: RoomDriver, store: StoreAccess, *, after_id: int | None, since: Sequence) -> None:
        self._driver = driver
        self._store = store
        self._after_id = after_id
        self._since = since
        self._page: deque[StoredItem] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Notice:
        """The next event.

        Raises:
            SamtalaError: the room failed.
        """
        while not self._page:
            news, is_over = self._driver.news, self._driver.is_over
            self._page.extend(await self._store.run(self._read))
            if self._page:
                break
            if self._driver.failure is not None:
                raise self._driver.failure
            if is_over:
                raise StopAsyncIteration
            await news.wait()
        stored = self._page.popleft()
        self._after_id = stored.id
        return event_of(stored.item)

    def _read(self, store: Store) -> list[StoredItem]:
        room_id: RoomId = self._driver.room_id
        after_id = self._after_id if self._after_id is not None else store.id_after(room_id, self._since)
        return store.timeline(room_id, after_id=after_id)


class MessageReader:
    """The messages among a room's events."""

    def __init__(self, events: EventReader) -> None:
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message.

        Raises:
            SamtalaError: the room failed.
        """
        while True:
            event = await anext(self._events)
            if isinstance(event, Message):
                return event


class StateReader:
    """The state of a room's connection: as it is, then after each change."""

    def __init__(self, driver: RoomDriver) -> None:
        self._driver = driver
        self._news: trio.Event | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StateChanged:
        """The state, once it is another than the last that was given; quick changes in between are left out."""
        if self._news is not None:
            await self._news.wait()
        self._news = self._driver.state_news
        return self._driver.state
