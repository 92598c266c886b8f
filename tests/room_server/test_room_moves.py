"""Where a room's servers are to be, as part of the room's own replicated state."""

from __future__ import annotations

import msgspec
import pytest

from room_server.errors import SnapshotError
from room_server.room import RoomService
from tests.room_server.builders import app, commit, genesis, request
from tests.wire.certificates import server
from vr.types import OpNumber
from wire.ids import GroupEpoch, RoomEpoch, Sequence
from wire.room import BlockResult, Move, Place, ResultKind, decode_result, encode_control_block


def apply(room: RoomService, body: bytes) -> BlockResult:
    [encoded] = room.apply(OpNumber(1), 1_000, [request(body)])
    return decode_result(encoded)


def move(epoch: int, *names: int, descriptor: bytes = b"") -> Move:
    return Move(epoch=GroupEpoch(epoch), servers=tuple(map(server, names)), descriptor=descriptor)


def place(epoch: int, *names: int) -> Place:
    return Place(epoch=GroupEpoch(epoch), servers=tuple(map(server, names)))


def block(body: Move | Place, epoch: int = 0) -> bytes:
    return encode_control_block(RoomEpoch(epoch), body)


def test_newest_move_is_kept_and_takes_its_place_in_the_log() -> None:
    room = RoomService(genesis())

    assert apply(room, block(move(1, 1, 2, 3))) == BlockResult(ResultKind.ACCEPTED, Sequence(1), RoomEpoch(0))
    assert room.move == move(1, 1, 2, 3)
    assert apply(room, block(move(1, 4))).kind is ResultKind.ACCEPTED
    assert apply(room, block(move(2, 5))).kind is ResultKind.ACCEPTED
    assert room.move == move(2, 5)
    assert room.next_sequence == 4


@pytest.mark.parametrize("epoch", [1, 3 + 1])
def test_move_of_an_epoch_that_is_over_or_far_off_changes_nothing(epoch: int) -> None:
    room = RoomService(genesis())
    for number in (1, 2):
        apply(room, block(move(number, 1)))
    before = room.snapshot()

    assert apply(room, block(move(epoch, 9))).kind is ResultKind.CONFLICT
    assert room.snapshot() == before


def test_first_move_is_that_of_epoch_one() -> None:
    assert apply(RoomService(genesis()), block(move(2, 1))).kind is ResultKind.CONFLICT


def test_move_written_for_another_epoch_of_keys_is_stale() -> None:
    room = RoomService(genesis())
    apply(room, commit(0))

    assert apply(room, block(move(1, 1), epoch=0)).kind is ResultKind.STALE
    assert apply(room, block(move(1, 1), epoch=1)).kind is ResultKind.ACCEPTED


def test_move_does_not_show_that_anybody_could_apply_a_commit() -> None:
    """R3: the owner may move a room that it cannot read."""
    room = RoomService(genesis())
    apply(room, commit(0))
    apply(room, block(move(1, 1), epoch=1))

    assert room.write_key_of(RoomEpoch(0)) is not None


def test_new_link_voids_the_record_that_only_the_old_one_opens() -> None:
    room = RoomService(genesis())
    apply(room, block(move(1, 1, descriptor=b"signed for the old link")))

    apply(room, commit(0, join_key=b"j" * 32, descriptor=b"signed for the new link"))

    assert room.move == move(1, 1)
    assert room.descriptor == b"signed for the new link"


def test_servers_place_a_room_that_lets_them() -> None:
    room = RoomService(genesis(by_quorum=True))
    apply(room, block(move(1, 1, descriptor=b"signed")))

    assert apply(room, block(place(2, 2, 3))).kind is ResultKind.ACCEPTED
    assert room.move == move(2, 2, 3), "without a record of the owner's"
    assert apply(room, block(place(9, 1))).kind is ResultKind.CONFLICT
    assert apply(room, block(move(2, 2, 3, descriptor=b"signed anew"))).kind is ResultKind.ACCEPTED
    assert room.move == move(2, 2, 3, descriptor=b"signed anew")


def test_servers_place_no_room_that_is_its_owners_to_move() -> None:
    room = RoomService(genesis())
    before = room.snapshot()

    assert apply(room, block(place(1, 2, 3))).kind is ResultKind.FORBIDDEN
    assert room.snapshot() == before


def test_move_survives_a_checkpoint() -> None:
    room, again = RoomService(genesis()), RoomService(genesis())
    apply(room, app(0))
    apply(room, block(move(1, 1, 2, descriptor=b"d")))

    again.restore(room.snapshot())

    assert again.move == move(1, 1, 2, descriptor=b"d")
    assert again.snapshot() == room.snapshot()


def test_checkpoint_with_a_rotten_move_is_refused() -> None:
    room = RoomService(genesis())
    apply(room, block(move(1, 1)))
    state = msgspec.msgpack.decode(room.snapshot())
    rotten = msgspec.msgpack.encode(
        [b"junk" if type(part) is bytes and b"127.0.0.1" in part else part for part in state]
    )

    with pytest.raises(SnapshotError):
        RoomService(genesis()).restore(rotten)
