"""`samtala room knocks|approve|deny`: the door of a room by approval."""

from __future__ import annotations

from collections.abc import Sequence

import click

from client.errors import NotFoundError
from client.room import Room, Waiting
from samtala.cli.run import run_in_room, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json, say


@click.command()
@click.argument("which", metavar="ROOM")
@with_timeout
@with_json
@click.pass_obj
def knocks(settings: Settings, which: str, *, timeout_s: float, as_json: bool) -> None:
    """List who knocked at ROOM and waits: fingerprint and name. Compare the fingerprint with the person: names are free."""

    async def look(found: Room) -> None:
        waiting = found.knocks()
        if as_json:
            put_json({"room": found.name, "waiting": [_facts(person) for person in waiting]})
            return
        for person in waiting:
            put(f"{person.fingerprint}  {person.name}")
        if not waiting:
            say(f"Nobody waits at {found.name!r}.")

    run_in_room(settings, which, timeout_s, look, look=f"samtala room knocks {which}")


@click.command()
@click.argument("which", metavar="ROOM")
@click.argument("who", metavar="NAME|FINGERPRINT...", nargs=-1, required=True)
@with_timeout
@with_json
@click.pass_obj
def approve(settings: Settings, which: str, who: Sequence[str], *, timeout_s: float, as_json: bool) -> None:
    """Let people in who knocked at ROOM, all with one change of its members. A NAME that several have needs a FINGERPRINT."""

    async def let_in(found: Room) -> None:
        chosen = _chosen(found, who)
        sequence = await found.approve(chosen)
        if as_json:
            put_json({"room": found.name, "approved": [_facts(person) for person in chosen], "sequence": sequence})
            return
        put(str(sequence))
        say(f"Let in: {_listed(chosen)}.")

    run_in_room(settings, which, timeout_s, let_in, look=f"samtala room knocks {which}")


@click.command()
@click.argument("which", metavar="ROOM")
@click.argument("who", metavar="NAME|FINGERPRINT...", nargs=-1, required=True)
@with_timeout
@with_json
@click.pass_obj
def deny(settings: Settings, which: str, who: Sequence[str], *, timeout_s: float, as_json: bool) -> None:
    """Turn away people who knocked at ROOM. They are not told, and this device hears their knocks no more."""

    async def turn_away(found: Room) -> None:
        chosen = _chosen(found, who)
        await found.deny(chosen)
        if as_json:
            put_json({"room": found.name, "denied": [_facts(person) for person in chosen]})
            return
        say(f"Turned away: {_listed(chosen)}.")

    run_in_room(settings, which, timeout_s, turn_away, look=f"samtala room knocks {which}")


def _chosen(found: Room, who: Sequence[str]) -> list[Waiting]:
    chosen: list[Waiting] = []
    for text in who:
        named = [person for person in found.knocks() if text in {person.name, person.fingerprint}]
        if not named:
            raise NotFoundError(
                f"nobody who waits at {found.name!r} is {text!r}; see: samtala room knocks {found.name}"
            )
        if len(named) > 1:
            prints = ", ".join(person.fingerprint for person in named)
            raise NotFoundError(f"several people who wait are called {text!r}; give a fingerprint: {prints}")
        chosen += [person for person in named if person not in chosen]
    return chosen


def _facts(person: Waiting) -> dict[str, str]:
    return {"name": person.name, "fingerprint": person.fingerprint}


def _listed(people: Sequence[Waiting]) -> str:
    return ", ".join(f"{person.name} ({person.fingerprint})" for person in people)
