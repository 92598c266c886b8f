"""`samtala room history`: what newcomers may read of what was before them."""

from __future__ import annotations

import click

from client.archive import HistoryPolicy
from client.room import Room
from client.typed import parse_history
from samtala.cli.run import run_in_room, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json, say


@click.command()
@click.argument("which", metavar="ROOM")
@click.argument("policy", metavar="none|full|DAYS", required=False)
@with_timeout
@with_json
@click.pass_obj
def history(settings: Settings, which: str, policy: str | None, *, timeout_s: float, as_json: bool) -> None:
    """Tell what newcomers to ROOM may read of what was before them; or, if you made it, say so: nothing, all, or so many days.

    Unless it is nothing, every member's device keeps the keys of messages that old: whoever takes such a device reads them.
    """

    async def act(found: Room) -> None:
        if policy is not None:
            await found.set_history(parse_history(policy))
        if as_json:
            put_json({"room": found.name, "history": str(found.history), "days": found.history.days})
            return
        put(str(found.history))
        say(explained(found.history))

    run_in_room(settings, which, timeout_s, act, look=f"samtala room history {which}")


def explained(policy: HistoryPolicy) -> str:
    """What a policy means, for people."""
    match policy.days:
        case 0:
            return "Newcomers read what is said from their coming on. Nobody keeps keys of what was read."
        case -1:
            return "Newcomers read all that was said since this was so. Members' devices keep the keys for it."
        case _:
            return f"Newcomers read what was said in the last {policy}. Members' devices keep the keys for it, and no older ones."
