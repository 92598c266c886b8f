"""Linearizable reads, reads of one's own writes, and leases."""

from __future__ import annotations

import pytest

from tests.vr.group import Group, request
from vr import limits
from vr.messages import Message, PrepareOk, ReadIndex, ReadIndexOk, decode
from vr.replica import Status
from vr.types import OpNumber, ReplicaIndex, SessionNumber, ViewNumber

LEASE_S = 4.0


def working_group(**options: int) -> tuple[Group, SessionNumber]:
    """Operation 1 registered a session, operation 2 is its first request; everybody has them."""
    group = Group(3, **options)
    session = group.register(group.first)
    group.submit(group.first, request(session, 1))
    group.settle()
    return group, session


def read(group: Group, index: int, number: int = 1, min_op: int | None = None) -> None:
    wanted = None if min_op is None else OpNumber(min_op)
    assert group.replica(index).read_index(number, group.now, min_op=wanted)


def seen(group: Group, index: int) -> list[tuple[int, int]]:
    return [(done.number, done.op) for done in group.reads[index]]


def isolate(group: Group, index: int) -> None:
    others = [other for other in range(group.configuration.size) if other != index]
    group.cut = {(index, other) for other in others} | {(other, index) for other in others}


def depose(group: Group) -> int:
    """The others leave the first primary, which does not hear of it; the new primary."""
    isolate(group, group.first)
    for backup in group.backups():
        group.replica(backup).suspect(ReplicaIndex(group.first), group.now)
    group.run(2 * LEASE_S)
    return next(index for index in group.backups() if group.replica(index).is_primary)


def test_a_read_at_the_primary_waits_for_a_quorum() -> None:
    group, _ = working_group()
    isolate(group, group.first)

    read(group, group.first)
    group.run(0.3)
    assert seen(group, group.first) == []

    group.cut = set()
    group.run(0.5)
    assert seen(group, group.first) == [(1, 2)]


def test_a_read_at_a_backup_sees_what_was_acknowledged_elsewhere() -> None:
    group, session = working_group()
    behind, other = group.backups()
    isolate(group, behind)
    group.submit(group.first, request(session, 2))
    group.settle()
    group.cut = set()

    read(group, behind)
    group.collect(behind)
    assert seen(group, behind) == []
    group.run(1.0)

    assert seen(group, behind) == [(1, 3)]
    assert group.services[behind].bodies == [b"body 1", b"body 2"]
    assert seen(group, other) == []


def test_a_primary_that_was_left_answers_no_reads() -> None:
    group, session = working_group()
    new = depose(group)
    group.submit(new, request(session, 2))
    group.settle()

    read(group, group.first, 7)
    group.run(1.0)
    assert seen(group, group.first) == []

    group.cut = set()
    group.run(2.0)
    assert [number for number, op in seen(group, group.first) if op >= 3] == [7]


def test_a_new_primary_reads_only_after_what_its_predecessor_may_have_answered() -> None:
    """VRR 6.3 is silent on it: operation 3 was acknowledged to a client, but only the dead primary knew it committed."""
    group, session = working_group()
    group.cut = {(group.first, group.backups()[1])}
    group.submit(group.first, request(session, 2))
    group.collect(group.first)
    group.deliver()
    backup = group.backups()[0]
    group.collect(backup)
    group.sync(backup)
    group.crash(group.first)
    group.cut = set()
    group.packets.clear()
    group.suspect(group.first)

    def no_acknowledgements(_source: int, _target: int, message: Message) -> bool:
        return not isinstance(message, PrepareOk)

    deliver = group.deliver
    group.deliver = lambda wanted=no_acknowledgements: deliver(wanted)  # type: ignore[method-assign]
    group.run(0.5)
    new = next(index for index in group.backups() if group.replica(index).is_primary)
    assert (group.replica(new).commit_number, group.replica(new).head_op) == (2, 3)
    read(group, new)
    group.run(0.5)
    assert seen(group, new) == []

    del group.deliver  # type: ignore[method-assign]
    group.run(1.0)
    assert seen(group, new) == [(1, 3)]


def test_many_reads_share_a_round() -> None:
    group, _ = working_group()
    for number in range(1, 101):
        read(group, group.first, number)

    group.collect(group.first)

    assert sum(isinstance(decode(data), ReadIndex) for _, _, data in group.packets) == 2
    group.settle()
    assert [number for number, _ in seen(group, group.first)] == list(range(1, 101))


def test_a_read_of_ones_own_write_waits_for_it_only() -> None:
    group, session = working_group()
    behind = group.backups()[0]
    isolate(group, behind)
    read(group, behind, 1, min_op=2)
    read(group, behind, 2, min_op=3)
    group.collect(behind)
    assert seen(group, behind) == [(1, 2)]

    group.cut = set()
    group.submit(group.first, request(session, 2))
    group.settle()
    assert seen(group, behind) == [(1, 2), (2, 3)]


