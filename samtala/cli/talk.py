"""`samtala join`, `send`, `tail`, `chat`, `leave`."""

from __future__ import annotations

import functools
import sys
from collections import deque

import click
import trio

from client.client import Client
from client.errors import NotFoundError, OutcomeUnknownError, SamtalaError, UnavailableError, UsageError
from client.pending import PendingMessage, SentMessage
from client.room import Room
from client.timeline import ItemKind, Message, Notice
from samtala.cli.run import HISTORY_S, PATIENCE_S, caught_up_in_time, open_in_time, opened, run, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import event_json, event_line, margin, plain, put, put_json, say, state_line

_MESSAGE_ID_BYTES = 16
HISTORY_LINES = 20
"""Earlier messages that `chat` shows when they have come."""
CHAT_HELP = "/who  /status  /link  /quit; anything else is sent"


@click.command()
@click.argument("link")
@click.option("--name", help="What to be called in this room.")
@with_timeout
@with_json
@click.pass_obj
def join(settings: Settings, link: str, *, name: str | None, timeout_s: float, as_json: bool) -> None:
    """Join a room by its LINK, SAMTALA:… or https://…#…"""

    async def command() -> None:
        async with opened(settings, name=name) as client:
            room = await open_in_time(client, timeout_s, functools.partial(client.join, link, name=name))
            await caught_up_in_time(room, timeout_s)
            members = await room.members()
            if as_json:
                put_json({"room": room.name, "id": room.room_id.hex(), "members": len(members), "name": client.name})
                return
            put(room.name)
            history = await _history(room)
            company = {1: "alone", 2: "with one other"}.get(len(members), f"with {len(members) - 1} others")
            say(f"You are in {room.name!r} as {client.name!r}, {company}.")
            say(history)
            say(f"Talk: samtala chat {_quoted(room.name)}")

    run(command)


async def _history(room: Room) -> str:
    """What a newcomer is told of what was before; somebody has to hand it over, so it may take a moment."""
    if not room.history.is_kept:
        return "What was said before you came is not for newcomers."
    with trio.move_on_after(HISTORY_S):
        await room.history_read()
        return f"What was said before you came ({room.history}): samtala tail {_quoted(room.name)} --since 0"
    return f"What was said before you came ({room.history}) can be read once somebody is there who hands it over."


@click.command()
@click.argument("room")
@click.argument("text", required=False)
@click.option(
    "--retry", metavar="ID", help="Finish an earlier message whose outcome was unknown; never sends it twice."
)
@with_timeout
@with_json
@click.pass_obj
def send(
    settings: Settings, room: str, text: str | None, *, retry: str | None, timeout_s: float, as_json: bool
) -> None:
    """Send TEXT, or standard input, to ROOM; prints its sequence number once a majority has it on disk."""
    if retry is None and text is None:
        if sys.stdin.isatty():
            say("Write the message; Ctrl-D ends it.")
        text = sys.stdin.read().rstrip("\n")

    async def command() -> None:
        async with opened(settings) as client:
            opening = functools.partial(client.room, room)
            found = await open_in_time(client, timeout_s, opening)
            if retry is not None:
                sent = await _retry(found, retry, timeout_s)
            else:
                sent = await _send_in_time(found, text or "", timeout_s)
            if as_json:
                put_json({"sequence": sent.sequence, "message_id": sent.message_id.hex()})
            else:
                put(str(sent.sequence))

    run(command)


async def _send_in_time(room: Room, text: str, timeout_s: float) -> SentMessage:
    pending = await room.post(text)
    with trio.move_on_after(timeout_s):
        return await pending.acknowledged()
    if await room.withdraw(pending):
        why = f"not sent: no server of {room.name!r} was reached within {timeout_s:g} s; tried:"
        raise UnavailableError(why, room.failures)
    raise _unknown(room, pending, timeout_s)


def _unknown(room: Room, pending: PendingMessage, timeout_s: float) -> OutcomeUnknownError:
    retry_id = pending.message_id.hex()
    why = f" ({room.hindrance})" if room.hindrance else ""
    return OutcomeUnknownError(
        f"sent, and not taken within {timeout_s:g} s{why}: it may or may not be in the room.\n"
        f"  Find out, and send it if it is not: samtala send {_quoted(room.name)} --retry {retry_id}",
        retry_id,
    )


async def _retry(room: Room, retry_id: str, timeout_s: float) -> SentMessage:
    try:
        message_id = bytes.fromhex(retry_id)
    except ValueError as error:
        raise UsageError(
            f"{retry_id!r} is no message id: 32 hex digits, as the earlier command printed them"
        ) from error
    if len(message_id) != _MESSAGE_ID_BYTES:
        raise UsageError(f"{retry_id!r} is no message id: 32 hex digits, as the earlier command printed them")
    with trio.move_on_after(timeout_s):
        return await room.retry(message_id)
    raise OutcomeUnknownError(
        f"still unknown: no answer within {timeout_s:g} s. Try again: samtala send {_quoted(room.name)} --retry {retry_id}",
        retry_id,
    )


