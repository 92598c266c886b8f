"""`samtala node replace`: another server in the place of one that is dead, or shall go, in all rooms that are ours."""

from __future__ import annotations

import click
import trio

from client.client import Client, RoomSummary
from client.errors import SamtalaError, UnavailableError
from client.moving import MovePlan
from samtala.cli.room import MOVE_S
from samtala.cli.run import opened, run, with_json
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json, say


@click.command()
@click.argument("old", metavar="OLD")
@click.option(
    "--with",
    "new",
    required=True,
    metavar="NEW",
    help="The server that comes: a name that the others know, or HOST:PORT#KEY.",
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without this, only tell what would be done.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=MOVE_S, show_default=True,
              help="Seconds for all of it; going on later is harmless.")  # fmt: skip
@with_json
@click.pass_obj
def replace(settings: Settings, old: str, *, new: str, is_applied: bool, timeout_s: float, as_json: bool) -> None:
    """Put the server NEW in the place of OLD, in every room that this profile made. People go on writing meanwhile.

    OLD may be dead. NEW gets everything first; then it has the vote and OLD has none. Rooms that others made are theirs to move:
    they do the same from their own devices.
    """

    async def command() -> None:
        async with opened(settings) as client:
            with trio.move_on_after(timeout_s):
                failures = 0
                for room in await client.rooms():
                    if room.is_owner:
                        failures += not await _replace_in(
                            client, room, (old, new), is_applied=is_applied, as_json=as_json
                        )
                if not is_applied:
                    say("Nothing is changed yet; add --apply to do it.")
                if failures:
                    raise UnavailableError(
                        f"{failures} rooms are as they were; the same command goes on where it stopped"
                    )
                return
            raise UnavailableError(f"not done within {timeout_s:g} s; the same command goes on where it stopped")

    run(command)


async def _replace_in(
    client: Client, room: RoomSummary, servers: tuple[str, str], *, is_applied: bool, as_json: bool
) -> bool:
    """One room; tells whether all went well with it."""
    failure, margins, state = "", (0, 0), "not there"
    try:
        found = await client.plan_replacement(room.room_id.hex(), *servers, lambda text: say(f"{room.name}: {text}"))
        if found is not None:
            plan, mover = found
            margins, state = _margins(plan), "planned"
            if is_applied:
                await mover.run()
                state = "done"
    except SamtalaError as error:
        failure, state = str(error), "failed"
    if as_json:
        put_json({
            "room": room.name, "id": room.room_id.hex(), "state": state, "failure": failure,
            "margin_before": margins[0], "margin_after": margins[1],
        })  # fmt: skip
    elif state != "not there":
        put(
            f"{room.name:<24} {state}{f': {failure}' if failure else f': can lose {margins[1]} then, {margins[0]} now'}"
        )
    return not failure


def _margins(plan: MovePlan) -> tuple[int, int]:
    return plan.margin_before, plan.margin_after
