"""What we append: sessions, windows, refusals, proofs of another epoch."""

from __future__ import annotations

import pytest

from client import connection_limits as limits
from client.append_window import EntryTicket
from client.errors import OutcomeUnknownError
from client.room_protocol import ServerUnfitError
from tests.client.room_talk import ROOM_ID, Talk, appended, of
from wire.errors import RefusalCode
from wire.ids import RoomEpoch
from wire.messages import (
    Append,
    AppendRefused,
    OpenSession,
    Prove,
    Proved,
    Refused,
    SessionOpened,
)
from wire.room import (
    Purpose,
    ResultKind,
    encode_app_block,
)


def test_readers_open_no_session() -> None:
    talk = Talk()

    assert talk.attach() == []


def test_session_is_opened_for_the_first_append_and_used_for_the_next() -> None:
    talk = Talk()
    talk.attach_with_session()

    ticket = talk.append()
    (append,) = talk.said()

    assert isinstance(append, Append)
    assert (append.session, append.number) == (256, 2)
    talk.hear(appended(256, 2, 5))
    assert ticket.result_now is not None
    assert ticket.result_now.sequence == 5


def test_unanswered_blocks_go_to_the_next_server_under_their_numbers() -> None:
    talk = Talk()
    talk.attach_with_session()
    talk.append()
    (append,) = talk.said()
    talk.protocol.disconnected()

    assert talk.attach() == [append]


def test_blocks_of_an_epoch_that_is_not_proven_wait() -> None:
    talk = Talk()
    talk.attach_with_session()
    talk.append(epoch=1)

    assert talk.said() == []
    talk.keys.number = 1
    talk.protocol.keys_changed()
    said = talk.said()
    (append,) = talk.hear(
        *(Proved(message.id, ROOM_ID, message.purpose, RoomEpoch(1)) for message in said if isinstance(message, Prove))
    )

    assert isinstance(append, Append)


@pytest.mark.parametrize("code", [RefusalCode.BUSY, RefusalCode.SEQUENCE_GAP])
def test_refused_appends_are_sent_again_after_a_pause(code: RefusalCode) -> None:
    talk = Talk()
    talk.attach_with_session()
    talk.append()
    (append,) = talk.said()

    assert talk.hear(AppendRefused(ROOM_ID, 256, 2, code, 0.3)) == []
    talk.append()
    assert talk.said() == [], "nothing overtakes what was refused"

    assert talk.protocol.wake_at == pytest.approx(0.3)
    (again,) = talk.pass_time()
    assert isinstance(again, Append)
    assert (again.number, again.blocks[:1]) == (2, append.blocks)  # type: ignore[union-attr]
    assert len(again.blocks) == 2


def test_the_pause_is_bounded_whatever_the_server_says() -> None:
    talk = Talk()
    talk.attach_with_session()
    talk.append()
    talk.said()

    talk.hear(AppendRefused(ROOM_ID, 256, 2, RefusalCode.BUSY, 1e9))

    assert talk.protocol.wake_at <= limits.RESEND_S_MAX


def test_many_refusals_make_one_resend() -> None:
    talk = Talk()
    talk.attach_with_session()
    for _ in range(3):
        talk.append()
        talk.said()

    for number in (2, 3, 4):
        talk.hear(AppendRefused(ROOM_ID, 256, number, RefusalCode.BUSY))

    (again,) = talk.pass_time()
    assert isinstance(again, Append)
    assert (again.number, len(again.blocks)) == (2, 3)
    assert talk.protocol.wake_at == float("inf")


def test_a_session_with_an_endless_gap_is_given_up() -> None:
    talk = Talk()
    talk.attach_with_session()
    ticket = talk.append()
    talk.said()

    for _ in range(limits.GAPS_MAX + 1):
        talk.hear(AppendRefused(ROOM_ID, 256, 2, RefusalCode.SEQUENCE_GAP))
        if talk.protocol.wake_at < float("inf"):
            talk.pass_time()

    assert isinstance(ticket.failure and ticket.failure(), OutcomeUnknownError)
    assert talk.window.session == 0


