from __future__ import annotations

import trio
import trio.testing

from room_server.feed import RingBudget
from room_server.moving import Moving
from room_server.rooms import HostedRoom, Rooms
from tests.room_server.epochs import begin, moved_room, statement
from tests.wire.certificates import identity
from vr.types import GroupId
from wire.certificate import EpochCertificate, encode_certificate, sign_statement
from wire.ids import RoomId
from wire.room import encode_genesis

ROOM = moved_room()


class World:
    """Where things are kept and told."""

    def __init__(self) -> None:
        self.room = Rooms(RingBudget()).add(ROOM, encode_genesis(ROOM))
        self.story: list[str] = []
        self.kept: dict[tuple[GroupId, int], bytes] = {}
        self.moving = Moving(tell_clients=self._tell_clients, tell_peers=self._tell_peers)

    async def keep_note(self, group: GroupId, note: int, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.story.append(f"kept {note}")
        self.kept[group, note] = data

    def _tell_clients(self, room_id: RoomId) -> None:
        self.story.append("clients")

    def _tell_peers(self, room: HostedRoom) -> None:
        self.story.append("peers")


async def test_what_is_known_is_kept_before_it_is_told_and_kept_once() -> None:
    world = World()
    book = world.room.book
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.moving.run, world)
        begin(book, ROOM, 1)
        world.moving.note(world.room)
        world.moving.note(world.room)
        await trio.testing.wait_all_tasks_blocked()
        assert world.story == ["kept 1", "clients", "peers"]

        world.moving.note(world.room)
        await trio.testing.wait_all_tasks_blocked()
        assert world.story[3:] == ["clients", "peers"]

        said = statement(ROOM, type(book)(ROOM))
        book.add(encode_certificate(EpochCertificate(said, (sign_statement(said, identity(2)),))))
        world.moving.note(world.room)
        await trio.testing.wait_all_tasks_blocked()
        assert world.story[5:] == ["kept 1", "clients", "peers"]
        nursery.cancel_scope.cancel()

    assert list(world.kept.values()) == [data for _, data in book.notes()]
