from __future__ import annotations

import pytest

from client import connection_limits as limits
from client.liveness import Liveness, Verdict


def waiting(now: float = 0.0, *, connect_s: float = 0.0) -> Liveness:
    liveness = Liveness(now, connect_s=connect_s)
    liveness.wait(now, True)
    return liveness


def test_idle_connection_is_asked_after_a_long_silence_only() -> None:
    liveness = Liveness(100.0)

    assert liveness.check(100.0 + limits.PING_WAITING_S) is Verdict.WAIT
    assert liveness.due == 100.0 + limits.PING_IDLE_S
    assert liveness.check(100.0 + limits.PING_IDLE_S) is Verdict.ASK


def test_server_that_does_not_answer_is_given_up() -> None:
    liveness = waiting()
    asked_at = limits.PING_WAITING_S

    assert liveness.check(asked_at) is Verdict.ASK
    assert liveness.check(asked_at + 0.1) is Verdict.WAIT
    assert liveness.due == asked_at + limits.ANSWER_WAITING_S_MIN
    assert liveness.check(asked_at + limits.ANSWER_WAITING_S_MIN) is Verdict.GIVE_UP


def test_idle_server_gets_more_time() -> None:
    liveness = Liveness(0.0)
    liveness.check(limits.PING_IDLE_S)

    assert liveness.check(limits.PING_IDLE_S + limits.ANSWER_WAITING_S_MIN) is Verdict.WAIT
    assert liveness.check(limits.PING_IDLE_S + limits.ANSWER_IDLE_S) is Verdict.GIVE_UP


def test_any_bytes_are_an_answer() -> None:
    liveness = waiting()
    liveness.check(limits.PING_WAITING_S)
    liveness.heard_at = 1.0

    assert liveness.check(1.0) is Verdict.WAIT
    assert liveness.due == 1.0 + limits.PING_WAITING_S


def test_an_answer_brings_the_next_look_forward() -> None:
    liveness = Liveness(0.0)
    liveness.check(limits.PING_IDLE_S)
    assert liveness.due == limits.PING_IDLE_S + limits.ANSWER_IDLE_S

    liveness.heard_at = limits.PING_IDLE_S + 0.1

    assert liveness.due == 2 * limits.PING_IDLE_S + 0.1


def test_a_question_after_a_quiet_time_is_not_overdue_at_once() -> None:
    liveness = Liveness(0.0)

    liveness.wait(4.0, True)

    assert liveness.due == 4.0 + limits.PING_WAITING_S
    liveness.wait(4.1, False)
    assert liveness.due == limits.PING_IDLE_S


@pytest.mark.parametrize(
    ("connect_s", "patience_s"),
    [(0.01, limits.ANSWER_WAITING_S_MIN), (0.5, 1.5), (2.5, limits.ANSWER_WAITING_S_MAX)],
)
def test_a_slow_path_gets_more_time(connect_s: float, patience_s: float) -> None:
    liveness = waiting(connect_s=connect_s)
    liveness.check(limits.PING_WAITING_S)

    assert liveness.due == limits.PING_WAITING_S + patience_s


@pytest.mark.parametrize("quiet_s", [0.0, 4.9])
def test_silent_server_is_known_soon_after_a_question(quiet_s: float) -> None:
    liveness = Liveness(0.0)
    now = quiet_s
    liveness.wait(now, True)
    while liveness.check(now) is not Verdict.GIVE_UP:
        now = max(now, liveness.due)

    assert now - quiet_s <= 1.25
