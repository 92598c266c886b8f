"""What goes to disk, and what may be said when it is there."""

from __future__ import annotations

import pytest

from tests.vr.group import Group, request
from vr import durability
from vr.messages import Commit, PrepareOk, StartView, decode
from vr.state import ReplicaState
from vr.types import OpNumber, ReplicaIndex


def fresh_state() -> ReplicaState:
    return Group(1).replica(0)._state


def test_the_first_write_carries_the_state() -> None:
    state = fresh_state()

    token, entries, meta = durability.take_write(state)

    assert (token, entries) == (1, [])
    assert meta is not None
    assert (meta.view, meta.log_view, meta.is_head_certain) == (state.view, state.view, True)
    assert durability.take_write(state) == (None, [], None), "nothing is written twice"


def test_tokens_complete_in_order() -> None:
    group = Group(1)
    group.held_disks = {0}
    session = request  # a register is enough: two writes are wanted
    group.submit(0, session(0, 0))  # type: ignore[arg-type]  # plain numbers
    group.collect(0)
    tokens = [ready.token for ready in group.disks[0].waiting]

    assert tokens == sorted(tokens)  # type: ignore[type-var]  # writes have tokens
    with pytest.raises(AssertionError):
        durability.keep_promise(group.replica(0)._state, 99)


def test_a_promise_shrinks_with_the_log() -> None:
    group = Group(3)
    session = group.register(group.first)
    group.held_disks = {group.first}
    for number in (1, 2):
        group.submit(group.first, request(session, number))
        group.collect(group.first)
    state = group.replica(group.first)._state
    assert max(promise.op for promise in state.promises) == 3

    state.log.truncate_above(OpNumber(2))
    state.forget_writes_above(OpNumber(2))

    assert max(promise.op for promise in state.promises) == 2
    assert state.unwritten_op == 3
    group.sync(group.first)
    assert state.durable_op == 2


def test_a_commit_alone_is_not_worth_a_write() -> None:
    group = Group(3)
    group.register(group.first)
    group.settle()
    state = group.replica(group.first)._state
    assert state.saved is not None
    assert state.saved.commit < state.commit_number

    assert not durability.is_state_dirty(state)


def test_asked_where_it_stands_a_backup_names_only_what_is_durable() -> None:
    """VRR 4.1 step 4: PrepareOk means stable storage, however often it is asked for."""
    group = Group(3)
    session = group.register(group.first)
    back = group.backups()[0]
    group.held_disks = {back}
    group.submit(group.first, request(session, 1))
    group.settle()
    state = group.replica(back)._state
    assert (state.head_op, state.durable_op) == (2, 1)

    ask = Commit(
        view=state.view, replica=ReplicaIndex(group.first), commit=OpNumber(1), head_op=OpNumber(2), want_answer=True
    )
    group.replica(back).step(ask, group.now)
    group.collect(back)

    answers = [message for _, _, data in group.packets if isinstance(message := decode(data), PrepareOk)]
    assert [answer.op for answer in answers] == [1]


def test_nothing_is_acknowledged_in_a_view_whose_log_is_not_durable() -> None:
    """Defect 11: a crash must not forget in which view we acknowledged."""
    group = Group(3)
    group.register(group.first)
    group.run(0.5)
    new = group.configuration.primary_index(group.view(1))
    back = next(index for index in group.backups() if index != new)
    log = group.replica(back)._state.log
    group.held_disks = {back}
    start_view = StartView(
        view=group.view(1), replica=ReplicaIndex(new), head_op=log.head_op, commit=log.head_op,
        commit_checksum=log.head_checksum, headers=b"",
    )  # fmt: skip

    group.replica(back).step(start_view, group.now)
    group.collect(back)
    assert group.replica(back).log_view == group.view(1)
    assert group.packets == []

    group.sync(back)
    group.collect(back)
    assert [type(decode(data)) for _, _, data in group.packets] == [PrepareOk]