def test_a_question_lost_is_asked_again() -> None:
    group, _ = working_group()
    backup = group.backups()[0]
    read(group, backup)
    group.collect(backup)
    group.packets.clear()

    group.run(0.5)

    assert seen(group, backup) == [(1, 2)]


def test_an_answer_to_a_question_of_an_earlier_life_settles_nothing() -> None:
    group, _ = working_group()
    backup = group.backups()[0]
    replica = group.replica(backup)
    read(group, backup)
    group.collect(backup)
    group.packets.clear()
    state = replica._state

    stale = ReadIndexOk(
        view=state.view, replica=ReplicaIndex(group.first), nonce=state.nonce ^ 1, context=1, op=OpNumber(0)
    )
    replica.step(stale, group.now)
    replica.step(ReadIndexOk(view=state.view, replica=ReplicaIndex(group.first), nonce=state.nonce, context=99, op=OpNumber(0)), group.now)  # fmt: skip
    group.collect(backup)

    assert seen(group, backup) == []
    assert replica.dropped["read_index_ok_of_other_question"] == 2


def test_reads_are_bounded_and_can_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READS_MAX", 3)
    group, _ = working_group()
    isolate(group, group.first)
    for number in (1, 2, 3):
        read(group, group.first, number, min_op=9 if number == 2 else None)
    replica = group.replica(group.first)

    assert not replica.read_index(4, group.now)
    for number in (1, 2):
        replica.forget_read(number)
    group.collect(group.first)
    replica.forget_read(3)
    group.cut = set()
    group.run(1.0)

    assert seen(group, group.first) == []
    assert replica.next_deadline() == float("inf")


# --- leases ---


def test_under_a_lease_the_primary_reads_alone() -> None:
    group, _ = working_group(lease_ms=int(LEASE_S * 1000))
    read(group, group.first, 1)
    group.settle()
    isolate(group, group.first)

    group.now += LEASE_S * 0.9
    read(group, group.first, 2)
    group.collect(group.first)
    assert seen(group, group.first) == [(1, 2), (2, 2)]

    group.now += LEASE_S * 0.095
    read(group, group.first, 3)
    group.collect(group.first)
    assert seen(group, group.first) == [(1, 2), (2, 2)]


def test_without_leases_it_never_does() -> None:
    group, _ = working_group()
    read(group, group.first, 1)
    group.settle()
    isolate(group, group.first)

    read(group, group.first, 2)
    group.collect(group.first)

    assert seen(group, group.first) == [(1, 2)]


def test_whoever_granted_a_lease_stays_for_so_long() -> None:
    group, _ = working_group(lease_ms=int(LEASE_S * 1000))
    read(group, group.first)
    group.settle()
    isolate(group, group.first)
    group.suspect(group.first)

    group.run(LEASE_S * 0.9)
    assert {group.replica(index).status for index in group.backups()} == {Status.NORMAL}
    assert {group.replica(index).view for index in group.backups()} == {group.view(0)}

    group.run(LEASE_S)
    assert {group.replica(index).log_view for index in group.backups()} == {group.view(1)}


def test_who_cannot_promise_yet_does_not_answer_as_if_it_had() -> None:
    """A backup whose new view is not durable yet grants no lease: its answer would be taken for one."""
    group, _ = working_group(lease_ms=int(LEASE_S * 1000))
    follower = group.backups()[0]
    state = group.replica(follower)._state
    state.durable_log_view = ViewNumber(state.view - 1)  # As after a view change whose write is under way.
    other = group.backups()[1]
    group.cut = {(group.first, other), (other, group.first)}

    read(group, group.first, 1)
    group.settle()

    assert seen(group, group.first) == []
    assert not group.replica(group.first)._state.reads.lease_until > group.now


def test_a_restart_keeps_the_lease_that_may_have_been_granted() -> None:
    """Both backups restart at once; without the wait they would lead and commit while the old primary reads alone."""
    group, session = working_group(lease_ms=int(LEASE_S * 1000))
    read(group, group.first, 1)
    group.settle()
    isolate(group, group.first)
    for backup in group.backups():
        group.crash(backup)
        group.start(backup)
    for backup in group.backups():
        group.replica(backup).suspect(ReplicaIndex(group.first), group.now)

    group.run(LEASE_S * 0.9)
    group.submit(group.backups()[0], request(session, 2))
    group.settle()
    read(group, group.first, 2)
    group.collect(group.first)

    assert seen(group, group.first) == [(1, 2), (2, 2)]
    assert {group.replica(index).log_view for index in group.backups()} == {group.view(0)}
    assert not any(b"body 2" in service.bodies for service in group.services)
