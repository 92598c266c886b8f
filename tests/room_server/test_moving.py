"""What follows when a room has other servers; that it comes to them is shown in test_moves.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio
import trio.testing

from room_server.feed import RingBudget
from room_server.moving import Moving, has_left, is_settled, next_configuration, others_have_begun
from room_server.rooms import HostedRoom
from tests.room_server.epochs import begin, moved_room
from tests.room_server.test_hosting import hosting_on, record
from tests.wire.certificates import identity, server
from vr.host import Host
from vr.reconfiguration import Refusal
from wire.certificate import Server
from wire.ids import GroupEpoch, RoomId
from wire.room import Move, encode_genesis

STRANGER = server(9)


@asynccontextmanager
async def world(folder: Path, story: list[str]) -> AsyncIterator[tuple[Moving, HostedRoom, Host]]:
    async with hosting_on(folder) as hosting:
        await hosting.create_room(record(hosting))
        [room] = hosting.rooms

        def tell_clients(room_id: RoomId) -> None:
            story.append("clients")

        def tell_peers(told: HostedRoom) -> None:
            story.append("peers")

        def announce(told: HostedRoom, is_here: bool) -> None:
            story.append("announced" if is_here else "gone")

        moving = Moving(
            hosting.rooms,
            tell_clients=tell_clients,
            tell_peers=tell_peers,
            announce=announce,
            host_room=hosting.host_room,
        )
        hosting.on_epochs = moving.note
        hosting.rooms.on_move = moving.wish
        async with trio.open_nursery() as nursery:
            nursery.start_soon(moving.run, hosting.host)
            with trio.fail_after(10):
                while not is_leading(hosting.host, room):
                    await trio.testing.wait_all_tasks_blocked(0.002)
            yield moving, room, hosting.host
            nursery.cancel_scope.cancel()


def is_leading(host: Host, room: HostedRoom) -> bool:
    replica = host.replica(room.group)
    return replica.is_primary and host.reconfigure(room.group, replica.configuration) is Refusal.NOT_SUCCESSOR


def own(host: Host) -> Server:
    return Server(host.replica_id, identity(1).public, "h", 1)


def wish(epoch: int, *servers: Server, standbys: tuple[Server, ...] = ()) -> Move:
    return Move(epoch=GroupEpoch(epoch), servers=servers, standbys=standbys, descriptor=b"signed by the owner")


async def until_epoch(host: Host, room: HostedRoom, epoch: int) -> None:
    with trio.fail_after(10):
        while host.replica(room.group).configuration.epoch < epoch or room.epoch < epoch:
            await trio.testing.wait_all_tasks_blocked(0.002)


async def test_wish_is_carried_out_kept_and_told(tmp_path: Path) -> None:
    story: list[str] = []
    async with world(tmp_path, story) as (moving, room, host):
        room.service.move = wish(1, own(host), standbys=(STRANGER,))
        moving.wish(room)
        await until_epoch(host, room, 1)
        await trio.testing.wait_all_tasks_blocked(0.01)

        assert host.replica(room.group).configuration.standbys[0].node_key == STRANGER.node_key
        assert room.book.is_certified
        assert room.book.descriptor == b"signed by the owner"
        assert story[-3:] == ["clients", "peers", "announced"]
        assert is_settled(room, host)
        assert not has_left(room, host)
    async with hosting_on(tmp_path) as hosting:
        [again] = hosting.rooms
        assert again.book.certificates == room.book.certificates
        assert again.epoch == 1


async def test_the_owners_record_of_servers_that_came_without_one_is_kept_and_told(tmp_path: Path) -> None:
    story: list[str] = []
    async with world(tmp_path, story) as (moving, room, host):
        room.service.move = msgspec.structs.replace(wish(1, own(host), standbys=(STRANGER,)), descriptor=b"")
        moving.wish(room)
        await until_epoch(host, room, 1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert room.book.descriptor == b""
        del story[:]

        room.service.move = wish(1, STRANGER)
        moving.wish(room)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (room.book.descriptor, story) == (b"", []), "it names other servers"
        room.service.move = wish(1, own(host))
        moving.wish(room)
        with trio.fail_after(10):
            while len(story) < 3:
                await trio.testing.wait_all_tasks_blocked(0.002)

        assert room.book.descriptor == b"signed by the owner"
        assert story == ["clients", "peers", "announced"]
    async with hosting_on(tmp_path) as hosting:
        [again] = hosting.rooms
        assert again.book.descriptor == b"signed by the owner"


async def test_servers_that_do_not_stand_by_get_no_vote(tmp_path: Path) -> None:
    async with world(tmp_path, []) as (_, room, host):
        room.service.move = wish(1, own(host), STRANGER)

        assert is_settled(room, host)
        assert host.replica(room.group).configuration.epoch == 0


async def test_wish_waits_until_the_servers_are_ready_and_one_far_ahead_for_those_before(tmp_path: Path) -> None:
    async with world(tmp_path, []) as (moving, room, host):
        room.service.move = wish(2, own(host))
        assert not is_settled(room, host)

        room.service.move = wish(1, own(host), standbys=(STRANGER,))
        moving.wish(room)
        await until_epoch(host, room, 1)
        room.service.move = wish(2, STRANGER)
        assert not is_settled(room, host)
        configuration = next_configuration(host.replica(room.group), room.service.move)
        with trio.fail_after(10):
            # It leads as soon as its new view is on its disk.
            while (refusal := host.reconfigure(room.group, configuration)) is Refusal.NOT_PRIMARY:
                await trio.testing.wait_all_tasks_blocked(0.002)
        assert refusal is Refusal.NOT_READY


async def test_who_leads_goes_on_leading_if_it_stays(tmp_path: Path) -> None:
    async with world(tmp_path, []) as (_, room, host):
        following = next_configuration(host.replica(room.group), wish(1, STRANGER, server(8), own(host)))

        assert following.primary_index(following.initial_view()) == 2
        assert following.epoch == 1


def test_majority_of_the_new_servers_must_have_begun() -> None:
    genesis = moved_room()
    room = HostedRoom(genesis, encode_genesis(genesis), RingBudget())
    for signer in (1, 2):
        begin(room.book, genesis, signer)
    keys = [member.node_key for member in room.book.servers.servers]

    assert not others_have_begun(room)
    room.begun = {keys[0]: 1, keys[1]: 0, identity(1).public: 1, identity(2).public: 1}
    assert not others_have_begun(room)
    room.begun[keys[1]] = 1
    assert others_have_begun(room)


async def test_what_was_wanted_of_a_room_that_has_left_is_forgotten(tmp_path: Path) -> None:
    async with world(tmp_path, []) as (moving, room, host):
        room.service.move = wish(7, STRANGER)
        moving.wish(room)  # Of an epoch far ahead: it waits.
        await trio.testing.wait_all_tasks_blocked(0.01)
        moving._rooms.depart(room)
        await host.forget_group(room.group)

        moving.note(room)
        await trio.testing.wait_all_tasks_blocked(0.01)
        moving.wish(room)
        await trio.testing.wait_all_tasks_blocked(0.01)  # The task lives, or the block would have ended.
