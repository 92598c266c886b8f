"""What is said to a server, and what is made of its answers, step by step."""

from __future__ import annotations

import pytest

from client import connection_limits as limits
from client.room_protocol import Alarm, CallTicket, Deliveries, ServerUnfitError
from tests.client.room_talk import ROOM_ID, OwnKeys, Talk, deliver, delivery, of
from wire.errors import RefusalCode
from wire.ids import NodeKey, RoomEpoch, RoomId, Sequence
from wire.messages import (
    Deliver,
    GetRoomStatus,
    Hello,
    Message,
    Ping,
    Pong,
    Prove,
    Proved,
    Refused,
    RoomTip,
    ServerHello,
    SessionOpened,
    Subscribe,
    Subscribed,
)
from wire.room import (
    Purpose,
    chain_next,
    chain_start,
)


def test_a_member_says_everything_in_one_flight() -> None:
    talk = Talk()

    said = talk.connect()

    assert [type(message) for message in said] == [Prove, Subscribe, Prove]
    assert [message.purpose for message in said if isinstance(message, Prove)] == [Purpose.READ, Purpose.WRITE]
    assert of(Subscribe, said).after == 0


def test_nothing_is_said_without_a_connection() -> None:
    talk = Talk()
    talk.append()

    assert talk.said() == []
    assert not talk.protocol.wants_output


def test_live_when_read_is_proven_and_the_subscription_stands() -> None:
    talk = Talk()
    read, subscribe, _write = talk.connect()
    assert isinstance(read, Prove)
    assert isinstance(subscribe, Subscribe)

    talk.hear(Proved(read.id, ROOM_ID, Purpose.READ, RoomEpoch(0)))
    assert not talk.protocol.is_live
    talk.hear(Subscribed(subscribe.id, ROOM_ID, Sequence(1), RoomEpoch(0), b""))

    assert talk.protocol.is_live


def test_a_joiner_proves_join_and_does_not_subscribe() -> None:
    talk = Talk(OwnKeys(None, join=True))

    (proof,) = talk.connect()

    assert isinstance(proof, Prove)
    assert (proof.purpose, proof.epoch) == (Purpose.JOIN, 0)
    assert not talk.protocol.is_live
    talk.hear(Proved(proof.id, ROOM_ID, Purpose.JOIN, RoomEpoch(3)))
    assert talk.protocol.is_live


def test_a_joiner_who_becomes_a_member_follows_from_where_it_joined() -> None:
    talk = Talk(OwnKeys(None, join=True))
    talk.attach()
    talk.keys.number = 4

    talk.protocol.follow(Sequence(17), b"h" * 32)

    assert of(Subscribe, talk.said()).after == 17


def test_new_keys_are_proven_once() -> None:
    talk = Talk()
    talk.attach()
    talk.keys.number = 1

    talk.protocol.keys_changed()
    talk.protocol.keys_changed()

    assert [(message.purpose, message.epoch) for message in talk.said() if isinstance(message, Prove)] == [
        (Purpose.READ, 1),
        (Purpose.WRITE, 1),
    ]


def test_write_keys_that_come_later_are_proven_then() -> None:
    talk = Talk(OwnKeys(0, write=False))
    talk.attach()
    talk.keys.write = True

    talk.protocol.keys_changed()

    assert of(Prove, talk.said()).purpose is Purpose.WRITE


def test_a_lagging_replica_is_asked_again_soon_and_then_left() -> None:
    talk = Talk()
    read, subscribe, write = talk.connect()
    lagging = RefusalCode.UNKNOWN_EPOCH
    talk.hear(
        Refused(read.id, lagging, ""),  # type: ignore[union-attr]
        Refused(subscribe.id, RefusalCode.NOT_PROVEN, ""),  # type: ignore[union-attr]
        Refused(write.id, lagging, ""),  # type: ignore[union-attr]
    )
    assert talk.protocol.wake_at == pytest.approx(limits.PROOF_RETRY_S)

    again = talk.pass_time()
    assert [type(message) for message in again] == [Prove, Subscribe, Prove]

    for _ in range(limits.PROOF_RETRIES_MAX - 1):
        talk.hear(*(Refused(message.id, lagging, "") for message in again if isinstance(message, Prove)))
        again = talk.pass_time()
    assert talk.now == pytest.approx(limits.PROOF_RETRIES_MAX * limits.PROOF_RETRY_S)
    with pytest.raises(ServerUnfitError, match="lags"):
        talk.hear(Refused(again[0].id, lagging, ""))  # type: ignore[union-attr]


def test_who_was_away_reads_on_with_old_keys_and_does_not_insist_on_writing() -> None:
    talk = Talk(OwnKeys(2))
    read, subscribe, write = talk.connect()

    talk.hear(
        Proved(read.id, ROOM_ID, Purpose.READ, RoomEpoch(5)),  # type: ignore[union-attr]
        Subscribed(subscribe.id, ROOM_ID, Sequence(9), RoomEpoch(5), b""),  # type: ignore[union-attr]
        Refused(write.id, RefusalCode.UNKNOWN_EPOCH, ""),  # type: ignore[union-attr]
    )

    assert talk.protocol.is_live
    assert talk.protocol.wake_at == float("inf")
    talk.keys.number = 3
    talk.protocol.keys_changed()
    assert [message.epoch for message in talk.said() if isinstance(message, Prove)] == [3, 3]


