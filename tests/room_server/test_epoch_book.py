from __future__ import annotations

import pytest

from room_server.epoch_book import EpochBook, certificates_of, make_statement
from room_server.rooms import configuration_of
from tests.room_server.epochs import begin, configuration, moved_room, statement
from tests.wire.certificates import identity
from wire.certificate import (
    EpochCertificate,
    ForcedEpochError,
    ForgedCertificateError,
    RoomServers,
    decode_statement,
    encode_certificate,
    follow_chain,
    sign_statement,
)
from wire.errors import DecodeError, PeerError
from wire.ids import GroupEpoch

ROOM = moved_room()
FIRST = EpochBook(ROOM).servers


def book() -> EpochBook:
    return EpochBook(ROOM)


def short(said: bytes, *signers: int) -> bytes:
    return encode_certificate(EpochCertificate(said, tuple(sign_statement(said, identity(name)) for name in signers)))


def test_room_begins_with_the_servers_of_its_genesis() -> None:
    first = book()

    assert first.servers.epoch == 0
    assert (first.configuration, first.descriptor, first.certificates, first.told()) == (None, b"", [], ())
    assert first.is_certified
    assert first.names(identity(2).public, b"\x02" * 16)
    assert not first.names(identity(2).public, b"\x09" * 16)
    assert not first.names(identity(4).public, b"\x04" * 16)


def test_certificate_is_made_of_what_voters_tell_each_other() -> None:
    one, two = book(), book()
    begin(one, ROOM, 1)
    begin(two, ROOM, 2)
    assert (one.certificates, one.is_certified, one.servers.epoch) == ([], False, 1)

    assert one.add(two.told()[0])
    assert not one.add(two.told()[0])

    assert one.is_certified
    assert follow_chain(one.certificates, FIRST, room_id=ROOM.room_id) == one.servers
    assert one.names(identity(4).public, b"\x04" * 16)
    assert not one.names(identity(1).public, b"\x01" * 16)
    assert one.concerns(identity(1).public)
    assert one.configuration == configuration(ROOM, 1, (4, 5, 6))


def test_who_saw_nothing_believes_complete_certificates_only() -> None:
    stranger, said = book(), statement(ROOM, book())

    assert not stranger.add(short(said, 1))
    assert stranger.servers == FIRST
    assert stranger.add(short(said, 1, 3))
    assert stranger.servers.epoch == 1


def test_next_epoch_is_signed_by_the_servers_that_were_seen_to_come() -> None:
    """Not yet certified to others, certain to us."""
    seen = book()
    begin(seen, ROOM, 1)
    begin(seen, ROOM, 4, (7,), epoch=2)
    said = seen.told()[1]

    assert seen.servers.epoch == 2
    assert not seen.add(short(statement(ROOM, book()), 2)) or seen.certificates
    assert len(seen.certificates) == 1
    late = book()
    assert not late.add(said)
    assert late.add(seen.certificates[0])


def forced(survivor: int) -> bytes:
    return make_statement(
        room_id=ROOM.room_id,
        configuration=configuration(ROOM, 1, (survivor,)),
        ended_by=(100, b"c" * 16),
        move=None,
        before=FIRST,
        is_forced=True,
    )


def test_who_goes_on_alone_is_believed_by_newcomers_and_by_nobody_who_hosts_the_room() -> None:
    survivor, newcomer, healthy = book(), book(), book()
    said = forced(2)
    survivor.begin(said, sign_statement(said, identity(2)), descriptor=b"signed by the owner")
    begin(survivor, ROOM, 2, (2, 7), epoch=2)
    assert survivor.is_certified

    assert all(newcomer.add(told, may_be_forced=True) for told in survivor.told())
    assert newcomer.servers == survivor.servers
    assert not any(healthy.add(told) for told in survivor.told())
    assert healthy.servers == FIRST
    with pytest.raises(ForgedCertificateError):
        newcomer.add(short(said, 9), may_be_forced=True)
    with pytest.raises(ForcedEpochError):
        follow_chain(survivor.certificates, FIRST, room_id=ROOM.room_id)


def test_single_server_certifies_alone() -> None:
    alone = moved_room((1,))
    lonely = EpochBook(alone)

    assert begin(lonely, alone, 1)
    assert lonely.is_certified


