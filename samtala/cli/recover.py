"""`samtala room recover` and `samtala room vouch`: a room whose servers are mostly gone for good goes on, on one that is left."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from client.errors import NotFoundError, UsageError
from room_server.errors import NodeError, StartError
from room_server.forcing import ForcedRoom, attach_record, check_record, force_room, open_folder, rooms_in
from room_server.setup import load_identity
from samtala.cli.node_settings import fail, read_config, with_config
from samtala.cli.publish import write_record
from samtala.cli.run import explained, opened, run, with_json
from samtala.cli.settings import Settings
from samtala.cli.show import put, put_json, say
from samtala.operate.units import view_name
from vr.host.forced_epoch import Survivor
from vr.host.opening import OpenStorage
from vr.storage.errors import StorageError
from wire.errors import AddressError
from wire.identity import NodeIdentity, key_text, parse_node_address


@click.command()
@click.argument("label", required=False)
@with_config
@click.option(
    "--record", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="What the room's owner signed with `samtala room vouch`.",
)  # fmt: skip
@click.option("--accept-data-loss", "is_accepted", is_flag=True, help="Do it; without this, only tell what it costs.")
@with_json
@explained()
def recover(label: str | None, *, config: Path | None, record: Path | None, is_accepted: bool, as_json: bool) -> None:
    """Let a room go on here alone, when so many of its servers are gone for good that it cannot go on by itself.

    Run it on the server that is left, stopped; on each of them, if there are several, and go on where the most is left.
    LABEL is as logs show it, or how the room's id begins; without it, all rooms of this server are told of. With a
    --record that comes later, for a room that was recovered already, only that is kept.

    Exit code 0: told, or done; 1: this room cannot go on from here, or the server runs; 3: no such room here.
    """
    settings = read_config(config)
    try:
        identity = load_identity(settings)
        with closing(open_folder(settings.data)) as storage:
            rooms = [room for room in rooms_in(storage) if label is None or _is_meant(room, label)]
            if label is not None and not rooms:
                raise NotFoundError(f"no room of this server is called {label}")
            if label is not None and len(rooms) > 1:
                raise UsageError(f"{len(rooms)} rooms of this server are called {label}: say more of the room's id")
            _show(rooms, as_json=as_json)
            if record is not None and not is_accepted and rooms and rooms[0].is_forced:
                attach_record(storage, rooms[0], record.read_bytes())
                say("The owner's word is kept. Start the server.")
                return
            if not is_accepted:
                say(_next_command(rooms, identity))
                return
            if label is None:
                raise UsageError("--accept-data-loss is for one room: name it")
            _force(storage, rooms[0], identity, record)
    except NodeError as error:
        fail(error)
    except StorageError as error:
        fail(StartError(f"{error}; the same command goes on when that is mended"))


def _is_meant(room: ForcedRoom, label: str) -> bool:
    return room.label == label or (len(label) >= 6 and room.genesis.room_id.hex().startswith(label.lower()))


def _show(rooms: list[ForcedRoom], *, as_json: bool) -> None:
    if as_json:
        put_json({"rooms": [_facts(room) for room in rooms]})
        return
    for room in rooms:
        put(f"room {room.label}")
        lines = [room.damage] if room.survivor is None else room.survivor.account()
        put("\n".join(f"  {line}" for line in lines))
        if room.survivor is not None:
            put(f"  of several servers, go on where this is greatest: {_rank_text(room.survivor)}")
    if not rooms:
        put("This server has no rooms.")


def _facts(room: ForcedRoom) -> dict[str, object]:
    survivor = room.survivor
    if survivor is None:
        return {"room": room.label, "damage": room.damage}
    return {
        "room": room.label, "epoch": survivor.configuration.epoch, "members": survivor.configuration.size,
        "committed": survivor.commit, "kept": survivor.kept, "head": survivor.head,
        "is_whole": survivor.is_whole, "rank": list(survivor.rank),
    }  # fmt: skip


def _rank_text(survivor: Survivor) -> str:
    return f"view {view_name(survivor.log_view)}, operation {survivor.kept}"


def _next_command(rooms: list[ForcedRoom], identity: NodeIdentity) -> str:
    epochs = {room.survivor.configuration.epoch + 1 for room in rooms if room.survivor is not None}
    if len(rooms) != 1 or len(epochs) != 1:
        return "Nothing is changed. Look at one room: samtala room recover LABEL"
    return (
        "Nothing is changed. Wait for the other servers if there is any hope; else the room's owner signs\n"
        f"  samtala room vouch ROOM RECORD --epoch {epochs.pop()} --server HOST:PORT#{key_text(identity.public)}\n"
        "and hands you the file; then here\n"
        f"  samtala room recover {rooms[0].label} --record RECORD --accept-data-loss"
    )


def _force(storage: OpenStorage, room: ForcedRoom, identity: NodeIdentity, record: Path | None) -> None:
    if room.survivor is None:
        raise click.exceptions.Exit(1)
    data = b"" if record is None else record.read_bytes()
    if data:
        check_record(data, room.survivor.configuration.epoch + 1)
    force_room(storage, room, identity=identity, record=data)
    say("Done. Start the server; then give the room more servers: samtala room move ROOM --to … --apply")
    if not data:
        say("People do not follow it before the room's owner has vouched for it: samtala room vouch")


@click.command()
@click.argument("which", metavar="ROOM")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--server", "address", required=True, metavar="HOST:PORT#KEY", help="The one that goes on.")
@click.option("--epoch", type=click.IntRange(min=1), required=True, help="As `samtala room recover` shows it there.")
@click.pass_obj
def vouch(settings: Settings, which: str, path: Path, *, address: str, epoch: int) -> None:
    """Say that ROOM, which you made, is recovered on one server that is left; writes the signed record to PATH.

    Hand the file to whoever runs that server. People whose programs see it follow; nobody else can sign it.
    """

    async def command() -> None:
        try:
            server = parse_node_address(address)
        except AddressError as error:
            raise UsageError(str(error)) from error
        async with opened(settings) as client:
            write_record(path, await client.vouch(which, server, epoch))
            put(str(path))
            say("Hand it to whoever runs that server: samtala room recover LABEL --record FILE --accept-data-loss")

    run(command)
