"""`samtala room inspect`: one room as the server on this machine sees it, for whoever runs it."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import click
import msgspec

from room_server.report import MemberReport, RoomDetail
from samtala.cli.node_client import ask
from samtala.cli.node_settings import socket_of, with_socket
from samtala.cli.run import explained, with_json
from samtala.cli.show import put
from samtala.operate.units import size, view_name


@click.command()
@click.argument("label")
@with_socket
@with_json
def inspect(label: str, *, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """Show how replication of one room is; LABEL is as logs and `samtala top` show it, or how the room's id begins.

    samtala room inspect 74a0df41

    Exit code 0: it gets on; 1: it does not, and why; 4: no such room here; 5: no server answers.
    """
    path = socket_of(config, socket)
    with explained():
        detail = ask(path, f"/room?label={urllib.parse.quote(label)}", RoomDetail)
    put(msgspec.json.encode(detail).decode() if as_json else "\n".join(detail_lines(detail)))
    raise click.exceptions.Exit(0 if detail.why_not_progressing is None else 1)


def detail_lines(detail: RoomDetail) -> list[str]:
    """The room in full."""
    room = detail.room
    margin = "no majority" if room.margin < 0 else f"survives {room.margin} more"
    lines = [
        f"room {room.room}  {room.state.replace('_', ' ')} · view {view_name(room.view)} · {margin}",
        f"operations   {room.op} logged, {room.commit} committed, {detail.applied} applied{_warmth(detail)}",
        f"view changes {detail.view_changes} since this server started",
        f"stored       {size(detail.stored_bytes)}{_quota(detail)}",
    ]
    width = max(len(member.name) for member in detail.members) + 1
    lines += [_member_line(member, width) for member in detail.members]
    if detail.why_not_progressing is not None:
        lines.append(click.style("stands still: ", fg="red", bold=True) + detail.why_not_progressing)
    return lines


def _warmth(detail: RoomDetail) -> str:
    return " · cold: silent for long, nothing of them is in memory" if detail.cold else ""


def _quota(detail: RoomDetail) -> str:
    if detail.quota_bytes is None:
        return ""
    full = click.style(": full, it takes no messages", fg="red", bold=True)
    return f" of {size(detail.quota_bytes)}{full if detail.stored_bytes >= detail.quota_bytes else ''}"


def _member_line(member: MemberReport, width: int) -> str:
    name = (member.name + ("*" if member.here else "")).ljust(width)
    state = "up  " if member.up else click.style("DOWN", fg="red", bold=True)
    lag = "" if member.lag_ops is None else f"  lag {member.lag_ops}"
    return f"  {name}  {state}{'  leads' if member.leads else ''}{lag}".rstrip()
