"""Fetching what one misses (VRR 5.2), without giving anything up first."""

from __future__ import annotations

import pytest

from tests.vr.group import Group, request
from vr import limits, repair
from vr.log import Log, make_entry
from vr.messages import Entries, GetEntries, Prepare, decode
from vr.replica import Status
from vr.state import Install, ReplicaOptions, ReplicaState
from vr.types import Checksum, OpNumber, ReplicaIndex


def state_of(group: Group, index: int) -> ReplicaState:
    return group.replica(index)._state


def group_with_a_laggard(operations: int, *, options: ReplicaOptions | None = None) -> tuple[Group, int, int]:
    """(group, session, index of a backup that was away for `operations`)."""
    group = Group(options=options)
    session = group.register(group.first)
    away = next(index for index in group.backups() if index != group.configuration.primary_index(group.view(1)))
    group.crash(away)
    group.suspect(away)
    for number in range(1, operations + 1):
        group.submit(group.first, request(session, number))
        group.settle()
    return group, session, away


def test_a_backup_that_was_away_catches_up_in_portions() -> None:
    operations = 3 * limits.ENTRIES_PER_MESSAGE_MAX + 5
    group, _, away = group_with_a_laggard(operations)

    group.start(away)
    group.trust(away)
    group.run(1.0)

    assert group.services[away].bodies == group.services[group.first].bodies
    assert len(group.services[away].bodies) == operations


def test_a_laggard_catches_up_from_history_below_the_log() -> None:
    """VRR 5.2 with what checkpoints took out of memory."""
    group, _, away = group_with_a_laggard(100, options=ReplicaOptions(log_margin_ops=0))
    for index in range(3):
        if index != away:
            op = group.replica(index).applied_op
            group.disks[index].checkpoint = group.replica(index).checkpoint()
            group.replica(index).checkpoint_done(op, group.now)
    assert state_of(group, group.first).log.base_op == 101

    group.start(away)
    group.trust(away)
    group.run(2.0)

    assert group.services[away].bodies == group.services[group.first].bodies


def test_a_laggard_that_missed_a_view_change_installs_in_bounded_memory() -> None:
    operations = 10 * limits.ENTRIES_PER_MESSAGE_MAX
    group, session, away = group_with_a_laggard(operations)
    group.crash(group.first)
    group.start(group.first)
    group.run(3.0)
    assert group.replica(group.first).view > group.view(0)

    group.start(away)
    group.trust(away)
    most = 0
    for _ in range(60):
        group.run(0.05)
        install = state_of(group, away).install
        most = max(most, 0 if install is None else len(install.bodies))

    assert most <= repair.INSTALL_WINDOW_OPS
    assert len(group.services[away].bodies) == operations
    assert group.replica(away).status is Status.NORMAL
    assert session


def test_a_new_primary_that_lags_fetches_what_is_committed_first() -> None:
    group = Group()
    session = group.register(group.first)
    new = group.configuration.primary_index(group.view(1))
    other = next(index for index in group.backups() if index != new)
    group.cut = {(group.first, new)}
    for number in range(1, 30):
        group.submit(group.first, request(session, number))
        group.settle()
    assert group.services[new].bodies == []
    group.crash(group.first)
    group.cut = set()
    group.suspect(group.first)

    group.run(3.0)

    assert len(group.services[new].bodies) == len(group.services[other].bodies) == 29
    assert any(group.replica(index).is_primary for index in (new, other))


def test_uncommitted_operations_of_a_dead_view_are_replaced_by_identity() -> None:
    """Identity is (op, checksum), never op alone."""
    group = Group()
    session = group.register(group.first)
    group.cut = {(group.first, other) for other in range(3)}
    for number in (1, 2, 3):
        group.submit(group.first, request(session, number, b"old %d" % number))
        group.collect(group.first)
    group.sync(group.first)
    group.suspect(group.first)
    group.settle()
    new = group.configuration.primary_index(group.view(1))
    for number in (1, 2, 3):
        group.submit(new, request(session, number, b"new %d" % number))
    group.settle()

    group.cut = set()
    group.replica(group.first).forget(request(session, 1).client, session)  # type: ignore[arg-type]  # a number is a number
    group.trust(group.first)
    group.run(3.0)

    assert [service.bodies for service in group.services] == [[b"new 1", b"new 2", b"new 3"]] * 3


def test_what_is_wanted_by_identity_is_given_only_as_that() -> None:
    group, _, _ = group_with_a_laggard(3)
    primary = state_of(group, group.first)
    asker = ReplicaIndex(group.backups()[0])
    right = primary.log.checksum(OpNumber(2))
    assert right is not None

    for wanted in (Checksum(b"?" * 16), right):
        message = GetEntries(view=group.view(0), replica=asker, wanted=((OpNumber(2), wanted),))
        group.replica(group.first).step(message, group.now)
    group.collect(group.first)

    answers = [decode(data) for _, _, data in group.packets]
    given = [message for message in answers if isinstance(message, Entries)]
    assert len(given) == 1


