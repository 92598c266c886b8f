from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from room_server import limits
from room_server.announce_plan import AnnouncePlan
from wire.ids import RoomId

A, B = RoomId(b"a" * 16), RoomId(b"b" * 16)


def test_nothing_is_due_without_rooms() -> None:
    plan = AnnouncePlan()

    assert plan.next_deadline() == math.inf
    assert plan.take_due(1e9, count_max=9) == []
    assert plan.oldest_age_s(5.0) == 0


def test_first_replica_announces_at_once_and_the_others_after_it() -> None:
    plan = AnnouncePlan()
    plan.add(A, 10.0, place=0)
    plan.add(B, 10.0, place=2)

    assert plan.take_due(10.0, count_max=9) == [A]
    assert plan.next_deadline() == 10.0 + 2 * limits.ANNOUNCE_STAGGER_S


def test_room_added_twice_is_announced_once() -> None:
    plan = AnnouncePlan()
    plan.add(A, 0.0, place=0)
    plan.add(A, 0.0, place=0)

    assert plan.take_due(1.0, count_max=9) == [A]
    assert plan.take_due(1e9, count_max=9) == []


def test_failure_is_retried_soon_and_ages_the_record() -> None:
    plan = AnnouncePlan()
    plan.add(A, 0.0, place=0)
    plan.take_due(0.0, count_max=9)

    plan.done(A, 100.0, succeeded=False, random01=0.5)

    assert plan.next_deadline() == 100.0 + limits.ANNOUNCE_RETRY_S
    assert plan.oldest_age_s(100.0) == 100.0


@given(st.floats(0, 1, exclude_max=True))
def test_success_comes_again_within_ten_percent_of_an_hour(random01: float) -> None:
    plan = AnnouncePlan()
    plan.add(A, 0.0, place=0)
    plan.take_due(0.0, count_max=9)

    plan.done(A, 1.0, succeeded=True, random01=random01)

    assert 3239.99 <= plan.next_deadline() - 1.0 <= 3960.01
    assert plan.oldest_age_s(2.0) == 1.0


@given(st.lists(st.integers(0, 255), unique=True, max_size=30), st.integers(1, 7))
def test_every_room_is_taken_exactly_once_in_bounded_lots(numbers: list[int], count_max: int) -> None:
    plan = AnnouncePlan()
    for number in numbers:
        plan.add(RoomId(bytes([number]) * 16), 0.0, place=number % 3)

    taken: list[RoomId] = []
    while lot := plan.take_due(1e6, count_max=count_max):
        assert len(lot) <= count_max
        taken += lot

    assert sorted(taken) == [RoomId(bytes([number]) * 16) for number in sorted(numbers)]


def test_dropped_room_is_announced_no_more() -> None:
    plan = AnnouncePlan()
    for room_id in (A, B):
        plan.add(room_id, 0.0, place=0)
    [taken] = plan.take_due(0.0, count_max=1)

    plan.drop(taken)
    plan.done(taken, 1.0, succeeded=True, random01=0.5)

    other = B if taken == A else A
    assert plan.take_due(1e9, count_max=9) == [other]
    assert len(plan) == 1
