"""`samtala room verify`: do all servers of a room hold what this device has read?"""

from __future__ import annotations

import click

from client.errors import ForkDetectedError
from client.room import Room
from client.verification import Agreement, Verdict
from samtala.cli.run import run_in_room, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json, say
from wire.identity import key_text

_WORDS = {
    Agreement.SAME: "the same history through {sequence}",
    Agreement.OTHER: "ANOTHER HISTORY: {text}",
    Agreement.UNKNOWN: "cannot tell: {text}",
    Agreement.SILENT: "does not say: {text}",
}


@click.command()
@click.argument("which", metavar="ROOM")
@click.option("--deep", is_flag=True, help="Read all of its log from each server, instead of comparing one hash.")
@with_timeout
@with_json
@click.pass_obj
def verify(settings: Settings, which: str, *, deep: bool, timeout_s: float, as_json: bool) -> None:
    """Ask each server of ROOM by itself whether it holds what this device has read; exit code 8 if one holds something else."""

    async def act(found: Room) -> None:
        verdicts = await found.verify(deep=deep)
        for verdict in verdicts:
            _show(verdict, as_json=as_json)
        liars = [verdict for verdict in verdicts if verdict.agreement is Agreement.OTHER]
        if liars:
            raise ForkDetectedError(f"{len(liars)} of {len(verdicts)} servers hold another history than this device")
        same = sum(verdict.agreement is Agreement.SAME for verdict in verdicts)
        say(f"{same} of {len(verdicts)} servers hold what this device has read.")

    run_in_room(settings, which, timeout_s, act, look=f"samtala room info {which}")


def _show(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        put_json({
            "server": f"{verdict.server.host}:{verdict.server.port}", "key": key_text(verdict.server.node_key),
            "agreement": verdict.agreement.value, "sequence": verdict.sequence, "entries_read": verdict.entries,
            "text": verdict.text,
        })  # fmt: skip
        return
    words = _WORDS[verdict.agreement].format(sequence=verdict.sequence, text=verdict.text)
    put(f"{verdict.server.host}:{verdict.server.port:<6} {words}")
