"""Rooms that moved, for tests: servers by small numbers, and what each of them signs."""

from __future__ import annotations

from collections.abc import Iterable

from room_server.epoch_book import EpochBook, make_statement
from room_server.rooms import configuration_of
from tests.room_server.builders import genesis
from tests.wire.certificates import identity, server
from vr.configuration import Configuration, Member
from vr.types import ReplicaId
from wire.certificate import sign_statement
from wire.ids import GroupEpoch
from wire.room import Genesis, GenesisMember, Move


def moved_room(names: Iterable[int] = (1, 2, 3)) -> Genesis:
    """A room whose genesis names these servers."""
    members = tuple(
        GenesisMember(bytes([name]) * 16, identity(name).public, "127.0.0.1", 7600 + name) for name in names
    )
    return genesis(members=members)


def configuration(record: Genesis, epoch: int, names: Iterable[int]) -> Configuration:
    """Of a later epoch: these servers."""
    members = tuple(Member(ReplicaId(bytes([name]) * 16), identity(name).public) for name in names)
    first = configuration_of(record)
    return Configuration(group=first.group, epoch=epoch, members=members, genesis=bytes(first.genesis_checksum()))


def statement(record: Genesis, book: EpochBook, names: Iterable[int] = (4, 5, 6), *, epoch: int = 1) -> bytes:
    """That the room has these servers next."""
    move = Move(epoch=GroupEpoch(epoch), servers=tuple(server(name) for name in names))
    return make_statement(
        room_id=record.room_id,
        configuration=configuration(record, epoch, [given.replica_id[0] for given in move.servers]),
        ended_by=(100 * epoch, b"c" * 16),
        move=move,
        before=book.servers,
    )


def begin(book: EpochBook, record: Genesis, signer: int, names: Iterable[int] = (4, 5, 6), *, epoch: int = 1) -> bool:
    """An epoch begins at this server, which had a vote."""
    said = statement(record, book, names, epoch=epoch)
    return book.begin(said, sign_statement(said, identity(signer)), descriptor=b"signed by the owner")