@click.command()
@click.argument("room")
@click.option("--since", type=click.IntRange(min=0), help="Begin after this sequence number; 0: all that is here.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on as messages come.")
@with_timeout
@with_json
@click.pass_obj
def tail(settings: Settings, room: str, *, since: int | None, follow: bool, timeout_s: float, as_json: bool) -> None:
    """Print what is said in ROOM, each message once and in the room's order; Ctrl-C ends it."""

    async def command() -> None:
        async with opened(settings) as client:
            found = await open_in_time(client, timeout_s, functools.partial(client.room, room))
            if follow:
                await _show(found, since, as_json=as_json)
                return
            await caught_up_in_time(found, timeout_s)
            last = found.sequence
            with trio.CancelScope() as scope:
                await _show(found, since, as_json=as_json, scope=scope, through=last)

    run(command)


async def _show(
    room: Room, since: int | None, *, as_json: bool, scope: trio.CancelScope | None = None, through: int = 0
) -> None:
    """Print events; with a scope, cancel it once everything through a sequence has been printed."""
    if scope is not None:
        scope.deadline = trio.current_time() + PATIENCE_S
    async for event in room.events(since):
        if as_json:
            put_json(event_json(event))
        else:
            put(event_line(event))
        if scope is not None and event.sequence >= through:
            scope.cancel()


@click.command()
@click.argument("room")
@click.option("--plain", is_flag=True, help="Lines only, for screen readers and pipes. The only way there is, so far.")
@click.option("--since", type=click.IntRange(min=0), help="Show what was said after this sequence number first.")
@with_timeout
@click.pass_obj
def chat(settings: Settings, room: str, *, plain: bool, since: int | None, timeout_s: float) -> None:
    """Talk in ROOM: what you write is sent line by line, what others write is shown. /help lists more."""
    del plain

    async def command() -> None:
        async with opened(settings) as client:
            found = await open_in_time(client, timeout_s, functools.partial(client.room, room))
            say(f"-- {found.name} · you are {client.name} · {CHAT_HELP}")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_show_others, found, since)
                nursery.start_soon(_show_states, found)
                await _write(found)
                nursery.cancel_scope.cancel()

    run(command)


async def _show_others(room: Room, since: int | None) -> None:
    async for event in room.events(since):
        if since is None and isinstance(event, Notice) and event.kind is ItemKind.HISTORY_READ:
            await _show_history(room)
        # What we wrote is on the screen already; its acknowledgement says where it went.
        if since is not None or not isinstance(event, Message) or not event.mine:
            put(event_line(event))
    say("-- you are not in this room any more")


async def _show_history(room: Room) -> None:
    """The end of what was said before this device came in; the rest is for `tail`."""
    earlier: deque[Message] = deque(maxlen=HISTORY_LINES)
    async for event in room.events(0):
        if not isinstance(event, Message) or not event.from_history:
            break
        earlier.append(event)
    for message in earlier:
        put(event_line(message))


async def _show_states(room: Room) -> None:
    last = ""
    async for state in room.states():
        line = state_line(state)
        if line != last and state.server is not None:
            say(line)
        last = line


async def _write(room: Room) -> None:
    async with trio.open_nursery() as sending:
        while True:
            # The thread is left behind when the person interrupts: nothing else ends a read from a terminal.
            line = await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            text = line.rstrip("\n")
            if not line or text == "/quit":
                return
            if text.startswith("/"):
                await _command(room, text)
            elif text:
                sending.start_soon(_send_and_tell, room, text)


async def _send_and_tell(room: Room, text: str) -> None:
    try:
        sent = await room.send(text)
    except SamtalaError as error:
        say(f"-- not sent: {plain(text)[:60]}: {error}")
        return
    say(f"-- ✓ {sent.sequence}")


async def _command(room: Room, text: str) -> None:
    match text.split():
        case ["/who"]:
            for member in await room.members():
                doubt = "" if member.is_verified else " (unverified)"
                say(f"-- {member.name} {member.fingerprint}{doubt}{' (you)' if member.is_me else ''}")
        case ["/status"]:
            say(state_line(room.connection))
            try:
                say(f"-- {margin(await room.status())} · code {room.code}")
            except SamtalaError as error:
                say(f"-- {error}")
        case ["/link"]:
            put(room.link)
        case _:
            say(f"-- {CHAT_HELP}")


@click.command()
@click.argument("room")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def leave(settings: Settings, room: str, *, yes: bool) -> None:
    """Leave ROOM and delete its history from this profile."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete {room!r} and its history from this device?", abort=True, err=True)

    async def command() -> None:
        async with opened(settings) as client:
            await _leave(client, room)
            say(f"You left {room!r}.")

    run(command)


async def _leave(client: Client, room: str) -> None:
    try:
        await client.leave(room)
    except UnavailableError as error:
        raise NotFoundError(str(error)) from error


def _quoted(name: str) -> str:
    return name if name.replace("-", "").isalnum() else f"'{name}'"
