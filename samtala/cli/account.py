"""`samtala me`, `samtala recovery create|restore`."""

from __future__ import annotations

from pathlib import Path

import click
import trio

from client.errors import UnavailableError, UsageError
from client.identity import safety_number
from samtala.cli.lazy import LazyGroup
from samtala.cli.run import opened, run, with_json, with_timeout
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
        "create": ("samtala.cli.account:create", "Write a recovery file, and show the code that opens it."),
        "restore": ("samtala.cli.account:restore", "Become who you were, in a new profile."),
    },
)
def recovery() -> None:
    """Come back after losing everything: one code, one file."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_json
@click.pass_obj
def create(settings: Settings, file: Path, *, as_json: bool) -> None:
    """Write FILE, and show the code that opens it: it brings back your key and your rooms, never old messages."""

    async def command() -> None:
        async with opened(settings) as client:
            code, content = await client.make_recovery()
            try:
                with file.open("xb") as target:
                    target.write(content)
            except OSError as error:
                raise UsageError(f"{file} cannot be written: {error}") from error
            if as_json:
                put_json({"code": code, "file": str(file)})
                return
            put(code)
            say(f"Write the code down and keep {file} elsewhere. Make another when you have joined more rooms.")

    run(command)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--code", prompt="Recovery code", help="Asked for if not given.")
@with_timeout
@with_json
@click.pass_obj
def restore(settings: Settings, file: Path, *, code: str, timeout_s: float, as_json: bool) -> None:
    """Become the person of FILE, in a profile without rooms, and join their rooms again."""
    content = file.read_bytes()

    async def command() -> None:
        async with opened(settings) as client:
            with trio.move_on_after(timeout_s) as scope:
                for room in await client.recover(content, code):
                    show_return(room, as_json=as_json)
            if scope.cancelled_caught:
                raise UnavailableError(f"not all rooms were reached within {timeout_s:g} s; join them by their links")
            say(f"You are {client.name} again. Old devices of yours are still members: samtala room members ROOM")

    run(command)
