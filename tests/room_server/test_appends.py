from __future__ import annotations

import pytest

from room_server import limits
from room_server.errors import RefusedError
from tests.room_server.builders import ROOM_ID, app, commit
from tests.room_server.fakes import (
    CLIENT,
    Client,
    LocalBackend,
    append,
    proof,
    refusal,
)
from wire.errors import RefusalCode
from wire.ids import ClientId, Sequence
from wire.messages import (
    Appended,
    AppendRefused,
    OpenSession,
    SessionOpened,
    Subscribe,
)
from wire.room import Purpose, ResultKind, decode_result


def test_nothing_is_acknowledged_before_it_is_committed(member: Client) -> None:
    session = member.open_session()

    assert member.say(append(session, 1, app(0, 2), app(0))) == []
    member.backend.commit()

    [appended] = member.hear()
    assert isinstance(appended, Appended)
    results = [(number, decode_result(result)) for number, result in appended.results]
    assert [(number, result.kind, result.sequence) for number, result in results] == [
        (1, ResultKind.ACCEPTED, 1),
        (2, ResultKind.ACCEPTED, 3),
    ]


def test_appends_of_one_chunk_go_to_replication_in_one_call(member: Client) -> None:
    session = member.open_session()
    before = member.backend.submits

    member.say(append(session, 1, app(0)), append(session, 2, app(0)), append(session, 3, app(0), app(0)))

    assert member.backend.submits == before + 1
    assert len(member.backend.waiting) == 4


def test_resend_is_answered_again_and_applied_once(member: Client) -> None:
    session = member.open_session()
    member.say(append(session, 1, app(0)))
    member.backend.commit()
    first = member.hear()

    member.say(append(session, 1, app(0)))
    member.backend.commit()

    assert member.hear() == first
    room = member.backend.rooms.get(ROOM_ID)
    assert room is not None
    assert room.service.next_sequence == 2


def test_answers_go_to_the_newest_connection_of_a_session(backend: LocalBackend, member: Client) -> None:
    session = member.open_session()
    member.say(append(session, 1, app(0)))
    moved = Client(backend)
    moved.say(proof(Purpose.WRITE))

    moved.say(append(session, 1, app(0)))
    member.edge.close()
    backend.commit()

    assert member.hear() == []
    assert {type(message) for message in moved.hear()} == {Appended}
    assert backend.forgotten == []


def test_connection_that_leaves_forgets_what_it_waited_for(member: Client) -> None:
    session = member.open_session()
    member.say(append(session, 1, app(0)), OpenSession(7, ROOM_ID, ClientId(b"d" * 16)))

    member.edge.close()
    member.backend.commit()

    room = member.backend.rooms.get(ROOM_ID)
    assert room is not None
    assert (room.routes, room.opens, member.backend.forgotten) == ({}, {}, [session])


def test_block_of_an_unproven_epoch_is_refused_and_those_before_it_pass(member: Client) -> None:
    session = member.open_session()

    [refused] = member.say(append(session, 1, app(0), app(0), app(1), app(0)))

    assert isinstance(refused, AppendRefused)
    assert (refused.number, refused.code) == (3, RefusalCode.NOT_PROVEN)
    assert len(member.backend.waiting) == 2


def test_reader_may_not_write_and_writer_may_not_read(backend: LocalBackend) -> None:
    reader, writer = Client(backend), Client(backend)
    reader.say(proof(Purpose.READ))
    writer.say(proof(Purpose.WRITE))

    assert refusal(reader.say(append(256, 1, app(0)))) is RefusalCode.NOT_PROVEN
    assert refusal(reader.say(OpenSession(1, ROOM_ID, CLIENT))) is RefusalCode.NOT_PROVEN
    assert refusal(writer.say(Subscribe(1, ROOM_ID, Sequence(0)))) is RefusalCode.NOT_PROVEN


def test_joiner_may_append_an_external_commit_and_nothing_else(backend: LocalBackend) -> None:
    joiner = Client(backend)
    joiner.say(proof(Purpose.JOIN))
    session = joiner.open_session()

    assert refusal(joiner.say(append(session, 1, app(0)))) is RefusalCode.NOT_PROVEN
    assert refusal(joiner.say(append(session, 1, commit(0)))) is RefusalCode.NOT_PROVEN
    assert joiner.say(append(session, 1, commit(0, external=True))) == []
    assert len(backend.waiting) == 1


def test_external_commit_needs_the_link_or_membership(backend: LocalBackend) -> None:
    reader = Client(backend)
    reader.say(proof(Purpose.READ))

    assert refusal(reader.say(append(256, 1, commit(0, external=True)))) is RefusalCode.NOT_PROVEN
    assert backend.waiting == []


def test_malformed_block_is_refused_before_it_enters_the_log(member: Client) -> None:
    session = member.open_session()

    assert refusal(member.say(append(session, 1, b"\x07"))) is RefusalCode.MALFORMED
    assert member.backend.waiting == []


def test_old_epoch_blocks_reach_the_room_for_its_verdict_but_not_for_ever(
    member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALE_BLOCKS_MAX", 2)
    session = member.open_session()
    member.say(append(session, 1, commit(0)))
    member.backend.commit()
    member.hear()

    [refused] = member.say(append(session, 2, app(0), app(0), app(0)))
    member.backend.commit()

    assert isinstance(refused, AppendRefused)
    assert (refused.number, refused.code) == (4, RefusalCode.NOT_PROVEN)
    [appended] = member.hear()
    assert isinstance(appended, Appended)
    assert {decode_result(result).kind for _, result in appended.results} == {ResultKind.STALE}


def test_busy_replication_refuses_from_the_first_number_and_for_a_while(member: Client) -> None:
    session = member.open_session()
    member.backend.refusal = RefusedError(RefusalCode.BUSY, "full", retry_after_s=0.5)

    [refused] = member.say(append(session, 1, app(0)), append(session, 2, app(0)))

    assert isinstance(refused, AppendRefused)
    assert (refused.number, refused.code, refused.retry_after_s) == (1, RefusalCode.BUSY, 0.5)
    assert not member.edge.has_unanswered


def test_second_open_of_a_session_wins_over_the_first(backend: LocalBackend, member: Client) -> None:
    other = Client(backend)
    other.say(proof(Purpose.WRITE))
    member.say(OpenSession(7, ROOM_ID, CLIENT))

    other.say(OpenSession(8, ROOM_ID, CLIENT))
    backend.commit()

    assert refusal(member.hear()) is RefusalCode.EVICTED
    assert [type(message) for message in other.hear()] == [SessionOpened]


def test_draining_edge_refuses_new_work_and_finishes_the_old(member: Client) -> None:
    session = member.open_session()
    member.say(append(session, 1, app(0)))

    member.edge.drain()

    assert refusal(member.hear()) is RefusalCode.DRAINING
    assert member.edge.has_unanswered
    assert refusal(member.say(append(session, 2, app(0)))) is RefusalCode.DRAINING
    assert refusal(member.say(OpenSession(9, ROOM_ID, ClientId(b"e" * 16)))) is RefusalCode.DRAINING
    member.backend.commit()
    assert {type(message) for message in member.hear()} == {Appended}
    assert not member.edge.has_unanswered


def test_sessions_per_connection_are_bounded_and_known_ones_go_on(
    member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SESSIONS_PER_CONNECTION_MAX", 1)
    first, second = member.open_session(), member.open_session()
    member.say(append(first, 1, app(0)))

    assert refusal(member.say(append(second, 1, app(0)))) is RefusalCode.LIMIT
    assert member.say(append(first, 2, app(0))) == []
