"""What follows when more is known of how a room came to its servers: it is kept, and everybody concerned is told.

an epoch ends, a peer signs ──▶ note(room) ──▶ stable storage ──▶ clients of the room, its servers of before and after
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from room_server.rooms import HostedRoom
from vr.types import GroupId
from wire.ids import RoomId


class NoteKeeper(Protocol):
    """What keeps facts beside a group (`vr.host.Host`)."""

    async def keep_note(self, group: GroupId, note: int, data: bytes) -> None:
        """Keep a fact under a number, durably."""


class Moving:
    """See the module.

    Args:
        tell_clients: of a room that has other servers.
        tell_peers: what is known of a room.
    """

    def __init__(self, *, tell_clients: Callable[[RoomId], None], tell_peers: Callable[[HostedRoom], None]) -> None:
        self._tell_clients = tell_clients
        self._tell_peers = tell_peers
        self._changed: dict[HostedRoom, None] = {}
        self._kept: dict[tuple[RoomId, int], bytes] = {}
        self._woken = trio.Event()

    def note(self, room: HostedRoom) -> None:
        """More is known of this room."""
        self._changed[room] = None
        self._woken.set()

    async def run(self, keeper: NoteKeeper) -> None:
        """Keep and tell, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            changed, self._changed = self._changed, {}
            for room in changed:
                await self._keep(room, keeper)
                self._tell_clients(room.room_id)
                self._tell_peers(room)

    async def _keep(self, room: HostedRoom, keeper: NoteKeeper) -> None:
        for epoch, data in room.book.notes():
            if self._kept.get((room.room_id, epoch)) != data:
                await keeper.keep_note(room.group, epoch, data)
                self._kept[room.room_id, epoch] = data
