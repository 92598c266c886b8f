"""Where rooms are moved to; that nothing is lost on the way is seen in test_rounds.py."""

from __future__ import annotations

import random

from tests.multihost.faults import Kind
from tests.multihost.moves import SERVERS_MAX, next_places


def test_rooms_grow_by_two_shrink_by_two_and_go_elsewhere_as_they_are() -> None:
    rng = random.Random(1)
    for _ in range(50):
        assert set(next_places(Kind.GROW, (0, 1, 2), 6, rng)) > {0, 1, 2}
        assert len(next_places(Kind.GROW, (0, 1, 2), 6, rng)) == 5
        assert next_places(Kind.MOVE, (0, 1, 2), 6, rng) == (3, 4, 5)
        assert set(next_places(Kind.SHRINK, (0, 2, 4), 6, rng)) < {0, 2, 4}
        mixed = next_places(Kind.MOVE, (0, 1, 2, 3, 4), 6, rng)
        assert len(set(mixed)) == 5
        assert 5 in mixed


def test_rooms_have_one_server_at_least_and_seven_at_most() -> None:
    rng = random.Random(1)

    assert len(next_places(Kind.SHRINK, (3,), 6, rng)) == 1
    assert len(next_places(Kind.GROW, tuple(range(6)), 9, rng)) == SERVERS_MAX
    assert next_places(Kind.GROW, (0, 1, 2), 3, rng) == (0, 1, 2)
