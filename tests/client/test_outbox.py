from __future__ import annotations

from client import limits
from client.outbox import ENTRY_OVERHEAD_BYTES, Outbox
from client.room_state import Block, InFlight, OutcomeKind, Outgoing
from wire.ids import Sequence


def message(number: int, text: str = "") -> Outgoing:
    return Outgoing(number.to_bytes(16, "big"), 1, text or str(number))


def posted(*numbers: int) -> Outbox:
    outbox = Outbox()
    for number in numbers:
        outbox.post(message(number))
    return outbox


def send(outbox: Outbox, name: bytes) -> InFlight:
    return outbox.sent(Block(name, b""), outbox.next_group())


def test_what_is_refused_waits_in_its_old_place() -> None:
    outbox = posted(1, 2)
    send(outbox, b"one")
    outbox.post(message(3))

    outbox.refused(b"one")

    assert [item.outgoing for item in outbox.next_group()] == [message(1), message(2), message(3)]
    assert outbox.settled == [b"one"]


def test_an_acknowledgement_names_a_sequence_for_each_message() -> None:
    outbox = posted(1, 2)
    send(outbox, b"one")

    outbox.accepted(b"one", Sequence(10))

    assert [(outcome.kind, outcome.sequence) for outcome in outbox.outcomes] == [
        (OutcomeKind.ACKNOWLEDGED, 10),
        (OutcomeKind.ACKNOWLEDGED, 11),
    ]


def test_what_is_seen_after_its_acknowledgement_is_not_told_twice() -> None:
    outbox = posted(1)
    send(outbox, b"one")
    outbox.accepted(b"one", Sequence(10))

    outbox.seen(b"one", Sequence(10))

    assert len(outbox.outcomes) == 1
    assert outbox.flights == {}


def test_an_epoch_that_ends_frees_what_was_not_seen() -> None:
    outbox = posted(1)
    send(outbox, b"one")
    outbox.unknown(b"one")

    assert outbox.epoch_ended() == []

    assert outbox.unresolved == set()
    assert [item.outgoing for item in outbox.next_group()] == [message(1)]


def test_an_epoch_that_ends_without_what_was_acknowledged_is_reported() -> None:
    outbox = posted(1)
    send(outbox, b"one")
    outbox.accepted(b"one", Sequence(10))

    assert outbox.epoch_ended() == [10]


def test_what_a_restart_restored_becomes_unsent() -> None:
    outbox = Outbox((InFlight(b"old", (message(1),)),))
    assert outbox.unresolved == {b"old"}

    outbox.epoch_ended()

    assert outbox.unsent == [message(1)]
    assert outbox.outcomes[0].kind is OutcomeKind.UNSENT


def test_overdue_acknowledgements_are_found() -> None:
    outbox = posted(1)
    send(outbox, b"one")
    outbox.accepted(b"one", Sequence(10))

    assert outbox.overdue(Sequence(9)) == []
    assert outbox.overdue(Sequence(10)) == [10]
    assert outbox.flights == {}


def test_an_acknowledged_block_is_not_unknown_any_more() -> None:
    outbox = posted(1)
    send(outbox, b"one")
    outbox.accepted(b"one", Sequence(10))

    outbox.unknown(b"one")
    outbox.unknown(b"never seen")

    assert outbox.unresolved == set()


def test_failed_messages_are_told() -> None:
    outbox = posted(1)
    send(outbox, b"one")

    outbox.failed(b"one")

    assert outbox.outcomes[0].kind is OutcomeKind.FAILED


def test_a_group_holds_what_fits() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.post(message(number, "x" * 20_000))

    assert len(outbox.next_group()) == 1
    assert len(outbox.next_group()) == 1


def test_a_group_holds_at_most_a_block_of_entries() -> None:
    outbox = posted(*range(limits.OUTBOX_MAX))

    assert len(outbox.next_group()) == 48 * 1024 // (256 + ENTRY_OVERHEAD_BYTES)
    assert not outbox.is_full


def test_the_window_closes() -> None:
    outbox = Outbox()
    for number in range(limits.BLOCKS_IN_FLIGHT_MAX + 1):
        outbox.post(message(number))
        assert outbox.may_fly == (number < limits.BLOCKS_IN_FLIGHT_MAX)
        if outbox.may_fly:
            send(outbox, bytes([number]))


def test_only_what_waits_can_be_withdrawn() -> None:
    outbox = posted(1, 2)

    assert outbox.withdraw(message(1).message_id)
    assert not outbox.withdraw(message(1).message_id)
    assert [item.outgoing for item in outbox.next_group()] == [message(2)]
