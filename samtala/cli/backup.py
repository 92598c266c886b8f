"""`samtala backup create|verify|restore`: a copy of a server's rooms beside its disk."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from client.errors import PreconditionError
from room_server.backup import Manifest, create_backup, read_manifest, verify_backup
from room_server.backup_state import note_backup
from room_server.config import NodeConfig
from room_server.errors import BackupError, NodeError
from room_server.forcing import open_folder
from room_server.restoring import RestoredRoom, restore_backup
from room_server.setup import load_identity
from samtala.cli.lazy import LazyGroup
from samtala.cli.node_settings import default_config, fail, read_config, with_config
from samtala.cli.run import explained, with_json
from samtala.cli.show import put, put_json, say
from wire.identity import key_text

_with_target = click.argument("target", type=click.Path(file_okay=False, path_type=Path))


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "create": ("samtala.cli.backup:create", "Save what is new of this server's rooms."),
        "verify": ("samtala.cli.backup:verify", "Check every byte of a copy."),
        "restore": ("samtala.cli.backup:restore", "Bring a copy back, as a new server."),
    },
)
def backup() -> None:
    """Copies of this server's rooms: ciphertext, without keys."""


@click.command()
@_with_target
@with_config
@with_json
def create(target: Path, *, config: Path | None, as_json: bool) -> None:
    """Save into TARGET what of this server's rooms is not there yet. The server goes on meanwhile.

    The server's key is not in it: keep a copy of identity.key elsewhere. Operations of the last minutes may be missing.
    """
    settings = read_config(config)
    try:
        manifest = create_backup(settings.data, target, now_us=time.time_ns() // 1000)
    except NodeError as error:
        fail(error)
    _remember(settings, manifest, is_verified=False)
    operations = sum(room.last_op for room in manifest.rooms)
    if as_json:
        put_json({"rooms": len(manifest.rooms), "operations": operations})
        return
    put(f"{len(manifest.rooms)} rooms, through {operations} operations in all: {target}")


@click.command()
@_with_target
@with_config
@with_json
def verify(target: Path, *, config: Path | None, as_json: bool) -> None:
    """Check that everything in TARGET is what was saved, and one history each. Exit code 1: something is wrong.

    On the server's own machine, `samtala status` and the metrics learn of it.
    """
    try:
        findings = list(verify_backup(target))
        manifest = read_manifest(target)
    except NodeError as error:
        fail(error)
    assert manifest is not None, "it was verified"
    if not findings and (config or default_config()).exists():
        _remember(read_config(config), manifest, is_verified=True)
    age_s = max(time.time() - manifest.made_us / 1e6, 0.0)
    if as_json:
        put_json({"rooms": len(manifest.rooms), "age_s": round(age_s), "findings": findings})
    else:
        put("\n".join(findings) or f"whole: {len(manifest.rooms)} rooms, {age_s / 3600:.1f} hours old")
    raise click.exceptions.Exit(1 if findings else 0)


@click.command()
@_with_target
@with_config
@click.option("--accept-data-loss", "is_accepted", is_flag=True, help="What was said since the copy is not in it.")
@with_json
@explained()
def restore(target: Path, *, config: Path | None, is_accepted: bool, as_json: bool) -> None:
    """Bring the rooms of TARGET back on a new, empty server, which goes on with them alone.

    Only when no server of the rooms is left: while one is, `samtala room recover` there loses less. Make the server with
    `samtala node init`, put identity.key of one that is lost in the place of the new one, then this, then start it.
    """
    settings = read_config(config)
    if not is_accepted:
        raise PreconditionError(
            "what was said since the copy was made is lost: say --accept-data-loss if that is meant"
        )
    try:
        identity = load_identity(settings)
        with closing(open_folder(settings.data)) as storage:
            rooms = list(restore_backup(storage, target, identity=identity))
    except NodeError as error:
        fail(error)
    _tell(rooms, key_text(identity.public), as_json=as_json)
    raise click.exceptions.Exit(1 if any(room.problem for room in rooms) else 0)


def _remember(settings: NodeConfig, manifest: Manifest, *, is_verified: bool) -> None:
    """Tell the node through its data folder. The copy is good without that, so it is only said when it fails."""
    try:
        note_backup(settings.data, made_us=manifest.made_us, is_verified=is_verified)
    except BackupError as error:
        say(f"samtala: {error}; `samtala status` will not show it")


def _tell(rooms: list[RestoredRoom], key: str, *, as_json: bool) -> None:
    if as_json:
        put_json(
            {
                "rooms": [
                    {"room": r.label, "operations": r.last_op, "epoch": r.epoch, "problem": r.problem} for r in rooms
                ]
            }
        )
        return
    for room in rooms:
        put(f"room {room.label}: {room.problem or f'operations 1 to {room.last_op}, epoch {room.epoch}'}")
    say("People follow when each room's owner has vouched for it:")
    say(f"  samtala room vouch ROOM RECORD --epoch EPOCH --server HOST:PORT#{key}")
    say("and then here, before the server is started:\n  samtala room recover LABEL --record RECORD")
