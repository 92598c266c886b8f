from __future__ import annotations

import pytest

from room_server import limits
from room_server.errors import ConnectionCutError
from room_server.feed import RingBudget
from room_server.genesis_sync import GenesisSync, names
from room_server.rooms import Rooms
from tests.room_server.builders import genesis
from tests.room_server.epochs import begin, moved_room
from tests.wire.certificates import identity
from wire.ids import NodeKey, RoomId
from wire.peer_messages import PeerEpochs, PeerGenesis, PeerGetGenesis, PeerRooms
from wire.room import Genesis, GenesisMember, encode_genesis

A = (NodeKey(b"A" * 32), b"a" * 16)
B = (NodeKey(b"B" * 32), b"b" * 16)
C = (NodeKey(b"C" * 32), b"c" * 16)


def room_of(*members: tuple[NodeKey, bytes], number: int = 0) -> Genesis:
    return genesis(
        RoomId(number.to_bytes(16, "big")),
        members=tuple(GenesisMember(replica_id, key, "h", 1) for key, replica_id in members),
    )


def rooms_with(*hosted: Genesis) -> Rooms:
    rooms = Rooms(RingBudget())
    for record in hosted:
        rooms.add(record, encode_genesis(record))
    return rooms


def sync(rooms: Rooms, own: tuple[NodeKey, bytes] = B, peer: tuple[NodeKey, bytes] = A) -> GenesisSync:
    return GenesisSync(rooms, own=own, peer=peer)


def test_server_that_was_away_learns_exactly_the_rooms_it_lacks() -> None:
    shared, known, foreign = room_of(A, B, number=1), room_of(A, B, number=2), room_of(A, C, number=3)
    a_rooms, b_rooms = rooms_with(shared, known, foreign), rooms_with(known)
    a, b = sync(a_rooms, own=A, peer=B), sync(b_rooms)

    [told] = a.announce(a_rooms)
    assert isinstance(told, PeerRooms)
    [asked] = b.on_rooms(told)
    assert isinstance(asked, PeerGetGenesis)
    [given] = a.on_get_genesis(asked)
    assert isinstance(given, PeerGenesis)

    assert told.room_ids == (shared.room_id, known.room_id)
    assert asked.room_ids == (shared.room_id,)
    offered = b.on_genesis(given)
    assert offered is not None
    assert offered.genesis == shared


def test_rooms_that_know_the_peer_by_a_lost_data_folder_are_not_offered() -> None:
    lost = (B[0], b"x" * 16)
    rooms = rooms_with(room_of(A, lost))

    assert list(sync(rooms, own=A, peer=B).announce(rooms)) == []


def test_many_rooms_are_told_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PEER_ROOMS_MAX", 2)
    rooms = rooms_with(*(room_of(A, B, number=number) for number in range(5)))

    pages = [
        message.room_ids for message in sync(rooms, own=A, peer=B).announce(rooms) if isinstance(message, PeerRooms)
    ]

    assert [len(page) for page in pages] == [2, 2, 1]


def test_genesis_of_rooms_without_the_peer_is_never_given() -> None:
    secret = room_of(A, C)

    assert list(sync(rooms_with(secret), own=A, peer=B).on_get_genesis(PeerGetGenesis((secret.room_id,)))) == []


def test_nothing_to_ask_when_all_is_known() -> None:
    known = room_of(A, B)

    assert list(sync(rooms_with(known)).on_rooms(PeerRooms((known.room_id,)))) == []


def test_room_that_arrived_otherwise_meanwhile_is_not_hosted_twice() -> None:
    shared = room_of(A, B)
    rooms = rooms_with()
    b = sync(rooms)
    list(b.on_rooms(PeerRooms((shared.room_id,))))
    rooms.add(shared, encode_genesis(shared))

    assert b.on_genesis(PeerGenesis(encode_genesis(shared))) is None


def test_a_room_of_which_the_peer_tells_twice_may_be_given_twice_and_not_more_often() -> None:
    shared = room_of(A, B)
    rooms = rooms_with()
    b = sync(rooms)
    for _ in "12":
        assert len(list(b.on_rooms(PeerRooms((shared.room_id,))))) == 1
    assert b.on_genesis(PeerGenesis(encode_genesis(shared))) is not None
    rooms.add(shared, encode_genesis(shared))

    assert b.on_genesis(PeerGenesis(encode_genesis(shared))) is None
    with pytest.raises(ConnectionCutError):
        b.on_genesis(PeerGenesis(encode_genesis(shared)))


