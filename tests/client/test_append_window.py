"""Numbers are for ever, answers come once, what was not answered goes again."""

from __future__ import annotations

from client.append_window import AppendWindow
from wire import limits


def window_of(count: int) -> AppendWindow[str]:
    window: AppendWindow[str] = AppendWindow()
    window.opened(256)
    for number in range(1, count + 1):
        window.offer(b"block %d" % number, f"token {number}")
    return window


def test_blocks_get_numbers_in_order_and_travel_together() -> None:
    window = window_of(3)

    assert window.take(0.0) == [(1, (b"block 1", b"block 2", b"block 3"))]
    assert window.take(0.0) == []


def test_without_a_session_nothing_is_sent() -> None:
    window: AppendWindow[str] = AppendWindow()
    window.offer(b"block", "token")

    assert window.take(0.0) == []


def test_never_more_than_a_window_is_unanswered() -> None:
    window = window_of(limits.SESSION_WINDOW + 5)
    window.take(0.0)

    assert window.unanswered_count == limits.SESSION_WINDOW
    assert window.answered(256, 1) == "token 1"
    assert window.take(0.0) == [(limits.SESSION_WINDOW + 1, (b"block %d" % (limits.SESSION_WINDOW + 1),))]


def test_an_answer_counts_once_and_for_its_session_only() -> None:
    window = window_of(2)
    window.take(0.0)

    assert window.answered(512, 1) is None
    assert window.answered(256, 1) == "token 1"
    assert window.answered(256, 1) is None


def test_after_a_reconnection_everything_unanswered_goes_again_under_its_number() -> None:
    window = window_of(3)
    window.take(0.0)
    window.answered(256, 1)

    window.reconnected()

    assert window.take(0.0) == [(2, (b"block 2", b"block 3"))]


def test_refused_blocks_wait_as_long_as_they_are_told() -> None:
    window = window_of(3)
    window.take(0.0)

    window.refused(256, 2, retry_at=5.0)

    assert window.take(4.9) == []
    assert window.take(5.0) == [(2, (b"block 2", b"block 3"))]


def test_large_blocks_are_spread_over_frames() -> None:
    window: AppendWindow[int] = AppendWindow()
    window.opened(1)
    for place in range(3):
        window.offer(bytes(limits.COMMIT_BYTES_MAX), place)

    assert [number for number, _ in window.take(0.0)] == [1, 2, 3]


def test_a_lost_session_leaves_outcomes_unknown_but_not_what_waits() -> None:
    window = window_of(limits.SESSION_WINDOW + 1)
    window.take(0.0)

    lost = window.lose_session()
    window.opened(512)

    assert len(lost) == limits.SESSION_WINDOW
    assert window.take(0.0) == [(1, (b"block %d" % (limits.SESSION_WINDOW + 1),))]


def test_a_kept_session_goes_on_with_its_numbers() -> None:
    before = window_of(2)
    before.take(0.0)
    before.answered(256, 1)

    after: AppendWindow[str] = AppendWindow()
    after.restore(before.state(), ["kept"])
    after.offer(b"block 3", "new")

    assert after.take(0.0) == [(2, (b"block 2", b"block 3"))]
    assert after.answered(256, 2) == "kept"


def test_giving_up_tells_what_was_sent_from_what_was_not() -> None:
    window = window_of(limits.SESSION_WINDOW + 2)
    window.take(0.0)

    unknown, unsent = window.give_up()

    assert (len(unknown), len(unsent)) == (limits.SESSION_WINDOW, 2)
    assert window.is_idle
