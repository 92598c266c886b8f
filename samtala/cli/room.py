"""`samtala room create|info|members` and `samtala rooms`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import samtala
from samtala.cli.output import emit, run, table
from wire.identity import key_text


@click.group()
def room() -> None:
    r"""Make rooms and look at them.

    \b
    samtala room create lobby --node a.example:7610#KEY
    samtala room info lobby
    """


@room.command()
@click.argument("name")
@click.option("--node", "nodes", multiple=True, required=True, help="HOST:PORT#KEY of a server; repeat for several.")
@click.option("--as", "person", default=None, help="Your name in the room, if this profile is new.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def create(profile: Path | None, *, name: str, nodes: tuple[str, ...], person: str | None, as_json: bool) -> None:
    """Make a room on the cluster that the named server belongs to. Prints its link."""

    async def work() -> None:
        async with samtala.open_client(profile=profile, name=person) as client:
            made = await client.create_room(name, nodes=list(nodes))
            emit({"room": made.name, "link": made.link}, as_json=as_json, text=made.link)
            if not as_json and sys.stderr.isatty():
                _show_code(made.link)

    run(work)


def _show_code(link: str) -> None:
    import segno  # only for a person at a terminal

    segno.make(link, error="m").terminal(out=sys.stderr, compact=True)
    click.echo("Whoever has this link can join and read from then on.", err=True)


@room.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def info(profile: Path | None, *, name: str, as_json: bool) -> None:
    """How a room is: its servers, its margin, its place in the log."""

    async def work() -> None:
        async with samtala.open_client(profile=profile) as client:
            opened = await client.room(name)
            status = await opened.status()
            margin = "no majority: read-only" if status.spare_failures < 0 else f"survives {status.spare_failures} more"
            replicas = [
                {"name": item.name, "key": key_text(item.node_key), "up": item.up, "lag_ops": item.lag_ops,
                 "primary": item.node_key == status.primary}
                for item in status.replicas
            ]  # fmt: skip
            fields = {
                "room": opened.name, "link": opened.link, "view": status.view, "status": status.status,
                "op": status.op_number, "epoch": status.epoch, "next_sequence": status.next_sequence,
                "spare_failures": status.spare_failures, "replicas": replicas,
            }  # fmt: skip
            lines = [f"{opened.name}   {status.status}   view {status.view}   op {status.op_number}   {margin}"]
            rows = [
                (item.name + ("*" if item.node_key == status.primary else ""), "up" if item.up else "DOWN",
                 "?" if item.lag_ops < 0 else str(item.lag_ops))
                for item in status.replicas
            ]  # fmt: skip
            lines.append(table(("NODE", "STATE", "LAG"), rows))
            emit(fields, as_json=as_json, text="\n".join([*lines, opened.link]))

    run(work)


@room.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one line each.")
@click.pass_obj
def members(profile: Path | None, *, name: str, as_json: bool) -> None:
    """Who is in a room, as its encryption group says."""

    async def work() -> None:
        async with samtala.open_client(profile=profile) as client:
            opened = await client.room(name)
            for person in await opened.members():
                fields = {
                    "name": person.name,
                    "key": person.fingerprint,
                    "device": person.device_label,
                    "me": person.is_me,
                }
                emit(fields, as_json=as_json, text=f"{person.name}  {person.fingerprint}  {person.device_label}")

    run(work)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, one line each.")
@click.pass_obj
def rooms(profile: Path | None, *, as_json: bool) -> None:
    """List the rooms of this profile."""

    async def work() -> None:
        async with samtala.open_client(profile=profile) as client:
            for name in client.rooms():
                emit({"room": name}, as_json=as_json, text=name)

    run(work)
