"""`samtala me`, `samtala recovery create|restore`."""

from __future__ import annotations

from pathlib import Path

import click
import trio

from client.client import Client
from client.errors import UnavailableError, UsageError
from client.identity import safety_number
from client.vault import fetch_recovery, keep_recovery
from samtala.cli.lazy import LazyGroup
from samtala.cli.run import HISTORY_S, opened, run, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json, say, show_return

_KEY_HEX_CHARACTERS = 64


@click.command()
@click.option("--with", "other", metavar="KEY", help="The other's user key, from: samtala room members ROOM --json")
@with_json
@click.pass_obj
def me(settings: Settings, other: str | None, *, as_json: bool) -> None:
    """Tell who you are to others; with a KEY, the safety number that both of you must see."""

    async def command() -> None:
        async with opened(settings) as client:
            key = client.identity.user_key
            facts = {"name": client.name, "key": key.hex(), "fingerprint": client.fingerprint}
            lines = [f"{client.name}   {client.fingerprint}   key {key.hex()}"]
            if other is not None:
                number = safety_number(key, _key(other))
                groups = " ".join(number[start : start + 5] for start in range(0, len(number), 5))
                facts["safety_number"] = number
                lines += [groups, "Compare aloud: equal numbers on both sides mean that nobody is in between."]
            if as_json:
                put_json(facts)
            else:
                put("\n".join(lines))

    run(command)


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(text) != _KEY_HEX_CHARACTERS or not key:
        raise UsageError("a user key has 64 hexadecimal digits; see: samtala room members ROOM --json")
    return key


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "create": ("samtala.cli.account:create", "Show a code that brings you back, whatever you lose."),
        "restore": ("samtala.cli.account:restore", "Become who you were, in a new profile."),
    },
)
def recovery() -> None:
    """Come back after losing everything: one code."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@with_timeout
@with_json
@click.pass_obj
def create(settings: Settings, file: Path | None, *, timeout_s: float, as_json: bool) -> None:
    """Show a code that brings back your key and your rooms on a new device, and old messages of rooms with history.

    What the code opens is sealed, and kept by the servers of your newest room; or in FILE, if you name one: then you need both.
    """

    async def command() -> None:
        async with opened(settings) as client:
            if file is None:
                code = await _kept(client, timeout_s)
                keeping = "Write the code down: whoever has it can be you. The part behind the @ says where to ask."
            else:
                code, content = await client.make_recovery()
                _write(file, content)
                keeping = f"Write the code down and keep {file} elsewhere: whoever has both can be you."
            if as_json:
                put_json({"code": code, "file": None if file is None else str(file)})
                return
            put(code)
            say(f"{keeping} Make another when you have joined more rooms.\nTo come back: samtala recovery restore")

    run(command)


async def _kept(client: Client, timeout_s: float) -> str:
    with trio.move_on_after(timeout_s):
        return await keep_recovery(client)
    raise UnavailableError(
        f"the servers of your rooms were not reached within {timeout_s:g} s; name a FILE to keep it yourself"
    )


def _write(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as target:
            target.write(content)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error}") from error


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--code", prompt="Recovery code", help="Asked for if not given.")
@with_timeout
@with_json
@click.pass_obj
def restore(settings: Settings, file: Path | None, *, code: str, timeout_s: float, as_json: bool) -> None:
    """Become who you were, in a profile without rooms, and join your rooms again: each as a new device.

    Give FILE if you kept one; otherwise your servers are asked for what they keep for the code.
    """
    kept = b"" if file is None else file.read_bytes()

    async def command() -> None:
        async with opened(settings) as client:
            with trio.move_on_after(timeout_s) as scope:
                content = kept or await fetch_recovery(code)
                for room in await client.recover(content, code):
                    show_return(room, as_json=as_json)
                with trio.move_on_after(HISTORY_S):
                    await client.history_read()
            if scope.cancelled_caught:
                raise UnavailableError(f"not all rooms were reached within {timeout_s:g} s; join them by their links")
            say(f"You are {client.name} again. Shut out the devices that you lost: samtala device revoke --others")

    run(command)
