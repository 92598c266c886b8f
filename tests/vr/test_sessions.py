"""The client table (VRR 4.1, 4.5)."""

from __future__ import annotations

import pytest

from tests.vr.group import Group, request
from vr import limits
from vr.errors import DecodeError
from vr.log import Request, make_entry
from vr.normal import apply_committed
from vr.ready import RejectReason
from vr.sessions import SessionTable, Verdict, session_number, session_op, session_place
from vr.types import ClientId, OpNumber, RequestNumber, SessionNumber

SECOND_US = 1_000_000
CLIENT = ClientId(b"c" * 16)


def make(session: SessionNumber, number: int, client: ClientId = CLIENT) -> Request:
    return Request(client, session, RequestNumber(number), b"")


def registered() -> tuple[SessionTable, SessionNumber]:
    table = SessionTable()
    return table, table.register(make(SessionNumber(0), 0), OpNumber(4), 2)


def test_a_session_number_names_its_register() -> None:
    _, session = registered()

    assert (session_op(session), session_place(session)) == (4, 2)


def execute(table: SessionTable, session: SessionNumber, number: int, op: int, result: bytes = b"") -> None:
    """One request commits as operation `op`, at `op` seconds."""
    assert table.judge(make(session, number)) is Verdict.EXECUTE
    table.record([make(session, number)], [result], OpNumber(op), op * SECOND_US)


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [((1,), Verdict.REPEAT), ((2,), Verdict.REPEAT), ((3,), Verdict.EXECUTE), ((4,), Verdict.GAP),
     ((3, 4), Verdict.EXECUTE), ((3, 3), Verdict.REPEAT)],
)  # fmt: skip
def test_requests_execute_in_order_and_once(numbers: tuple[int, ...], verdict: Verdict) -> None:
    table, session = registered()
    for done in (1, 2):
        execute(table, session, done, 4 + done)

    assert [table.judge(make(session, number)) for number in numbers][-1] is verdict


def test_an_unknown_session_or_a_strangers_is_not_executed() -> None:
    table, session = registered()

    assert table.judge(make(SessionNumber(99), 1)) is Verdict.UNKNOWN
    assert table.judge(make(session, 1, ClientId(b"d" * 16))) is Verdict.UNKNOWN


def test_results_are_kept_as_long_as_a_window_may_repeat_them() -> None:
    table, session = registered()
    last = limits.SESSION_RESULTS_KEPT + 5

    for number in range(1, last + 1):
        execute(table, session, number, 4 + number, b"%d" % number)

    assert table.result(session, RequestNumber(5)) is None
    assert table.result(session, RequestNumber(6)) == (10, b"6")
    assert table.result(session, RequestNumber(last)) == (4 + last, b"%d" % last)


def test_the_longest_idle_session_makes_room() -> None:
    table = SessionTable(2)
    old = table.register(make(SessionNumber(0), 0), OpNumber(4), 2)
    busy = table.register(make(SessionNumber(0), 0), OpNumber(5), 0)
    execute(table, old, 1, 6)

    new = table.register(make(SessionNumber(0), 0), OpNumber(7), 0)

    assert busy not in table
    assert old in table
    assert new in table
    assert len(table) == 2


def test_of_sessions_used_in_one_operation_the_older_goes_first() -> None:
    """The order of requests in a batch must not matter: a snapshot does not keep it."""
    table = SessionTable(3)
    sessions = [table.register(make(SessionNumber(0), 0), OpNumber(op), 0) for op in (1, 2, 3)]
    wanted = [make(session, 1) for session in reversed(sessions)]
    for request_ in wanted:
        table.judge(request_)
    table.record(wanted, [b""] * 3, OpNumber(9), 9 * SECOND_US)

    assert table.first_to_go() == sessions[0]
    table.restore(table.snapshot())
    assert table.first_to_go() == sessions[0]


def test_a_session_that_nobody_uses_ends_by_the_clock_of_the_log() -> None:
    table = SessionTable(ttl_s=10)
    old, used = [table.register(make(SessionNumber(0), 0), OpNumber(op), 0, op * SECOND_US) for op in (1, 2)]
    execute(table, used, 1, 5)

    table.expire(11 * SECOND_US)
    assert old in table
    table.expire(11 * SECOND_US + 1)
    assert old not in table
    assert used in table
    table.expire(2**60)
    assert len(table) == 0


def test_a_snapshot_is_deterministic_and_complete() -> None:
    table, session = registered()
    execute(table, session, 1, 5, b"r")

    again = SessionTable()
    again.restore(table.snapshot())

    assert again.snapshot() == table.snapshot()
    assert again.result(session, RequestNumber(1)) == (5, b"r")
    assert again.judge(make(session, 2)) is Verdict.EXECUTE


def test_a_damaged_snapshot_is_refused_and_changes_nothing() -> None:
    table, session = registered()

    with pytest.raises(DecodeError):
        table.restore(b"\xc1")

    assert session in table


def test_whoever_waits_for_an_evicted_session_is_told() -> None:
    """The request was ordered before the eviction was known: it commits, and is executed nowhere."""
    group = Group(3, sessions_max=1)
    session = group.register(group.first)
    other = ClientId(b"another client!!")
    back = group.backups()[0]

    group.submit(group.first, Request(other, SessionNumber(0), RequestNumber(0), b""))
    group.collect(group.first)
    group.submit(group.first, request(session, 1))
    group.submit(back, request(session, 1))
    group.settle()

    assert [rejected.reason for rejected in group.rejected[group.first]] == [RejectReason.EVICTED]
    assert [rejected.reason for rejected in group.rejected[back]] == [RejectReason.EVICTED]
    assert all(service.bodies == [] for service in group.services)


def test_a_register_that_comes_twice_gives_each_reply_its_own_session() -> None:
    group = Group(3)

    first, second = group.register(group.first), group.register(group.first)

    assert first != second
    assert group.replica(group.first)._state.sessions.get(first) is not None


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
        view=state.view, op=OpNumber(3), commit=OpNumber(2), parent=state.log.head_checksum, timestamp_us=2**40,
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