@pytest.mark.parametrize("signers", [(4, 5), (1, 9)])
def test_signatures_of_others_are_refused(signers: tuple[int, ...]) -> None:
    with pytest.raises(ForgedCertificateError):
        book().add(short(statement(ROOM, book()), *signers))


def test_other_servers_than_those_seen_are_refused() -> None:
    seen = book()
    begin(seen, ROOM, 1)
    before = seen.notes()

    with pytest.raises(DecodeError):
        seen.add(short(statement(ROOM, book(), (7, 8, 9)), 2, 3))
    assert seen.notes() == before


def test_servers_that_are_not_those_of_the_configuration_are_refused() -> None:
    said = make_statement(
        room_id=ROOM.room_id,
        configuration=configuration(ROOM, 1, (4, 5)),
        ended_by=(1, b"c" * 16),
        move=None,
        before=FIRST,
    )
    lie = said.replace(identity(4).public, identity(9).public, 1)

    with pytest.raises(PeerError):
        book().add(short(lie, 1, 2))


def test_addresses_come_from_the_owner_or_from_before() -> None:
    said = make_statement(
        room_id=ROOM.room_id,
        configuration=configuration(ROOM, 1, (1, 9)),
        ended_by=(1, b"c" * 16),
        move=None,
        before=FIRST,
    )

    places = [(server.host, server.port) for server in decode_statement(said).servers]

    assert places == [("127.0.0.1", 7601), ("", 1)]


def test_epoch_far_ahead_or_of_another_room_is_let_be() -> None:
    behind = book()
    assert not behind.add(short(statement(ROOM, book(), epoch=2), 1, 2))
    with pytest.raises(DecodeError):
        begin(behind, ROOM, 1, epoch=2)


def test_same_epoch_twice_changes_nothing() -> None:
    seen = book()
    begin(seen, ROOM, 1)
    before = seen.notes()

    begin(seen, ROOM, 1)

    assert seen.notes() == before


def test_epoch_that_came_without_the_owners_record_gets_it_later_once() -> None:
    heard = book()
    assert not heard.describe(0, b"signed by the owner"), "the genesis has its own"
    heard.begin(statement(ROOM, book()), None, descriptor=b"")

    assert not heard.describe(2, b"signed by the owner")
    assert not heard.describe(1, b"")
    assert heard.describe(1, b"signed by the owner")

    assert heard.descriptor == b"signed by the owner"
    assert not heard.describe(1, b"signed by somebody else")
    again = book()
    again.load(note for _, note in heard.notes())
    assert again.descriptor == heard.descriptor


def test_epoch_heard_of_first_and_seen_then_takes_the_owners_record_along() -> None:
    heard = book()
    heard.add(short(statement(ROOM, book()), 2, 3))
    assert heard.descriptor == b""

    heard.begin(statement(ROOM, book()), None, descriptor=b"signed by the owner")

    assert heard.descriptor == b"signed by the owner"
    assert len(heard.certificates) == 1


def test_notes_bring_everything_back() -> None:
    seen, again = book(), book()
    begin(seen, ROOM, 1)
    seen.add(short(statement(ROOM, book()), 2))
    begin(seen, ROOM, 4, (7, 8), epoch=2)

    again.load([data for _, data in seen.notes()])

    assert [number for number, _ in seen.notes()] == [1, 2]
    assert again.notes() == seen.notes()
    assert (again.certificates, again.descriptor) == (seen.certificates, seen.descriptor)
    assert certificates_of([data for _, data in seen.notes()])[0] == seen.certificates[0]


def test_rotten_notes_are_refused_and_those_before_stay() -> None:
    seen, again = book(), book()
    begin(seen, ROOM, 1)
    note = seen.notes()[0][1]

    with pytest.raises(DecodeError):
        again.load([note, b"junk"])
    assert again.servers == RoomServers(GroupEpoch(1), again.servers.servers)
    twice = book()
    twice.load([note, note])
    assert twice.notes() == [(1, note)]
    assert certificates_of([note, b"junk", note]) == certificates_of([note])


def test_first_configuration_is_that_of_the_genesis() -> None:
    assert configuration_of(ROOM).epoch == 0
