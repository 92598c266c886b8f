"""The search for a legal order: right about hand-made histories, and the same as trying every order."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vr.simulator import linearizability
from vr.simulator.linearizability import Call, check_calls, step_counter, step_register, windows


def write(value: int, called: int, returned: int | None) -> Call:
    return Call("write", value, None, called, returned)


def read(value: int, called: int, returned: int) -> Call:
    return Call("read", None, value, called, returned)


def put(number: int, called: int, returned: int | None) -> Call:
    return Call("put", number, None, called, returned)


GOOD = {
    "one after the other": [write(1, 0, 1), read(1, 2, 3)],
    "a read beside a write may see it": [write(1, 0, 9), read(1, 2, 3)],
    "or not": [write(1, 0, 9), read(0, 2, 3)],
    "a read ends when the next call begins": [write(1, 0, 5), read(0, 5, 6)],
    "nobody knows whether it happened: it did, late": [write(1, 0, None), read(0, 2, 3), read(1, 4, 5)],
    "it never did": [write(1, 0, None), read(0, 2, 3), read(0, 100, 101)],
    "a write that changes nothing is needed after another": [
        write(1, 0, 1),
        write(1, 2, 9),
        write(2, 2, 9),
        read(1, 10, 11),
    ],
}
BAD = {
    "a stale read": [write(1, 0, 1), read(0, 2, 3)],
    "a read of what nobody wrote": [write(1, 0, 1), read(7, 2, 3)],
    "back and forth": [write(1, 0, 9), read(1, 1, 2), read(0, 3, 4)],
    "lost": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "unknown, seen, and gone again": [write(1, 0, None), read(1, 2, 3), read(0, 4, 5)],
    "an unknown one before it was called": [read(1, 0, 1), write(1, 2, None)],
    "two readers who disagree about the order": [
        write(1, 0, 20), write(2, 0, 20), read(1, 21, 22), read(2, 23, 24), read(1, 25, 26),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_legal_history_has_an_order(name: str) -> None:
    assert check_calls(GOOD[name], 0, step_register).culprit is None


@pytest.mark.parametrize("name", BAD)
def test_an_illegal_history_has_none(name: str) -> None:
    assert check_calls(BAD[name], 0, step_register).culprit is not None


def test_the_window_that_nothing_explains_is_named() -> None:
    calls = [write(1, 0, 1), read(1, 2, 3), write(2, 10, 11), read(1, 12, 13)]

    culprit = check_calls(calls, 0, step_register).culprit

    assert culprit is not None
    assert culprit.known == [read(1, 12, 13)]


def test_puts_of_a_session_happen_once_and_in_order() -> None:
    side_by_side = [put(2, 0, 9), put(1, 0, 9), put(3, 0, None)]

    assert check_calls([*side_by_side, read(2, 10, 11), read(3, 12, 13)], 0, step_counter).culprit is None
    assert check_calls([*side_by_side, read(1, 10, 11)], 0, step_counter).culprit is not None
    assert check_calls([put(2, 0, 9), read(2, 10, 11)], 0, step_counter).culprit is not None


def test_a_history_is_cut_where_nothing_is_under_way() -> None:
    calls = [write(1, 0, 5), read(1, 3, 8), write(2, 4, None), read(1, 9, 10), write(3, 20, 21)]

    found = list(windows(calls))

    assert [window.known for window in found] == [[write(1, 0, 5), read(1, 3, 8)], [read(1, 9, 10)], [write(3, 20, 21)]]
    assert [len(window.unknown) for window in found] == [1, 0, 0]


def test_a_window_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizability, "STEPS_MAX", 100)
    calls = [write(value, 0, 100) for value in range(1, 20)]

    assert check_calls([*calls, read(77, 1, 99)], 0, step_register) == linearizability.Verdict(given_up=1)


def has_order(calls: list[Call], start: int) -> bool:
    """The definition: some order of all known calls and any of the unknown ones respects time and the register."""
    return any(
        _is_legal(order, start) and all(call in order for call in calls if call.returned is not None)
        for count in range(len(calls) + 1)
        for order in permutations(calls, count)
    )


def _is_legal(order: tuple[Call, ...], start: int) -> bool:
    state: object = start
    for place, call in enumerate(order):
        if any(later.returned is not None and later.returned < call.called for later in order[place + 1 :]):
            return False
        state = step_register(state, call)
        if state is None:
            return False
    return True


@st.composite
def some_calls(draw: st.DrawFn) -> list[Call]:
    calls: list[Call] = []
    for number in range(draw(st.integers(1, 6))):
        called = draw(st.integers(0, 12)) * 10 + number  # no two alike: calls are told apart by when they began
        length = draw(st.integers(1, 60))
        value = draw(st.integers(0, 2))
        if draw(st.booleans()):
            calls.append(write(value, called, draw(st.sampled_from([called + length, None]))))
        else:
            calls.append(read(value, called, called + length))
    return calls


@given(some_calls())
def test_it_agrees_with_trying_every_order(calls: list[Call]) -> None:
    assert (check_calls(calls, 0, step_register).culprit is None) == has_order(calls, 0)
