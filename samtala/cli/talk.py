"""`samtala join`, `chat`, `send` and `tail`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import trio

import samtala
from samtala.cli.output import clock_time, emit, run


@click.command()
@click.argument("link")
@click.option("--name", "person", default=None, help="Your name, if this profile is new.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def join(profile: Path | None, *, link: str, person: str | None, as_json: bool) -> None:
    """Join a room by its link."""

    async def work() -> None:
        async with samtala.open_client(profile=profile, name=person) as client:
            joined = await client.join(link)
            count = len(await joined.members())
            emit(
                {"room": joined.name, "members": count},
                as_json=as_json,
                text=f"joined {joined.name}; {count} members. Next: samtala chat {joined.name} --plain",
            )

    run(work)


@click.command()
@click.argument("room")
@click.argument("text", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def send(profile: Path | None, *, room: str, text: str | None, as_json: bool) -> None:
    """Send one message: TEXT, or standard input. Returns when a majority of the servers has it on disk."""
    message = sys.stdin.read().rstrip("\n") if text is None else text
    if not message:
        raise click.UsageError("Nothing to send. Give TEXT, or pipe something in: echo hej | samtala send ROOM")

    async def work() -> None:
        async with samtala.open_client(profile=profile) as client:
            sent = await (await client.room(room)).send(message)
            emit({"room": room, "sequence": sent.sequence}, as_json=as_json, text=f"{sent.sequence}")

    run(work)


@click.command()
@click.argument("room")
@click.option("--since", type=int, default=None, help="Begin behind this sequence; by default with what comes now.")
@click.option("--count", type=click.IntRange(1), default=None, help="End after so many messages.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one line each.")
@click.pass_obj
def tail(profile: Path | None, *, room: str, since: int | None, count: int | None, as_json: bool) -> None:
    """Print messages as they come."""

    async def work() -> None:
        async with samtala.open_client(profile=profile) as client:
            left = count
            async for message in (await client.room(room)).messages(since=since):
                emit(
                    {"sequence": message.sequence, "sender": message.sender.name, "text": message.text,
                     "timestamp_us": message.timestamp_us, "mine": message.mine},
                    as_json=as_json,
                    text=f"{clock_time(message.timestamp_us)} {message.sender.name}: {message.text}",
                )  # fmt: skip
                left = None if left is None else left - 1
                if left == 0:
                    return

    run(work)


@click.command()
@click.argument("room")
@click.option("--plain", is_flag=True, help="Line by line, for screen readers and pipes. The only way so far.")
@click.pass_obj
def chat(profile: Path | None, *, room: str, plain: bool) -> None:
    """Talk in a room: what you type is sent when you press enter; Ctrl-D ends."""
    if not plain:
        click.echo("(the full-screen client is not there yet; this is --plain)", err=True)

    async def work() -> None:
        async with samtala.open_client(profile=profile) as client, trio.open_nursery() as nursery:
            opened = await client.room(room)
            nursery.start_soon(_show_messages, opened)
            nursery.start_soon(_show_states, opened)
            await _send_lines(opened)
            nursery.cancel_scope.cancel()

    run(work)


async def _show_messages(room: samtala.Room) -> None:
    async for message in room.messages():
        sender = "you" if message.mine else message.sender.name
        click.echo(f"{clock_time(message.timestamp_us)} {sender}: {message.text}")


async def _show_states(room: samtala.Room) -> None:
    async for state in room.states():
        click.echo(f"-- {state.state.value}: {state.text}", err=True)


async def _send_lines(room: samtala.Room) -> None:
    lines = trio.wrap_file(sys.stdin)
    async for line in lines:
        text = line.rstrip("\n")
        if text:
            await room.send(text)
