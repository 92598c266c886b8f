"""Values that many tests of the server need: a genesis of opaque keys, blocks, deliveries."""

from __future__ import annotations

from collections.abc import Sequence as Many

from vr.log import Request
from vr.types import ClientId as VrClientId
from vr.types import RequestNumber, SessionNumber
from wire.ids import NodeKey, RoomEpoch, RoomId, Sequence
from wire.room import (
    CommitBody,
    Delivery,
    Genesis,
    GenesisMember,
    StoredWelcome,
    encode_app_block,
    encode_commit_block,
    encode_knock_block,
)

ROOM_ID = RoomId(bytes(range(16)))
CLIENT = VrClientId(b"c" * 16)


def genesis(room_id: RoomId = ROOM_ID, **changes: object) -> Genesis:
    values: dict[str, object] = {
        "version": 1,
        "room_id": room_id,
        "created_us": 1,
        "members": (GenesisMember(b"r" * 16, NodeKey(b"n" * 32), "127.0.0.1", 1),),
        "write_key": b"w" * 32,
        "read_key": b"r" * 32,
        "join_key": b"j" * 32,
        "admin_key": b"a" * 32,
        "group_info": b"sealed group info",
        "descriptor": b"signed descriptor",
    }
    return Genesis(**(values | changes))  # type: ignore[arg-type]  # test values of the right types


def app(epoch: int, entries: int = 1, *, fill: bytes = b"x") -> bytes:
    return encode_app_block(RoomEpoch(epoch), [fill] * entries)


def commit(
    epoch: int,
    *,
    fill: bytes = b"c",
    welcomes: Many[tuple[bytes, bytes]] = (),
    external: bool = False,
    join_key: bytes = b"",
    descriptor: bytes = b"",
) -> bytes:
    body = CommitBody(
        commit=fill,
        group_info=b"info" + fill,
        next_write_key=(b"w%d" % (epoch + 1)).ljust(32, fill[:1]),
        next_read_key=(b"r%d" % (epoch + 1)).ljust(32, fill[:1]),
        external=external,
        welcomes=tuple(StoredWelcome((reference,), welcome) for reference, welcome in welcomes),
        join_key=join_key,
        descriptor=descriptor,
    )
    return encode_commit_block(RoomEpoch(epoch), body)


def knock(epoch: int, *, fill: bytes = b"k") -> bytes:
    return encode_knock_block(RoomEpoch(epoch), fill * 100)


def request(body: bytes, *, number: int = 1, session: int = 256) -> Request:
    return Request(CLIENT, SessionNumber(session), RequestNumber(number), body)


def delivery(first: int, block: bytes, *, number: int = 1) -> Delivery:
    return Delivery(Sequence(first), 1_000 + first, 256, number, block)
