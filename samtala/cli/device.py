"""`samtala device list|revoke`: the devices of this person in their rooms.

A device has another key in each room, so that rooms cannot be connected by it; it is named by that key's fingerprint.
"""

from __future__ import annotations

import functools

import click
import trio

from client.client import Client
from client.errors import NotFoundError, UnavailableError, UsageError
from client.identity import key_fingerprint
from client.room import Room, RoomMember
from client.room_state import Phase
from samtala.cli.lazy import LazyGroup
from samtala.cli.run import caught_up_in_time, open_in_time, opened, run, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json, say


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "list": ("samtala.cli.device:list_devices", "Your devices in each of your rooms."),
        "revoke": ("samtala.cli.device:revoke", "Shut a device of yours out of your rooms."),
    },
)
def device() -> None:
    """Your devices: look at them, shut out one that was lost."""


async def _own_devices(client: Client, timeout_s: float) -> list[tuple[Room, RoomMember]]:
    found = []
    for summary in await client.rooms():
        if summary.phase is Phase.LIVE:
            opening = functools.partial(client.room, summary.room_id.hex())
            room = await open_in_time(client, timeout_s, opening)
            await caught_up_in_time(room, timeout_s)
            key = client.identity.user_key
            found += [(room, member) for member in await room.members() if member.is_verified and member.key == key]
    return found


@click.command("list")
@with_timeout
@with_json
@click.pass_obj
def list_devices(settings: Settings, *, timeout_s: float, as_json: bool) -> None:
    """List your devices, one line for each room that it is in."""

    async def command() -> None:
        async with opened(settings) as client:
            for room, member in await _own_devices(client, timeout_s):
                fingerprint = key_fingerprint(member.device_key)
                if as_json:
                    put_json({
                        "device": fingerprint, "label": member.device_label, "room": room.name, "me": member.is_me,
                    })  # fmt: skip
                else:
                    put(
                        f"{fingerprint}   {member.device_label:<12} {room.name}{'   (this one)' if member.is_me else ''}"
                    )

    run(command)


@click.command()
@click.argument("which", metavar="DEVICE", required=False)
@click.option("--others", is_flag=True, help="All of your devices but this one, in all rooms.")
@with_timeout
@with_json
@click.pass_obj
def revoke(settings: Settings, which: str | None, *, others: bool, timeout_s: float, as_json: bool) -> None:
    """Shut DEVICE out: from then on it can neither read nor write. A room's link is replaced where the room is yours.

    Where it is not, a device that knows the link can come back until the owner replaces it.
    """

    async def command() -> None:
        if (which is None) != others:
            raise UsageError("give one device, as `samtala device list` shows it, or --others")
        async with opened(settings) as client:
            wanted = [
                (room, member)
                for room, member in await _own_devices(client, timeout_s)
                if not member.is_me and (others or key_fingerprint(member.device_key) == which)
            ]
            if not wanted and not others:
                raise NotFoundError(f"no other device of yours is {which!r}; see: samtala device list")
            for room, member in wanted:
                await _shut_out(room, member, timeout_s, as_json=as_json)

    run(command)


async def _shut_out(room: Room, member: RoomMember, timeout_s: float, *, as_json: bool) -> None:
    fingerprint = key_fingerprint(member.device_key)
    with trio.move_on_after(timeout_s):
        sequence = await room.remove(member)
        if as_json:
            put_json({"device": fingerprint, "room": room.name, "sequence": sequence})
        else:
            put(f"{fingerprint} {room.name} {sequence}")
            say(f"Nothing after {sequence} in {room.name!r} can be read or written by that device.")
        return
    raise UnavailableError(f"not done within {timeout_s:g} s in {room.name!r}; look at: samtala device list")
