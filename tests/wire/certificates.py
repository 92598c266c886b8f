"""Epoch certificates for tests: servers by small numbers, statements about them, signed by whom one likes."""

from __future__ import annotations

from collections.abc import Iterable

from wire.certificate import (
    EpochCertificate,
    EpochStatement,
    RoomServers,
    Server,
    encode_certificate,
    encode_statement,
    sign_statement,
)
from wire.identity import NodeIdentity
from wire.ids import GroupEpoch, RoomId

ROOM = RoomId(b"r" * 16)


def identity(name: int) -> NodeIdentity:
    return NodeIdentity(bytes([name]) * 32)


def server(name: int, *, host: str = "127.0.0.1", port: int = 7610) -> Server:
    return Server(bytes([name]) * 16, identity(name).public, host, port)


def servers(epoch: int, names: Iterable[int]) -> RoomServers:
    return RoomServers(GroupEpoch(epoch), tuple(server(name) for name in names))


def certificate(
    after: RoomServers, *, signers: Iterable[int], room_id: RoomId = ROOM, is_forced: bool = False
) -> EpochCertificate:
    """That the room has these servers, by these of the epoch before."""
    statement = encode_statement(
        EpochStatement(
            room_id=room_id,
            epoch=after.epoch,
            op=100 * after.epoch,
            checksum=b"c" * 16,
            configuration=b"configuration",
            servers=after.servers,
            is_forced=is_forced,
        )
    )
    return EpochCertificate(statement, tuple(sign_statement(statement, identity(name)) for name in signers))


def encoded(after: RoomServers, *, signers: Iterable[int]) -> bytes:
    return encode_certificate(certificate(after, signers=signers))
