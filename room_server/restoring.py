"""Bringing a copy back: a new replica that goes on by force, as the only server of each room (docs/adr/0014).

    copy, whole? ─▶ an empty data folder, and the key of a server that had a vote ─▶ log: what it promises from now on
                                                                                   ─▶ history: operations, checkpoint
                                                                                   ─▶ one transaction: the epoch begins

The replica that the copy was taken from may have promised more since: under its name the copy would break those promises. So
it never comes back; a new one takes up what was saved. Cut off, it is done again from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from room_server.backup import (
    SavedRoom,
    check_room,
    checkpoint_of,
    configuration_of,
    genesis_of,
    operations_of,
    read_manifest,
)
from room_server.epoch_book import EpochBook, make_statement
from room_server.errors import BackupError
from room_server.logs import room_label
from vr.configuration import Configuration, Member
from vr.errors import VRError
from vr.host.opening import OpenStorage
from vr.ready import CommittedOp, DurableState
from vr.storage.history import StoredGroup
from vr.storage.meta import birth_record, meta_record
from vr.types import Checksum, GroupId, OpNumber, ViewNumber
from wire.certificate import RoomServers, sign_statement
from wire.errors import DecodeError
from wire.identity import NodeIdentity
from wire.room import Genesis, decode_genesis

_PAGE = 256
"""Operations written in one transaction."""


class RestoredRoom(msgspec.Struct, frozen=True, kw_only=True):
    """One room that was brought back, or why not. `epoch` is the one that begins; `last_op` the last operation saved."""

    label: str
    last_op: int
    epoch: int
    problem: str = ""


def restore_backup(storage: OpenStorage, target: Path, *, identity: NodeIdentity) -> Iterator[RestoredRoom]:
    """Bring each room of a copy into an open folder that has none. Each is durable when it is told.

    Raises:
        BackupError: there is no copy, or the folder has rooms already.
        StorageError: the disk refused.
    """
    manifest = read_manifest(target)
    if manifest is None:
        raise BackupError(f"{target} holds no copy")
    if storage.history.groups():
        raise BackupError(
            f"{storage.folder.path} has rooms of its own: a copy is brought back into a new folder (`samtala node init`)"
        )
    for room in manifest.rooms:
        label, epoch = room_label(room.group), configuration_of(room).epoch + 1
        try:
            _restore_room(storage, target, room, identity)
        except BackupError as error:
            yield RestoredRoom(label=label, last_op=room.last_op, epoch=epoch, problem=str(error))
        else:
            yield RestoredRoom(label=label, last_op=room.last_op, epoch=epoch)


def _restore_room(storage: OpenStorage, target: Path, room: SavedRoom, identity: NodeIdentity) -> None:
    encoded = genesis_of(target, room)
    before = configuration_of(room)
    following = before.successor((Member(storage.folder.replica_id, identity.public),))
    genesis, book = _book_of(room, encoded)
    servers = book.servers_at(before.epoch)
    if servers is None or identity.public not in servers.node_keys:
        raise BackupError("this server's key had no vote in the room: bring back identity.key of one that had, too")
    if room.last_op == 0:
        raise BackupError("no operation of it was saved")
    check_room(target, room)  # A room that comes back in part would be another one.
    _write_log(storage, target, room)
    _write_history(storage, target, room, encoded)
    _begin(storage, room, following, genesis=genesis, book=book, servers=servers, identity=identity)


def _book_of(room: SavedRoom, encoded: bytes) -> tuple[Genesis, EpochBook]:
    try:
        genesis = decode_genesis(encoded)
        book = EpochBook(genesis)
        book.load(room.notes)
    except DecodeError as error:
        raise BackupError(f"what is known of the room's servers cannot be read: {error}") from error
    return genesis, book


def _write_log(storage: OpenStorage, target: Path, room: SavedRoom) -> None:
    """What the new replica has: everything is in history, the log begins behind it."""
    *_, (last, _) = operations_of(target, room)
    group = GroupId(room.group)
    state = DurableState(
        view=ViewNumber(last.header.view), log_view=ViewNumber(last.header.view), commit=OpNumber(room.last_op),
        base_op=OpNumber(room.last_op), base_checksum=Checksum(room.last_checksum),
    )  # fmt: skip
    storage.log.write([birth_record(group), meta_record(group, state)])
    storage.log.sync()


def _write_history(storage: OpenStorage, target: Path, room: SavedRoom, genesis: bytes) -> None:
    """Without a configuration: until the epoch begins, a start finds no room here."""
    group, history = GroupId(room.group), storage.history
    history.create_group(StoredGroup(group=group, configuration=b"", genesis=genesis))
    page: list[CommittedOp] = []
    for entry, (_, mark, _, results) in operations_of(target, room):
        page.append(CommittedOp(entry=entry, requests=(), results=results, mark=mark))
        if len(page) == _PAGE:
            history.append(group, page)
            page = []
    history.append(group, page)
    checkpoint = checkpoint_of(target, room)
    if checkpoint is not None:
        history.save_checkpoint(group, checkpoint)


def _begin(
    storage: OpenStorage,
    room: SavedRoom,
    following: Configuration,
    *,
    genesis: Genesis,
    book: EpochBook,
    servers: RoomServers,
    identity: NodeIdentity,
) -> None:
    statement = make_statement(
        room_id=genesis.room_id,
        configuration=following,
        ended_by=(room.last_op, room.last_checksum),
        move=None,
        before=servers,
        is_forced=True,
    )
    try:
        book.begin(statement, sign_statement(statement, identity), descriptor=b"")
        storage.history.force_epoch(GroupId(room.group), following, book.notes())
    except VRError as error:
        raise BackupError(f"the disk refused: {error}") from error
