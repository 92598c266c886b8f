"""Chance from a seed."""

from __future__ import annotations

from vr.jitter import Jitter


def test_equal_seeds_give_equal_streams_and_others_do_not() -> None:
    one, same, other = Jitter(7), Jitter(7), Jitter(8)

    stream = [one.number() for _ in range(5)]

    assert stream == [same.number() for _ in range(5)]
    assert stream != [other.number() for _ in range(5)]


def test_between_stays_between_and_spreads() -> None:
    jitter = Jitter(1)

    drawn = [jitter.between(1.0, 2.0) for _ in range(200)]

    assert all(1.0 <= value <= 2.0 for value in drawn)
    assert max(drawn) - min(drawn) > 0.8
