"""The state that sub-protocols share."""

from __future__ import annotations

import pytest

from tests.vr.group import Group
from vr.messages import GetView
from vr.state import ReplicaState
from vr.types import OpNumber, ReplicaIndex


def make() -> ReplicaState:
    group = Group(3)
    return group.replica(group.first)._state


def test_a_primary_serves_only_with_a_durable_view() -> None:
    group = Group(3)
    state = group.replica(group.first)._state
    assert state.is_primary
    assert not state.is_serving

    group.settle()

    assert state.is_serving


def test_the_commit_number_never_goes_back() -> None:
    state = make()
    state.raise_commit(OpNumber(5))

    state.raise_commit(OpNumber(3))

    assert state.commit_number == 5


def test_broadcast_shares_one_object_and_spares_ourselves() -> None:
    state = make()
    message = GetView(view=state.view, replica=state.index, nonce=1)

    state.broadcast(message)

    assert [to for to, _ in state.effects.send_now] == state.others
    assert all(sent is message for _, sent in state.effects.send_now)


def test_nobody_talks_to_himself() -> None:
    state = make()

    with pytest.raises(AssertionError):
        state.send(state.index, GetView(view=state.view, replica=ReplicaIndex(0), nonce=1))


def test_dropped_inputs_are_counted_by_cause() -> None:
    state = make()

    state.drop("noise")
    state.drop("noise")

    assert state.dropped["noise"] == 2
