"""`samtala device list|link|join|revoke`: the devices of this person in their rooms.

A device has another key in each room, so that rooms cannot be connected by it; it is named by that key's fingerprint.
"""

from __future__ import annotations

import functools
import sys

import click
import trio

from client.client import Client
from client.device_link import ask_to_be_linked, offer_device
from client.errors import NotFoundError, RefusedError, UnavailableError, UsageError
from client.identity import clean_name, key_fingerprint
from client.room import Room, RoomMember
from client.room_state import Phase
from client.typed import parse_server
from samtala.cli.lazy import LazyGroup
from samtala.cli.run import HISTORY_S, caught_up_in_time, open_in_time, opened, run, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import drawn, put, put_json, say, show_return
from wire.identity import ServerAddress


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "list": ("samtala.cli.device:list_devices", "Your devices in each of your rooms."),
        "link": ("samtala.cli.device:link", "Show a code that makes another device yours."),
        "join": ("samtala.cli.device:join", "Become another device of whoever shows the code."),
        "revoke": ("samtala.cli.device:revoke", "Shut a device of yours out of your rooms."),
    },
)
def device() -> None:
    """Your devices: look at them, add another, shut out one that was lost."""


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
@click.option("--node", metavar="HOST:PORT#KEY", help="Through this server; by default one of your rooms'.")
@with_timeout
@with_json
@click.pass_obj
def link(settings: Settings, node: str | None, *, timeout_s: float, as_json: bool) -> None:
    """Show a code, for ten minutes and one device: there, run `samtala device join CODE`.

    Both devices then show three words. If they are equal, say yes here: the other device gets your key and your rooms. If
    not, somebody else saw the code: say no, and begin again.
    """

    async def command() -> None:
        async with opened(settings) as client:
            servers = [parse_server(node)] if node is not None else await _servers(client, timeout_s)
            async with offer_device(client, servers) as offer:
                _show_code(offer.code, as_json=as_json)
                words = await offer.words()
                assert offer.device is not None, "it has shown words"
                label = clean_name(offer.device.label)
                if as_json:
                    put_json({"words": words, "label": label})
                say(f"A device ({label}) has the code. It must show these words:\n\n    {words}\n")
                question = functools.partial(click.confirm, "Does it show the same words?", err=True)
                if not await trio.to_thread.run_sync(question, abandon_on_cancel=True):
                    await offer.refuse()
                    raise RefusedError("nothing was handed over; the code is worth nothing any more")
                await offer.hand_over()
                say("Handed over. It joins your rooms by itself: samtala device list")

    run(command)


async def _servers(client: Client, timeout_s: float) -> list[ServerAddress]:
    with trio.move_on_after(timeout_s):
        return await client.servers()
    raise UnavailableError(f"no server of your rooms was found within {timeout_s:g} s; tried:", client.tried)


def _show_code(code: str, *, as_json: bool) -> None:
    if as_json:
        put_json({"code": code})
        return
    put(code)
    if sys.stdout.isatty():
        say(drawn(code))
    say("On the new device, within ten minutes: samtala device join CODE\nShow the code to nobody else.")


@click.command()
@click.argument("code")
@with_json
@click.pass_obj
def join(settings: Settings, code: str, *, as_json: bool) -> None:
    """Become another device of the person who shows CODE (`samtala device link`), in a profile without rooms."""

    async def command() -> None:
        async with opened(settings) as client, ask_to_be_linked(client, code) as asking:
            words = await asking.words()
            if as_json:
                put_json({"words": words})
            say(f"The other device must show these words; if it does, say yes there:\n\n    {words}\n")
            for room in await asking.accept():
                show_return(room, as_json=as_json)
            with trio.move_on_after(HISTORY_S):
                await client.history_read()
            say(f"This is a device of {client.name} now. What came along: samtala tail ROOM --since 0")

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
