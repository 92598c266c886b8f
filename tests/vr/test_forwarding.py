"""Clients at backups: answered there, once, whatever happens on the way (ADR 2)."""

from __future__ import annotations

from tests.vr.group import CLIENT, Group, request
from vr import limits
from vr.log import Request
from vr.messages import Forward
from vr.ready import RejectReason
from vr.replica import Status
from vr.sessions import session_op, session_place
from vr.types import ReplicaIndex, RequestNumber, SessionNumber


def test_a_client_at_a_backup_is_answered_by_that_backup() -> None:
    group = Group()
    backup = group.backups()[0]
    session = group.register(backup)

    group.submit(backup, request(session, 1))
    group.settle()

    assert [reply.number for reply in group.replies[backup]] == [0, 1]
    assert group.replies[group.first] == []


def test_a_repeat_gets_the_same_answer_and_changes_nothing() -> None:
    group = Group()
    session = group.register(group.first)
    group.submit(group.first, request(session, 1))
    group.settle()

    for index in range(3):
        group.submit(index, request(session, 1))
    group.settle()

    results = [reply.result for replies in group.replies for reply in replies if reply.number == 1]
    assert results == [b"1"] * 4
    assert group.services[0].bodies == [b"body 1"]


def test_a_lost_forward_is_sent_again_in_order() -> None:
    group = Group()
    backup = group.backups()[0]
    session = group.register(backup)
    group.submit(backup, request(session, 1))
    group.collect(backup)
    group.deliver(lambda *parts: not isinstance(parts[2], Forward))
    group.submit(backup, request(session, 2))

    group.run(2)

    assert group.services[0].bodies == [b"body 1", b"body 2"]
    assert [reply.number for reply in group.replies[backup]] == [0, 1, 2]


def test_two_replicas_forwarding_the_same_request_execute_it_once() -> None:
    group = Group()
    session = group.register(group.first)

    for index in group.backups():
        group.submit(index, request(session, 1))
    group.settle()

    assert group.services[0].bodies == [b"body 1"]
    assert [len(group.replies[index]) for index in group.backups()] == [1, 1]


def test_a_client_that_left_is_not_answered() -> None:
    group = Group()
    session = group.register(group.first)
    group.submit(group.first, request(session, 1))

    group.replica(group.first).forget(request(session, 1).client, session)
    group.settle()

    assert [reply.number for reply in group.replies[group.first]] == [0]


def test_a_request_beyond_the_window_or_too_large_is_refused() -> None:
    group = Group()
    session = group.register(group.first)

    group.submit(group.first, request(session, limits.SESSION_WINDOW + 1))
    group.submit(group.first, request(session, 1, bytes(limits.REQUEST_BYTES_MAX + 1)))
    group.settle()

    assert [item.reason for item in group.rejected[group.first]] == [RejectReason.SEQUENCE_GAP, RejectReason.TOO_LARGE]


def test_a_full_queue_says_busy_and_the_bound_holds() -> None:
    group = Group()
    group.run(1)
    group.cut = {(group.first, backup) for backup in group.backups()}
    clients = [place.to_bytes(16, "big") for place in range(limits.QUEUE_REQUESTS_MAX + 2000)]

    for client in clients:
        group.submit(group.first, Request(client, 0, RequestNumber(0), b""))  # type: ignore[arg-type]  # plain numbers
        group.collect(group.first)

    primary = group.replica(group.first)
    assert primary.queue_count == limits.QUEUE_REQUESTS_MAX
    assert {item.reason for item in group.rejected[group.first]} == {RejectReason.BUSY}


def test_a_request_accepted_before_a_view_change_is_answered_after_it() -> None:
    group = Group()
    backup = group.backups()[0]
    session = group.register(backup)
    group.crash(group.first)
    group.submit(backup, request(session, 1))

    group.suspect(group.first)
    group.run(1)

    assert [reply.number for reply in group.replies[backup]] == [0, 1]


def register(attempt: bytes) -> Request:
    """The first request of a new session of CLIENT; `attempt` names this attempt."""
    return Request(CLIENT, SessionNumber(0), RequestNumber(0), attempt)


def test_a_register_of_long_ago_does_not_answer_the_one_that_waits() -> None:
    """A replica that was away executes what it missed, while the client, who moved to it, begins anew."""
    group = Group()
    away = group.backups()[0]
    group.cut = {(other, away) for other in range(3)} | {(away, other) for other in range(3)}
    group.submit(group.first, register(b"before"))
    group.settle()
    used = group.replies[group.first][-1].session
    group.submit(group.first, request(used, 1))
    group.settle()
    group.submit(away, register(b"after"))

    group.cut.clear()
    group.run(3)

    opened = [reply.session for reply in group.replies[away] if reply.number == 0]
    assert len(opened) == 1
    assert opened[0] > used


def test_of_two_registers_of_a_client_the_newer_is_answered() -> None:
    group = Group()
    backup = group.backups()[0]
    group.submit(backup, register(b"first"))
    group.submit(backup, register(b"second"))

    group.run(2)

    opened = [reply.session for reply in group.replies[backup] if reply.number == 0]
    assert len(opened) == 1
    assert session_place(opened[0]) > 0 or session_op(opened[0]) > 1
    group.submit(backup, request(opened[0], 1))
    group.settle()
    assert [reply.number for reply in group.replies[backup]] == [0, 1]


def test_a_primary_of_the_past_does_not_deny_a_session_of_a_later_view() -> None:
    """Who is told that its session is unknown gives it up, and what it waited for with it."""
    group = Group()
    past, others = group.first, group.backups()
    group.cut = {(past, other) for other in others} | {(other, past) for other in others}
    for other in others:
        group.replica(other).suspect(ReplicaIndex(past), group.now)
    group.run(5)
    session = group.register(next(index for index in others if group.replica(index).is_primary))

    group.submit(past, request(session, 1))
    group.settle()

    assert group.replica(past).is_primary
    assert [rejected.reason for rejected in group.rejected[past]] == [RejectReason.BUSY]
    group.cut.clear()
    group.run(5)
    group.submit(past, request(session, 1))
    group.run(3)
    assert [reply.number for reply in group.replies[past]] == [1]


def test_a_primary_short_of_space_refuses_new_requests_from_everywhere_and_still_commits() -> None:
    group = Group()
    backup = group.backups()[0]
    session = group.register(backup)
    group.submit(backup, request(session, 1))
    leader = group.replica(group.first)
    group.collect(backup)
    group.deliver()
    leader.note_space(is_short=True)

    group.settle()  # what was taken before is a promise
    group.submit(backup, request(session, 2))
    group.submit(group.first, request(session, 2))
    group.settle()

    assert group.services[0].bodies == [b"body 1"]
    refused = [rejected.reason for index in (backup, group.first) for rejected in group.rejected[index]]
    assert refused == [RejectReason.BUSY] * 2

    leader.note_space(is_short=False)
    group.submit(backup, request(session, 2))
    group.settle()
    assert group.services[0].bodies == [b"body 1", b"body 2"]


def test_replicas_short_of_space_acknowledge_and_vote() -> None:
    group = Group()
    backup = group.backups()[0]
    session = group.register(backup)
    for index in group.backups():
        group.replica(index).note_space(is_short=True)
    group.submit(backup, request(session, 1))
    group.settle()
    assert group.services[backup].bodies == [b"body 1"]

    group.crash(group.first)
    group.suspect(group.first)
    group.run(1)

    survivors = [group.replica(index) for index in group.backups()]
    assert {replica.status for replica in survivors} == {Status.NORMAL}
    assert {replica.view for replica in survivors} == {group.view(1)}
