"""The client table (VRR 4.1, 4.5)."""

from __future__ import annotations

import pytest

from tests.vr.group import Group, request
from vr import limits
from vr.errors import DecodeError
from vr.log import Request, make_entry
from vr.normal import apply_committed
from vr.sessions import SessionTable, Verdict, session_number, session_op, session_place
from vr.types import ClientId, OpNumber, RequestNumber, SessionNumber

CLIENT = ClientId(b"c" * 16)


def make(session: SessionNumber, number: int, client: ClientId = CLIENT) -> Request:
    return Request(client, session, RequestNumber(number), b"")


def registered() -> tuple[SessionTable, SessionNumber]:
    table = SessionTable()
    return table, table.register(make(SessionNumber(0), 0), OpNumber(4), 2)


def test_a_session_number_names_its_register() -> None:
    _, session = registered()

    assert (session_op(session), session_place(session)) == (4, 2)


@pytest.mark.parametrize(
    ("number", "ahead", "verdict"),
    [(1, 0, Verdict.REPEAT), (2, 0, Verdict.REPEAT), (3, 0, Verdict.EXECUTE), (4, 0, Verdict.GAP), (4, 1, Verdict.EXECUTE),
     (3, 1, Verdict.REPEAT)],
)  # fmt: skip
def test_requests_execute_in_order_and_once(number: int, ahead: int, verdict: Verdict) -> None:
    table, session = registered()
    for done in (1, 2):
        table.record(make(session, done), OpNumber(4 + done), b"r%d" % done)

    assert table.judge(make(session, number), ahead) is verdict


def test_an_unknown_session_or_a_strangers_is_not_executed() -> None:
    table, session = registered()

    assert table.judge(make(SessionNumber(99), 1)) is Verdict.UNKNOWN
    assert table.judge(make(session, 1, ClientId(b"d" * 16))) is Verdict.UNKNOWN


def test_results_are_kept_as_long_as_a_window_may_repeat_them() -> None:
    table, session = registered()
    last = limits.SESSION_RESULTS_KEPT + 5

    for number in range(1, last + 1):
        table.record(make(session, number), OpNumber(4 + number), b"%d" % number)

    assert table.result(session, RequestNumber(5)) is None
    assert table.result(session, RequestNumber(6)) == (10, b"6")
    assert table.result(session, RequestNumber(last)) == (4 + last, b"%d" % last)


def test_the_longest_idle_session_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSIONS_MAX", 2)
    table, old = registered()
    busy = table.register(make(SessionNumber(0), 0), OpNumber(5), 0)
    table.record(make(old, 1), OpNumber(6), b"")

    new = table.register(make(SessionNumber(0), 0), OpNumber(7), 0)

    assert busy not in table
    assert old in table
    assert new in table
    assert len(table) == 2


def test_a_snapshot_is_deterministic_and_complete() -> None:
    table, session = registered()
    table.record(make(session, 1), OpNumber(5), b"r")

    again = SessionTable.from_snapshot(table.snapshot())

    assert again.snapshot() == table.snapshot()
    assert again.result(session, RequestNumber(1)) == (5, b"r")
    assert again.judge(make(session, 2)) is Verdict.EXECUTE


def test_a_damaged_snapshot_is_refused() -> None:
    with pytest.raises(DecodeError):
        SessionTable.from_snapshot(b"\xc1")


def test_a_place_outside_the_batch_is_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        session_number(OpNumber(1), limits.BATCH_REQUESTS_MAX)


def test_a_repeat_that_reached_the_log_is_not_executed_again() -> None:
    """VRR 4.1: whoever prepared it, what the table knows is answered from the table."""
    group = Group(1)
    session = group.register(0)
    group.submit(0, request(session, 1))
    group.settle()
    state = group.replica(0)._state
    repeat = make_entry(
        view=state.view, op=OpNumber(3), commit=OpNumber(2), parent=state.log.head_checksum, timestamp_us=2**50,
        requests=[request(session, 1), request(session, 2), request(session, 2), request(session, 9)],
    )  # fmt: skip

    state.log.append(repeat)
    state.raise_commit(OpNumber(3))
    apply_committed(state)

    assert group.services[0].bodies == [b"body 1", b"body 2"]


def test_nothing_stays_noted_as_on_its_way_after_execution() -> None:
    group = Group(3)
    session = group.register(group.first)
    for number in (1, 2, 3):
        group.submit(group.first, request(session, number))
    group.settle()

    state = group.replica(group.first)._state
    assert (state.prepared, state.registering, dict(state.pending_of_session)) == ({}, set(), {})
