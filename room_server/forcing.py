"""A room goes on by force on the one server that is left: what `vr.host.forced_epoch` does to its group, and what others need.

    folder of a stopped server ─▶ survey each room ─▶ people decide ─▶ force: a statement that says so, signed by this server,
                                                                        and the owner's record for it, in the transaction
                                                                        that makes the next configuration durable

The statement lets other servers join the room later; people follow the owner's record (`wire.certificate`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from dht.errors import DhtError
from dht.items import MutableItem
from room_server.epoch_book import EpochBook, make_statement
from room_server.errors import ConfigError, StartError
from room_server.logs import room_label
from vr.host import GroupDamaged, HostOptions
from vr.host.forced_epoch import Survivor, force, survey
from vr.host.opening import OpenStorage, open_storage
from vr.storage.errors import FolderInUse, StorageError
from vr.storage.file_system import RealFileSystem
from vr.storage.history import StoredGroup
from vr.types import GroupId
from wire.certificate import decode_certificate, decode_statement, sign_statement
from wire.errors import DecodeError
from wire.identity import NodeIdentity
from wire.room import Genesis, decode_genesis

_EPOCH_BITS = 32  # of a record's sequence number, above its revision (wire.descriptor)


class ForcedRoom(msgspec.Struct, frozen=True, kw_only=True):
    """One room in the folder. `damage`: why it cannot go on from here; then there is no `survivor`."""

    genesis: Genesis
    book: EpochBook
    survivor: Survivor | None
    damage: str = ""

    @property
    def is_forced(self) -> bool:
        """Was the epoch of now begun by force, here?"""
        told = self.book.told()
        return bool(told) and decode_statement(decode_certificate(told[-1]).statement).is_forced

    @property
    def label(self) -> str:
        """As logs show it and operators type it."""
        return room_label(self.genesis.room_id)


def open_folder(path: str) -> OpenStorage:
    """Open the data folder of a server that does not run. Close it in the end.

    Raises:
        StartError: it runs, or its folder cannot be opened.
    """
    try:
        return open_storage(RealFileSystem(), path, options=HostOptions())
    except FolderInUse as error:
        raise StartError(f"{error}: stop the server first") from error
    except (StorageError, OSError) as error:
        raise StartError(f"{path} cannot be opened: {error}") from error


def rooms_in(storage: OpenStorage) -> Iterator[ForcedRoom]:
    """Every room of the folder, and what this server has of it."""
    for stored in storage.history.groups():
        try:
            yield _room(storage, stored)
        except DecodeError:
            continue  # Its genesis has rotted: the server itself names it at start.


def _room(storage: OpenStorage, stored: StoredGroup) -> ForcedRoom:
    genesis = decode_genesis(stored.genesis)
    book = EpochBook(genesis)
    book.load(storage.notes.get(stored.group, ()))
    try:
        return ForcedRoom(genesis=genesis, book=book, survivor=survey(storage, stored.group))
    except GroupDamaged as error:
        return ForcedRoom(genesis=genesis, book=book, survivor=None, damage=str(error))


def check_record(data: bytes, epoch: int) -> None:
    """Is this the owner's word for the epoch that begins? What it says only holders of the link can read.

    Raises:
        ConfigError: it is no record, or for another epoch.
    """
    try:
        item = MutableItem.from_bytes(data)
        item.verify()
    except DhtError as error:
        raise ConfigError(f"that is no room's record: {error}") from error
    if item.seq >> _EPOCH_BITS != epoch:
        raise ConfigError(f"the record is for epoch {item.seq >> _EPOCH_BITS}, not for epoch {epoch}: sign it again")


def force_room(storage: OpenStorage, room: ForcedRoom, *, identity: NodeIdentity, record: bytes) -> None:
    """Let the room go on here alone, durably. `record`: the owner's for the new epoch, or empty.

    Raises:
        StartError: this server had no vote in the room, or does not know its servers.
        StorageError: the disk refused.
    """
    survivor = room.survivor
    assert survivor is not None, "surveyed"
    before = room.book.servers_at(survivor.configuration.epoch)
    if before is None or identity.public not in before.node_keys:
        raise StartError("this server has no vote in the room: recover it on one that has")
    statement = make_statement(
        room_id=room.genesis.room_id,
        configuration=survivor.next_configuration(),
        ended_by=(survivor.kept, survivor.kept_checksum),
        move=None,
        before=before,
        is_forced=True,
    )
    room.book.begin(statement, sign_statement(statement, identity), descriptor=record)
    force(storage, survivor, room.book.notes())


def attach_record(storage: OpenStorage, room: ForcedRoom, record: bytes) -> None:
    """The owner's word came after the room was recovered: keep it with the epoch, durably.

    Raises:
        ConfigError: it is no record, or for another epoch.
        StorageError: the disk refused.
    """
    epoch = room.book.servers.epoch
    check_record(record, epoch)
    statement = decode_certificate(room.book.told()[-1]).statement
    room.book.begin(statement, None, descriptor=record)
    number, note = room.book.notes()[-1]
    storage.history.keep_note(GroupId(room.genesis.room_id), number, note)