def test_a_wrong_proof_sends_us_elsewhere() -> None:
    talk = Talk()
    read = talk.connect()[0]

    with pytest.raises(ServerUnfitError, match="READ"):
        talk.hear(Refused(read.id, RefusalCode.BAD_PROOF, "no"))  # type: ignore[union-attr]


# --- deliveries ------------------------------------------------------------------------------------------------------


def test_deliveries_are_given_out_in_order() -> None:
    talk = Talk()
    talk.attach(next_sequence=6)

    talk.hear(deliver(delivery(1), delivery(2, 3)), deliver(delivery(5)))

    assert talk.protocol.events == [
        Deliveries((delivery(1), delivery(2, 3)), Sequence(4)),
        Deliveries((delivery(5),), Sequence(5)),
    ]
    assert talk.protocol.after == 5


@pytest.mark.parametrize("first", [1, 3, 4])
def test_a_gap_or_a_repeat_is_an_alarm_and_is_not_given_out(first: int) -> None:
    talk = Talk()
    talk.attach(next_sequence=9)
    talk.hear(deliver(delivery(1)))
    talk.protocol.events.clear()

    with pytest.raises(ServerUnfitError):
        talk.hear(deliver(delivery(first)))

    (alarm,) = talk.protocol.events
    assert isinstance(alarm, Alarm)
    assert alarm.sequence == 1
    assert talk.protocol.after == 1


def test_another_server_is_asked_for_what_follows() -> None:
    talk = Talk()
    talk.attach(next_sequence=9)
    talk.hear(deliver(delivery(1, 4)))

    talk.protocol.disconnected()

    assert of(Subscribe, talk.connect()).after == 4


def test_deliveries_of_an_earlier_subscription_are_passed_over() -> None:
    talk = Talk()
    talk.attach(next_sequence=9)
    talk.protocol.follow(Sequence(5), None)
    subscribe = of(Subscribe, talk.said())

    talk.hear(deliver(delivery(1)))
    assert talk.protocol.events == []
    talk.hear(Subscribed(subscribe.id, ROOM_ID, Sequence(9), RoomEpoch(0), b""), deliver(delivery(6)))

    assert talk.protocol.after == 6


def test_answers_to_an_earlier_subscription_are_passed_over() -> None:
    talk = Talk()
    first = of(Subscribe, talk.connect())
    talk.protocol.follow(Sequence(0), None)
    second = of(Subscribe, talk.said())

    talk.hear(Subscribed(first.id, ROOM_ID, Sequence(9), RoomEpoch(0), b""), deliver(delivery(1)))
    assert talk.protocol.events == []
    talk.hear(Subscribed(second.id, ROOM_ID, Sequence(9), RoomEpoch(0), b""), deliver(delivery(1)))

    assert talk.protocol.after == 1


def test_deliveries_of_another_room_are_no_good() -> None:
    talk = Talk()
    talk.attach(next_sequence=9)

    with pytest.raises(ServerUnfitError):
        talk.hear(Deliver(RoomId(b"x" * 16), (delivery(1),)))


def test_caught_up_when_all_that_there_was_is_here() -> None:
    talk = Talk()
    talk.attach(next_sequence=4)

    talk.hear(deliver(delivery(1, 2)))
    assert not talk.protocol.is_caught_up
    talk.hear(deliver(delivery(3, 5)))
    assert talk.protocol.is_caught_up
    talk.protocol.disconnected()

    assert not talk.protocol.is_caught_up


def test_a_server_that_lags_is_not_all_that_there_is() -> None:
    """Only a majority knows what was promised to others; a server that was away does not."""
    talk = Talk()
    prove, subscribe, *_ = talk.connect()
    assert isinstance(subscribe, Subscribe)
    assert isinstance(prove, Prove)
    proved = Proved(prove.id, ROOM_ID, prove.purpose, RoomEpoch(0))
    talk.hear(proved, Subscribed(subscribe.id, ROOM_ID, Sequence(2), RoomEpoch(0), b""), deliver(delivery(1)))
    assert not talk.protocol.is_caught_up

    talk.hear(RoomTip(subscribe.id, ROOM_ID, Sequence(3)))
    assert not talk.protocol.is_caught_up
    talk.hear(deliver(delivery(2)))

    assert talk.protocol.is_caught_up


def test_where_the_log_ended_for_an_earlier_subscription_is_no_news() -> None:
    talk = Talk()
    talk.attach(next_sequence=9)
    talk.protocol.follow(Sequence(4), None)
    (subscribe,) = [message for message in talk.said() if isinstance(message, Subscribe)]
    talk.hear(Subscribed(subscribe.id, ROOM_ID, Sequence(1), RoomEpoch(0), b""))

    talk.hear(RoomTip(subscribe.id - 1, ROOM_ID, Sequence(1)))
    assert not talk.protocol.is_caught_up
    talk.hear(RoomTip(subscribe.id, ROOM_ID, Sequence(1)))

    assert talk.protocol.is_caught_up


