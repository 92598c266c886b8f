"""How a command that needs the client runs: trio, the profile, time limits, errors into words and exit codes."""

from __future__ import annotations

import functools
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

import click
import trio

from client.client import Client, open_client
from client.connection import ConnectionState
from client.discovery import OtherSources
from client.errors import OutcomeUnknownError, SamtalaError, UnavailableError, UsageError
from client.limits import WEB_BYTES_MAX
from client.room import Room
from client.typed import parse_public_nodes
from client.well_known import parse_web_host
from samtala.cli.settings import Settings

HISTORY_S = 4.0
"""Seconds that a newcomer waits for what was said before: somebody has to hand it over."""
PATIENCE_S = 15.0
"""Seconds that commands wait for servers unless told otherwise."""

with_timeout = click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=PATIENCE_S, show_default=True,
    help="Seconds to wait for servers.",
)  # fmt: skip
with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")


def run(command: Callable[[], Awaitable[None]]) -> None:
    """Run a command to its end; what the world does wrong becomes a message and an exit code."""
    try:
        trio.run(functools.partial(_await, command))
    except BaseExceptionGroup as group:
        _fail(_only(group))
    except SamtalaError as error:
        _fail(error)


@contextmanager
def explained() -> Iterator[None]:
    """What the world does wrong in this block becomes a message and an exit code."""
    try:
        yield
    except SamtalaError as error:
        _fail(error)


async def _await(command: Callable[[], Awaitable[None]]) -> None:
    await command()


def _fail(error: BaseException) -> NoReturn:
    if isinstance(error, OutcomeUnknownError) and error.retry_id:
        click.echo(f"samtala: outcome unknown: {error}", err=True)
        raise click.exceptions.Exit(error.exit_code) from error
    if isinstance(error, SamtalaError):
        click.echo(f"samtala: {error}", err=True)
        raise click.exceptions.Exit(error.exit_code) from error
    raise error


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of the errors that a group is made of; an interrupt before all others."""
    interrupts, _ = group.split(KeyboardInterrupt)
    error: BaseException = interrupts or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def opened(settings: Settings, *, name: str | None = None) -> AsyncIterator[Client]:
    """The profile that the command line names."""
    others = OtherSources(
        web_hosts=tuple(parse_web_host(text) for text in settings.web_hosts),
        record=_record(settings.descriptor),
        has_lan=True,
        public_nodes=parse_public_nodes(settings.public_dht),
    )
    passphrase = _passphrase(settings.passphrase_file)
    async with open_client(settings.profile, name=name, passphrase=passphrase, others=others) as client:
        yield client


def _record(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            return file.read(WEB_BYTES_MAX)
    except OSError as error:
        raise UsageError(f"the descriptor file {path} cannot be read: {error.strerror}") from error


def _passphrase(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the passphrase file {path} cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise UsageError(f"the passphrase file {path} is empty: its first line is the passphrase")
    return lines[0]


async def open_in_time(client: Client, timeout_s: float, opening: Callable[[], Awaitable[Room]]) -> Room:
    """Open or join a room within a time limit.

    Raises:
        UnavailableError: it took longer; the text lists what was tried, and how each attempt failed.
    """
    with trio.move_on_after(timeout_s):
        return await opening()
    raise UnavailableError(f"not reached within {timeout_s:g} s; tried:", client.tried)


async def caught_up_in_time(room: Room, timeout_s: float) -> None:
    """Wait until a room has read all that the servers have.

    Raises:
        UnavailableError: it took longer.
    """
    with trio.move_on_after(timeout_s):
        await room.caught_up()
        return
    if room.connection.state is ConnectionState.LIVE:
        raise UnavailableError(
            f"a server of {room.name!r} answers, but too few of the others: within {timeout_s:g} s no majority said where"
            f" the room's history ends. What that server has: samtala tail {shlex.quote(room.name)} --since 0"
        )
    raise UnavailableError(f"no server of {room.name!r} was reached within {timeout_s:g} s; tried:", room.failures)


def run_in_room(
    settings: Settings, which: str, timeout_s: float, act: Callable[[Room], Awaitable[None]], *, look: str
) -> None:
    """Run a command in a room that is read to its end; `look` is the command that tells later whether it was done.

    Raises:
        click.exceptions.Exit: it failed; the text says why.
    """

    async def command() -> None:
        async with opened(settings) as client:
            found = await open_in_time(client, timeout_s, functools.partial(client.room, which))
            await caught_up_in_time(found, timeout_s)
            with trio.move_on_after(timeout_s):
                await act(found)
                return
            raise UnavailableError(f"not done within {timeout_s:g} s; look at: {look}")

    run(command)
