"""Numbers are for ever, answers come once, what was not answered goes again."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import connection_limits
from client.append_window import AppendWindow, EntryTicket, PackedTicket, SessionState, Ticket
from client.errors import OutcomeUnknownError, UnavailableError
from wire import limits
from wire.errors import DecodeError
from wire.ids import ClientId, RoomEpoch, RoomId, Sequence
from wire.messages import Append
from wire.room import BlockResult, Purpose, ResultKind, decode_entries, encode_app_block, encode_result

ROOM_ID = RoomId(b"r" * 16)
CLIENT = ClientId(b"c" * 16)
EPOCH = RoomEpoch(0)


def block(number: int) -> bytes:
    return encode_app_block(EPOCH, [b"entry %d" % number])


def accepted(sequence: int) -> bytes:
    return encode_result(BlockResult(ResultKind.ACCEPTED, Sequence(sequence), EPOCH))


def always(epoch: RoomEpoch, needs: Purpose) -> bool:
    return True


def take(window: AppendWindow, may_send: Callable[[RoomEpoch, Purpose], bool] = always) -> list[Append]:
    return window.take_appends(ROOM_ID, may_send)


def window_of(count: int) -> tuple[AppendWindow, list[Ticket]]:
    window = AppendWindow(CLIENT, session=256)
    tickets = [Ticket(block(number), EPOCH) for number in range(1, count + 1)]
    for ticket in tickets:
        window.add(ticket)
    return window, tickets


def test_blocks_get_numbers_in_order_and_travel_together() -> None:
    window, tickets = window_of(3)

    (append,) = take(window)

    assert append == Append(ROOM_ID, CLIENT, 256, 1, (block(1), block(2), block(3)))
    assert [ticket.number for ticket in tickets] == [1, 2, 3]
    assert take(window) == []
    assert not window.wants_to_send


def test_without_a_session_nothing_is_sent_and_one_is_wanted() -> None:
    window = AppendWindow(CLIENT)
    assert not window.wants_session

    window.add(Ticket(block(1), EPOCH))

    assert take(window) == []
    assert window.wants_session


def test_never_more_than_a_window_is_unanswered() -> None:
    window, _ = window_of(limits.SESSION_WINDOW)
    take(window)

    assert not window.has_space
    with pytest.raises(AssertionError):
        window.add(Ticket(block(99), EPOCH))
    window.answered(256, [(1, accepted(1))])
    assert window.has_space


def test_an_answer_counts_once_and_for_its_session_only() -> None:
    window, tickets = window_of(2)
    take(window)

    assert not window.answered(512, [(1, accepted(7))])
    assert window.answered(256, [(1, accepted(1))])
    assert not window.answered(256, [(1, accepted(8))])

    assert tickets[0].result_now == BlockResult(ResultKind.ACCEPTED, Sequence(1), EPOCH)
    assert not tickets[1].is_done


def test_waiter_is_called_once() -> None:
    window, (ticket,) = window_of(1)
    calls: list[bool] = []
    ticket.on_done = lambda: calls.append(ticket.is_done)
    take(window)

    window.answered(256, [(1, accepted(1)), (1, accepted(1))])

    assert calls == [True]


def test_malformed_result_leaves_the_block_unanswered() -> None:
    window, (ticket,) = window_of(1)
    take(window)

    with pytest.raises(DecodeError):
        window.answered(256, [(1, b"garbage")])

    assert not ticket.is_done
    assert list(window.unanswered) == [1]


def test_resend_is_the_same_bytes_under_the_same_numbers() -> None:
    window, _ = window_of(3)
    first = take(window)

    window.resend()

    assert take(window) == first


def test_resend_leaves_out_what_was_answered() -> None:
    window, _ = window_of(4)
    take(window)
    window.answered(256, [(1, accepted(1)), (3, accepted(3))])

    window.resend()

    assert [(append.number, append.blocks) for append in take(window)] == [(2, (block(2),)), (4, (block(4),))]


def test_frames_are_bounded_in_blocks_and_bytes() -> None:
    window = AppendWindow(CLIENT, session=256)
    large = encode_app_block(EPOCH, [bytes(limits.ENTRY_BYTES_MAX)])
    for _ in range(limits.SESSION_WINDOW):
        window.add(Ticket(large, EPOCH))

    appends = take(window)

    assert sum(len(append.blocks) for append in appends) == limits.SESSION_WINDOW
    assert all(sum(map(len, append.blocks)) <= connection_limits.APPEND_FRAME_BYTES_MAX for append in appends)
    assert [append.number for append in appends] == [1 + 3 * index for index in range(len(appends))]


def test_what_is_not_proven_waits_and_holds_back_what_follows() -> None:
    window = AppendWindow(CLIENT, session=256)
    for epoch in (0, 1, 0):
        window.add(Ticket(encode_app_block(RoomEpoch(epoch), [b"e"]), RoomEpoch(epoch)))

    first = take(window, lambda epoch, _: epoch == 0)
    second = take(window)

    assert [append.number for append in first + second] == [1, 2]
    assert [len(append.blocks) for append in first + second] == [1, 2]


def test_external_commits_need_another_proof() -> None:
    window = AppendWindow(CLIENT, session=256)
    window.add(Ticket(block(1), RoomEpoch(5), needs=Purpose.JOIN))

    assert take(window, lambda _, needs: needs is Purpose.WRITE) == []
    assert len(take(window, lambda _, needs: needs is Purpose.JOIN)) == 1


def entry_window(count: int, size: int = 10) -> tuple[AppendWindow, list[EntryTicket]]:
    window = AppendWindow(CLIENT, session=256)
    tickets = [EntryTicket(EPOCH, bytes([number % 256]) * size) for number in range(count)]
    for ticket in tickets:
        window.add_entry(ticket)
    return window, tickets


def test_entries_that_wait_together_travel_in_one_block() -> None:
    window, tickets = entry_window(5)

    (append,) = take(window)

    assert decode_entries(append.blocks[0]) == [ticket.entry for ticket in tickets]


def test_entries_get_consecutive_sequences() -> None:
    window, tickets = entry_window(3)
    take(window)

    window.answered(256, [(1, accepted(7))])

    assert [ticket.sequence for ticket in tickets] == [7, 8, 9]


def test_blocks_of_entries_are_bounded_in_number() -> None:
    window, _ = entry_window(limits.BLOCK_ENTRIES_MAX + 1)

    (append,) = take(window)

    assert [len(decode_entries(packed)) for packed in append.blocks] == [limits.BLOCK_ENTRIES_MAX, 1]


@given(sizes=st.lists(st.integers(1, limits.ENTRY_BYTES_MAX), min_size=1, max_size=20))
def test_blocks_of_entries_are_within_limits_and_in_order(sizes: list[int]) -> None:
    window = AppendWindow(CLIENT, session=256)
    entries = [bytes([index]) * size for index, size in enumerate(sizes)]
    for entry in entries:
        window.add_entry(EntryTicket(EPOCH, entry))

    blocks = [packed for append in take(window) for packed in append.blocks]

    assert [entry for packed in blocks for entry in decode_entries(packed)] == entries
    assert all(len(packed) <= limits.BLOCK_BYTES_MAX for packed in blocks)


def test_entries_of_different_epochs_do_not_share_a_block() -> None:
    window = AppendWindow(CLIENT, session=256)
    for epoch in (0, 0, 1):
        window.add_entry(EntryTicket(RoomEpoch(epoch), b"e"))

    (append,) = take(window)

    assert [len(decode_entries(packed)) for packed in append.blocks] == [2, 1]


def test_entries_wait_for_a_place_in_the_window() -> None:
    window, tickets = entry_window(limits.BLOCK_ENTRIES_MAX * (limits.SESSION_WINDOW + 2))

    take(window)
    assert len(window.unanswered) == limits.SESSION_WINDOW
    assert not window.wants_to_send
    window.answered(256, [(1, accepted(1))])

    assert window.wants_to_send
    assert take(window)[0].number == limits.SESSION_WINDOW + 1
    assert tickets[0].is_done
    assert not tickets[-1].is_done


def test_waiting_entries_are_bounded_in_number_and_bytes() -> None:
    window, _ = entry_window(connection_limits.ENTRIES_WAITING_MAX - 1)
    assert window.has_entry_space
    window.add_entry(EntryTicket(EPOCH, b"e"))
    assert not window.has_entry_space

    few, _ = entry_window(connection_limits.ENTRIES_WAITING_BYTES_MAX // limits.ENTRY_BYTES_MAX, limits.ENTRY_BYTES_MAX)
    assert not few.has_entry_space
    take(few)
    assert few.has_entry_space


def test_lost_session_leaves_unknown_what_was_sent_and_keeps_what_was_not() -> None:
    window = AppendWindow(CLIENT, session=256)
    sent, waiting = Ticket(block(1), EPOCH), Ticket(block(2), RoomEpoch(1))
    window.add(sent)
    window.add(waiting)
    take(window, lambda epoch, _: epoch == 0)

    window.session_lost("gone")

    assert sent.failure is not None
    error = sent.failure()
    assert isinstance(error, OutcomeUnknownError)
    assert error.retry_id == f"{CLIENT.hex()}-256-1"
    assert not waiting.is_done
    assert window.wants_session
    window.session_opened(512)
    assert [(append.session, append.number) for append in take(window)] == [(512, 1)]


def test_lost_session_fails_every_entry_of_its_blocks() -> None:
    window, tickets = entry_window(3)
    take(window)

    window.session_lost("gone")

    assert all(
        ticket.is_done and isinstance(ticket.failure and ticket.failure(), OutcomeUnknownError) for ticket in tickets
    )


def test_refused_block_gets_its_result_and_ends_the_session() -> None:
    window, tickets = window_of(3)
    take(window)

    window.refuse(2, BlockResult(ResultKind.MALFORMED, Sequence(0), EPOCH))

    assert tickets[1].result_now is not None
    assert tickets[0].failure is not None
    assert tickets[2].failure is not None
    assert window.session == 0


def test_close_tells_sent_from_unsent() -> None:
    window = AppendWindow(CLIENT, session=256)
    sent, unsent, entry = Ticket(block(1), EPOCH), Ticket(block(2), RoomEpoch(1)), EntryTicket(RoomEpoch(1), b"e")
    window.add(sent)
    window.add(unsent)
    take(window, lambda epoch, _: epoch == 0)
    window.add_entry(entry)

    window.close()

    assert isinstance(sent.failure and sent.failure(), OutcomeUnknownError)
    assert isinstance(unsent.failure and unsent.failure(), UnavailableError)
    assert isinstance(entry.failure and entry.failure(), UnavailableError)
    assert window.is_idle


def test_state_restores_to_the_same_appends() -> None:
    window, _ = window_of(3)
    first = take(window)
    state = window.state

    restored = []
    for number, data in state.unanswered:
        ticket = Ticket(data, EPOCH)
        ticket.number = number
        restored.append(ticket)
    again = AppendWindow(CLIENT, session=state.session, next_number=state.next_number, restored=restored)

    assert state == SessionState(256, 4, ((1, block(1)), (2, block(2)), (3, block(3))))
    assert take(again) == first
    again.add(Ticket(block(4), EPOCH))
    assert take(again)[0].number == 4


def test_packed_ticket_wakes_those_who_wait() -> None:
    entries = [EntryTicket(EPOCH, b"e") for _ in range(3)]
    woken: list[int] = []
    entries[1].on_done = lambda: woken.append(entries[1].sequence)

    PackedTicket(EPOCH, entries).settle(BlockResult(ResultKind.ACCEPTED, Sequence(5), EPOCH))

    assert woken == [6]


@pytest.mark.parametrize("seed", range(20))
def test_every_block_is_executed_once_whatever_is_lost(seed: int) -> None:
    """A server that executes (session, number) in order, once; frames and answers get lost, connections are renewed."""
    rng = random.Random(seed)
    window = AppendWindow(CLIENT, session=256)
    executed: list[bytes] = []
    tickets: list[Ticket] = []
    while len(executed) < 200 or not window.is_idle:
        while window.has_space and len(tickets) < 200:
            tickets.append(Ticket(block(len(tickets)), EPOCH))
            window.add(tickets[-1])
        for append in take(window):
            if rng.random() < 0.2:
                continue
            results = []
            for number, data in enumerate(append.blocks, append.number):
                if number == len(executed) + 1:
                    executed.append(data)
                if number <= len(executed):
                    results.append((number, accepted(number)))
            if rng.random() < 0.8:
                window.answered(256, results)
        if rng.random() < 0.3 or not window.wants_to_send:
            window.resend()

    assert executed == [block(index) for index in range(200)]
    assert [ticket.result_now.sequence for ticket in tickets if ticket.result_now] == list(range(1, 201))