@pytest.mark.parametrize("next_sequence", [1, 3, 8])
def test_caught_up_at_once_with_nothing_new(next_sequence: int) -> None:
    talk = Talk(after=7)
    talk.attach(next_sequence=next_sequence)

    assert talk.protocol.is_caught_up


# --- the chain of history --------------------------------------------------------------------------------------------

CHAIN_0 = chain_start(ROOM_ID)
CHAIN_1 = chain_next(CHAIN_0, delivery(1))
CHAIN_3 = chain_next(CHAIN_1, delivery(2, 2))


def test_chain_is_advanced_over_deliveries() -> None:
    talk = Talk(chain=CHAIN_0)
    talk.attach(next_sequence=4, chain=CHAIN_3)

    talk.hear(deliver(delivery(1), delivery(2, 2)))

    assert talk.protocol.events == [Deliveries((delivery(1), delivery(2, 2)), Sequence(3), CHAIN_3)]
    assert talk.protocol.chain == CHAIN_3


def test_another_history_is_an_alarm_when_both_are_at_the_same_place() -> None:
    talk = Talk(chain=CHAIN_0)
    talk.attach(next_sequence=4, chain=b"another" * 4)
    talk.hear(deliver(delivery(1)))

    with pytest.raises(ServerUnfitError, match="another history"):
        talk.hear(deliver(delivery(2, 2)))

    assert isinstance(talk.protocol.events[-1], Alarm)
    assert talk.protocol.after == 1, "what is in doubt is not given out"


def test_another_history_is_an_alarm_at_subscription_already() -> None:
    talk = Talk(after=1, chain=CHAIN_1)

    with pytest.raises(ServerUnfitError, match="another history"):
        talk.attach(next_sequence=2, chain=b"another" * 4)


def test_a_replica_that_lags_behind_us_is_not_suspected() -> None:
    talk = Talk(after=3, chain=CHAIN_3)

    talk.attach(next_sequence=2, chain=CHAIN_1)

    assert talk.protocol.is_live


# --- calls and the rest ----------------------------------------------------------------------------------------------


def status_call() -> CallTicket:
    return CallTicket(lambda number: GetRoomStatus(number, ROOM_ID))


def test_a_call_gets_its_answer() -> None:
    talk = Talk()
    talk.attach()
    ticket = status_call()
    talk.protocol.call(ticket)
    asked = of(GetRoomStatus, talk.said())

    talk.hear(Refused(asked.id, RefusalCode.UNKNOWN_ROOM, "no"))

    assert ticket.answer == Refused(asked.id, RefusalCode.UNKNOWN_ROOM, "no")


def test_a_call_is_asked_again_on_the_next_connection() -> None:
    talk = Talk()
    ticket = status_call()
    talk.protocol.call(ticket)
    talk.connect()
    talk.protocol.disconnected()

    asked = of(GetRoomStatus, talk.connect())

    assert not ticket.is_done
    talk.hear(Refused(asked.id, RefusalCode.BUSY, ""))
    assert ticket.is_done


def test_a_dropped_call_is_not_asked_again_and_its_answer_is_passed_over() -> None:
    talk = Talk()
    talk.attach()
    ticket = status_call()
    talk.protocol.call(ticket)
    asked = of(GetRoomStatus, talk.said())
    talk.protocol.drop_call(ticket)

    talk.hear(Refused(asked.id, RefusalCode.BUSY, ""))

    assert not ticket.is_done
    assert not any(isinstance(message, GetRoomStatus) for message in talk.connect())


def test_calls_are_bounded() -> None:
    talk = Talk()
    for _ in range(limits.CALLS_MAX):
        talk.protocol.call(status_call())

    assert not talk.protocol.can_call


def test_a_server_that_goes_down_is_left() -> None:
    talk = Talk()
    talk.attach()

    with pytest.raises(ServerUnfitError, match="draining"):
        talk.hear(Refused(0, RefusalCode.DRAINING, "going down"))


@pytest.mark.parametrize("message", [Hello(1, b"n" * 32), ServerHello(1, b"n" * 32, NodeKey(b"k" * 32), "", 0)])
def test_messages_out_of_order_send_us_elsewhere(message: Message) -> None:
    talk = Talk()
    talk.attach()

    with pytest.raises(ServerUnfitError, match="unexpected"):
        talk.hear(message)


def test_answers_to_nobody_are_passed_over() -> None:
    talk = Talk()
    talk.attach()

    assert talk.hear(Pong(0), SessionOpened(999, ROOM_ID, 5)) == []


def test_ping_is_said() -> None:
    talk = Talk()
    talk.attach()

    talk.protocol.ping()

    assert talk.protocol.wants_output
    assert talk.said() == [Ping(0)]


def test_answers_of_the_wrong_kind_send_us_elsewhere() -> None:
    for index in range(3):
        talk = Talk()
        asked = talk.connect()[index]

        with pytest.raises(ServerUnfitError):
            talk.hear(SessionOpened(asked.id, ROOM_ID, 5))  # type: ignore[union-attr]