def test_gaps_with_answers_in_between_are_no_reason_to_give_up() -> None:
    talk = Talk()
    talk.attach_with_session()

    for number in range(2, limits.GAPS_MAX * 2):
        talk.append()
        talk.said()
        talk.hear(AppendRefused(ROOM_ID, 256, number, RefusalCode.SEQUENCE_GAP))
        talk.pass_time()
        talk.hear(appended(256, number))

    assert talk.window.session == 256


@pytest.mark.parametrize("code", [RefusalCode.EVICTED, RefusalCode.UNKNOWN_SESSION])
def test_a_lost_session_is_reported_and_replaced_when_needed(code: RefusalCode) -> None:
    talk = Talk()
    talk.attach_with_session()
    ticket = talk.append()
    talk.said()

    assert talk.hear(AppendRefused(ROOM_ID, 256, 2, code)) == []
    assert isinstance(ticket.failure and ticket.failure(), OutcomeUnknownError)
    talk.append()
    open_session = of(OpenSession, talk.said())
    (append,) = talk.hear(SessionOpened(open_session.id, ROOM_ID, 512))

    assert isinstance(append, Append)
    assert (append.session, append.number) == (512, 1)


def test_refusals_of_an_older_session_are_passed_over() -> None:
    talk = Talk()
    talk.attach_with_session()
    ticket = talk.append()
    talk.said()

    talk.hear(AppendRefused(ROOM_ID, 128, 1, RefusalCode.EVICTED))

    assert not ticket.is_done


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (RefusalCode.MALFORMED, ResultKind.MALFORMED),
        (RefusalCode.LIMIT, ResultKind.MALFORMED),
        (RefusalCode.FORBIDDEN, ResultKind.FORBIDDEN),
    ],
)
def test_what_is_never_accepted_gets_a_result(code: RefusalCode, kind: ResultKind) -> None:
    talk = Talk()
    talk.attach_with_session()
    ticket = talk.append()
    talk.said()

    talk.hear(AppendRefused(ROOM_ID, 256, 2, code))

    assert ticket.result_now is not None
    assert ticket.result_now.kind is kind


def test_not_proven_is_proven_again_and_then_sent_again() -> None:
    talk = Talk()
    talk.attach_with_session()
    talk.append()
    talk.said()

    talk.hear(AppendRefused(ROOM_ID, 256, 2, RefusalCode.NOT_PROVEN))
    proof = of(Prove, talk.pass_time())
    assert proof.purpose is Purpose.WRITE
    (append,) = talk.hear(Proved(proof.id, ROOM_ID, Purpose.WRITE, RoomEpoch(0)))

    assert isinstance(append, Append)
    assert append.number == 2


@pytest.mark.parametrize("code", [RefusalCode.DRAINING, RefusalCode.UNAVAILABLE, RefusalCode.UNKNOWN_ROOM])
def test_a_server_that_takes_no_appends_is_left(code: RefusalCode) -> None:
    talk = Talk()
    talk.attach_with_session()
    ticket = talk.append()
    talk.said()

    with pytest.raises(ServerUnfitError):
        talk.hear(AppendRefused(ROOM_ID, 256, 2, code))

    assert not ticket.is_done, "its outcome stays open"


def test_opening_a_session_is_tried_again_when_the_server_is_busy() -> None:
    talk = Talk()
    talk.append()
    (first,) = talk.attach()
    assert isinstance(first, OpenSession)

    assert talk.hear(Refused(first.id, RefusalCode.BUSY, "", 0.2)) == []
    assert not talk.protocol.wants_output
    (second,) = talk.pass_time()

    assert isinstance(second, OpenSession)
    assert talk.now == pytest.approx(0.2)


def test_a_session_is_asked_for_once() -> None:
    talk = Talk()
    talk.append()
    talk.attach()
    talk.append()

    assert talk.said() == []
    talk.protocol.disconnected()
    assert of(OpenSession, talk.attach())


def test_entries_wait_for_the_session_and_then_travel_together() -> None:
    talk = Talk()
    talk.window.add_entry(EntryTicket(RoomEpoch(0), b"one"))
    (open_session,) = talk.attach()
    talk.window.add_entry(EntryTicket(RoomEpoch(0), b"two"))

    (append,) = talk.hear(SessionOpened(open_session.id, ROOM_ID, 256))  # type: ignore[union-attr]

    assert isinstance(append, Append)
    assert append.blocks == (encode_app_block(RoomEpoch(0), [b"one", b"two"]),)