@pytest.mark.parametrize(
    ("record", "asked", "cause"),
    [
        (room_of(A, B), False, "protocol"),
        (room_of(A, C), True, "protocol"),
        (room_of(B, C), True, "protocol"),
        (room_of(A, (B[0], b"x" * 16)), True, "protocol"),
    ],
)
def test_genesis_that_was_not_asked_for_or_does_not_name_both_ends_the_link(
    record: Genesis, asked: bool, cause: str
) -> None:
    b = sync(rooms_with())
    if asked:
        list(b.on_rooms(PeerRooms((record.room_id,))))

    with pytest.raises(ConnectionCutError) as caught:
        b.on_genesis(PeerGenesis(encode_genesis(record)))

    assert caught.value.cause == cause


def test_malformed_messages_end_the_link() -> None:
    b = sync(rooms_with())

    with pytest.raises(ConnectionCutError):
        b.on_genesis(PeerGenesis(b"\x00"))
    with pytest.raises(ConnectionCutError):
        list(b.on_rooms(PeerRooms((RoomId(b"short"),))))
    with pytest.raises(ConnectionCutError):
        list(b.on_get_genesis(PeerGetGenesis((RoomId(b"i" * 16),) * (limits.PEER_ROOMS_MAX + 1))))


def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PEER_ROOMS_ASKED_MAX", 1)
    b = sync(rooms_with())

    assert list(b.on_rooms(PeerRooms((RoomId(b"1" * 16),))))
    assert list(b.on_rooms(PeerRooms((RoomId(b"2" * 16),)))) == []


def test_names_wants_key_and_data_folder() -> None:
    record = room_of(A)

    assert names(record, *A)
    assert not names(record, A[0], B[1])
    assert not names(record, B[0], A[1])


def test_server_that_the_room_moved_to_gets_it_with_the_proof() -> None:
    record = moved_room()
    old, new = (identity(1).public, b"\x01" * 16), (identity(4).public, b"\x04" * 16)
    rooms = rooms_with(record)
    [room] = rooms
    giver, taker = sync(rooms, own=old, peer=new), sync(rooms_with(), own=new, peer=old)
    begin(room.book, record, 1)
    [told] = [message for message in giver.announce(rooms) if isinstance(message, PeerRooms)]
    [asked] = taker.on_rooms(told)
    assert isinstance(asked, PeerGetGenesis)
    assert list(giver.on_get_genesis(asked)) == []  # Nobody would believe it yet.

    begin(room.book, record, 2)
    [given] = giver.on_get_genesis(asked)
    assert isinstance(given, PeerGenesis)
    offered = taker.on_genesis(given)

    assert offered is not None
    assert offered.book.names(*new)
    assert list(sync(rooms, own=old, peer=(identity(2).public, b"\x02" * 16)).announce(rooms)) == []


@pytest.mark.parametrize("kept", [0, 1])
def test_room_that_moved_elsewhere_or_lacks_proof_is_not_hosted(kept: int) -> None:
    record = moved_room()
    old, stranger = (identity(1).public, b"\x01" * 16), (identity(9).public, b"\x09" * 16)
    [room] = rooms_with(record)
    for signer in (1, 2):
        begin(room.book, record, signer)
    taker = sync(rooms_with(), own=stranger, peer=old)
    list(taker.on_rooms(PeerRooms((record.room_id,))))

    with pytest.raises(ConnectionCutError):
        taker.on_genesis(PeerGenesis(encode_genesis(record), tuple(room.book.certificates[:kept])))


def test_epochs_are_told_to_all_who_ever_had_a_vote_and_taken_for_rooms_here() -> None:
    record = moved_room()
    rooms, others = rooms_with(record), rooms_with(record)
    [room], [other] = rooms, others
    for signer in (1, 2):
        begin(room.book, record, signer)
    told = {
        name: list(sync(rooms, own=A, peer=(identity(name).public, bytes([name]) * 16)).tell_epochs(rooms))
        for name in (1, 3, 6, 9)
    }

    assert {name for name, messages in told.items() if messages} == {1, 3, 6}
    [message] = told[3]
    assert isinstance(message, PeerEpochs)
    assert sync(others).on_epochs(message) is other
    assert sync(others).on_epochs(message) is None
    assert sync(rooms_with()).on_epochs(message) is None
    with pytest.raises(ConnectionCutError):
        sync(others).on_epochs(PeerEpochs(record.room_id, message.certificates * (limits.EPOCHS_TOLD_MAX + 1)))