def test_only_committed_operations_are_given_without_identity_to_another_view() -> None:
    group, session, _ = group_with_a_laggard(2)
    group.cut = {(group.first, other) for other in range(3)}
    group.submit(group.first, request(session, 3))
    group.settle()
    primary = group.replica(group.first)
    assert (primary.commit_number, primary.head_op) == (3, 4)
    wanted = ((OpNumber(3), repair.NO_CHECKSUM), (OpNumber(4), repair.NO_CHECKSUM))

    primary.step(GetEntries(view=group.view(1), replica=ReplicaIndex(group.backups()[0]), wanted=wanted), group.now)
    group.collect(group.first)

    given = [message for _, _, data in group.packets if isinstance(message := decode(data), Entries)]
    assert [len(message.data) for message in given] == [1]


def test_damaged_entries_are_dropped_and_counted() -> None:
    group, _, _ = group_with_a_laggard(2)
    backup = next(index for index in group.backups() if group.replicas[index] is not None)
    message = Entries(view=group.view(0), replica=ReplicaIndex(group.first), data=(b"rubbish",))

    group.replica(backup).step(message, group.now)

    assert group.replica(backup).dropped["entries_undecodable"] == 1


def test_of_what_is_wanted_with_gaps_the_first_part_is_read_from_history() -> None:
    """Who held some of it asked for more than the span that is answered, got nothing, and asked for ever."""
    group, _, _ = group_with_a_laggard(2)
    asker = ReplicaIndex(group.backups()[0])
    state = state_of(group, group.first)
    state.log = Log(OpNumber(500), Checksum(bytes(16)))
    span = limits.ENTRIES_PER_MESSAGE_MAX
    wanted = tuple((OpNumber(op), repair.NO_CHECKSUM) for op in (27, 30, 27 + span, 29 + span))

    repair.on_get_entries(state, GetEntries(view=state.view, replica=asker, wanted=wanted))

    read = state.effects.history_reads[0]
    assert (read.first_op, read.last_op) == (27, 26 + span)


@pytest.mark.parametrize("op", [0, 2**60])
def test_wanting_what_cannot_be_changes_nothing(op: int) -> None:
    group, _, _ = group_with_a_laggard(2)
    asker = ReplicaIndex(group.backups()[0])

    message = GetEntries(view=group.view(0), replica=asker, wanted=((OpNumber(op), repair.NO_CHECKSUM),))
    group.replica(group.first).step(message, group.now)

    ready = group.replica(group.first).ready(group.now)
    assert ready is None or not (ready.history_reads or ready.send_now)


def test_a_prepare_of_another_chain_is_dropped_not_appended() -> None:
    """Defect 17: the chain decides, and peer input never breaks us."""
    group, _, _ = group_with_a_laggard(1)
    back = next(index for index in group.backups() if group.replicas[index] is not None)
    state = state_of(group, back)
    entry = make_entry(
        view=state.view, op=OpNumber(state.head_op + 1), commit=OpNumber(0), parent=Checksum(b"?" * 16), timestamp_us=1,
        requests=[],
    )  # fmt: skip
    head = state.head_op

    group.replica(back).step(
        Prepare(view=state.view, replica=ReplicaIndex(group.first), commit=OpNumber(0), data=entry.data), group.now
    )

    assert state.head_op == head
    assert group.replica(back).dropped["entry_of_other_chain"] == 1


def test_bodies_far_ahead_of_the_install_are_not_kept() -> None:
    group, _, _ = group_with_a_laggard(1)
    state = state_of(group, group.first)
    install = Install(
        view=state.view, head_op=OpNumber(10**6), commit=OpNumber(10**6), commit_checksum=Checksum(b"c" * 16), headers={},
        keep_op=OpNumber(0), bodies={}, sources=[], known_commit=OpNumber(0),
    )  # fmt: skip
    far = make_entry(
        view=state.view, op=OpNumber(repair.INSTALL_WINDOW_OPS + 1), commit=OpNumber(0), parent=Checksum(b"p" * 16),
        timestamp_us=1, requests=[],
    )  # fmt: skip

    assert not repair.take_bodies(state, install, [far], commit=far.op)
    assert install.bodies == {}


def test_what_its_sender_does_not_know_committed_is_not_taken_for_it() -> None:
    """An answer of the primary of an earlier view comes late: its log goes on where another one was committed."""
    group, _, _ = group_with_a_laggard(1)
    state = state_of(group, group.first)
    install = Install(
        view=state.view, head_op=OpNumber(9), commit=OpNumber(9), commit_checksum=Checksum(b"c" * 16), headers={},
        keep_op=OpNumber(0), bodies={}, sources=[], known_commit=OpNumber(0),
    )  # fmt: skip
    entry = make_entry(
        view=state.view, op=OpNumber(2), commit=OpNumber(0), parent=Checksum(b"p" * 16), timestamp_us=1, requests=[]
    )

    assert not repair.take_bodies(state, install, [entry], commit=OpNumber(1))
    assert install.bodies == {}
    assert repair.take_bodies(state, install, [entry], commit=OpNumber(2))
