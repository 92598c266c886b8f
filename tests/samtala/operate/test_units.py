from __future__ import annotations

import pytest

from samtala.operate.units import counted, milliseconds, size, span, view_name


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (64_000_000, "64 MB"), (7_654_000_000, "7.7 GB"), (9e15, "9000 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (11_520, "3 h 12 min"), (86_400 * 2 + 59, "2 d 0 h")],
)
def test_spans_show_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_unknown_time_is_shown_as_nothing() -> None:
    assert [milliseconds(value) for value in (None, 0.42, 12.3)] == ["", "0.4 ms", "12 ms"]


def test_one_is_singular() -> None:
    assert [counted(count, "room") for count in (0, 1, 2)] == ["0 rooms", "1 room", "2 rooms"]


def test_a_view_says_how_often_the_room_got_other_servers() -> None:
    assert [view_name(view) for view in (7, (2 << 32) + 5)] == ["7", "2.5"]
