"""What a connection tells its owner, and the queue in which it waits: bounded in bytes and number, for slow consumers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from enum import Enum
from typing import TypeAlias

import msgspec
import trio

from client import connection_limits as limits
from client.room_protocol import Alarm, Deliveries, ServersMoved
from wire.identity import ServerAddress


class ConnectionState(Enum):
    """What to tell a person honestly."""

    CONNECTING = "connecting"
    LIVE = "live"
    OFFLINE = "offline"
    CLOSED = "closed"


class StateChanged(msgspec.Struct, frozen=True):
    """The connection's state, the server it is about, and a few words for a person.

    `alarm`: the connection was ended because that server contradicts the room's history.
    """

    state: ConnectionState
    server: ServerAddress | None
    text: str
    alarm: Alarm | None = None


Event: TypeAlias = Deliveries | StateChanged | ServersMoved


class EventQueue:
    """Events for one consumer."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._filled = trio.Event()
        self._drained = trio.Event()
        self._is_closed = False

    def put(self, event: Event) -> None:
        """Queue an event. Changes of state are dropped when nobody takes them; deliveries never."""
        size = 0
        if type(event) is Deliveries:
            size = sum([len(delivery.block) for delivery in event.deliveries])
        elif len(self._queue) >= limits.EVENT_QUEUE_MAX and isinstance(event, StateChanged):
            return
        self._queue.append((event, size))
        self._bytes += size
        self._filled.set()

    @property
    def is_full(self) -> bool:
        """Nothing more should be read."""
        return self._bytes >= limits.EVENT_QUEUE_BYTES_MAX or len(self._queue) >= limits.EVENT_QUEUE_MAX

    async def wait_drained(self) -> None:
        """Wait until there is space."""
        while self.is_full:
            self._drained = trio.Event()
            await self._drained.wait()

    def close(self) -> None:
        """No more; what is queued can still be taken."""
        self._is_closed = True
        self._filled.set()

    async def take_all(self) -> AsyncIterator[Event]:
        """Take events until closed."""
        while True:
            while self._queue:
                event, size = self._queue.popleft()
                self._bytes -= size
                if not self.is_full:
                    self._drained.set()
                yield event
            if self._is_closed:
                return
            self._filled = trio.Event()
            await self._filled.wait()
