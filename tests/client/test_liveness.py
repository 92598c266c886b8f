from __future__ import annotations

from client import connection_limits as limits
from client.liveness import Liveness, Verdict


def test_idle_connection_is_asked_after_a_long_silence_only() -> None:
    liveness = Liveness(100.0)

    assert liveness.check(100.0 + limits.PING_WAITING_S, is_waiting=False) is Verdict.WAIT
    assert liveness.due(is_waiting=False) == 100.0 + limits.PING_IDLE_S
    assert liveness.check(100.0 + limits.PING_IDLE_S, is_waiting=False) is Verdict.ASK


def test_server_that_does_not_answer_is_given_up() -> None:
    liveness = Liveness(0.0)
    asked_at = limits.PING_WAITING_S

    assert liveness.check(asked_at, is_waiting=True) is Verdict.ASK
    assert liveness.check(asked_at + 0.1, is_waiting=True) is Verdict.WAIT
    assert liveness.due(is_waiting=True) == asked_at + limits.ANSWER_WAITING_S
    assert liveness.check(asked_at + limits.ANSWER_WAITING_S, is_waiting=True) is Verdict.GIVE_UP


def test_idle_server_gets_more_time() -> None:
    liveness = Liveness(0.0)
    liveness.check(limits.PING_IDLE_S, is_waiting=False)

    assert liveness.check(limits.PING_IDLE_S + limits.ANSWER_WAITING_S, is_waiting=False) is Verdict.WAIT
    assert liveness.check(limits.PING_IDLE_S + limits.ANSWER_IDLE_S, is_waiting=False) is Verdict.GIVE_UP


def test_any_bytes_are_an_answer() -> None:
    liveness = Liveness(0.0)
    liveness.check(limits.PING_WAITING_S, is_waiting=True)
    liveness.heard_at = 1.0

    assert liveness.check(1.0, is_waiting=True) is Verdict.WAIT
    assert liveness.due(is_waiting=True) == 1.0 + limits.PING_WAITING_S


def test_an_answer_brings_the_next_look_forward() -> None:
    liveness = Liveness(0.0)
    liveness.check(limits.PING_IDLE_S, is_waiting=False)
    assert liveness.due(is_waiting=False) == limits.PING_IDLE_S + limits.ANSWER_IDLE_S

    liveness.heard_at = limits.PING_IDLE_S + 0.1

    assert liveness.due(is_waiting=False) == 2 * limits.PING_IDLE_S + 0.1


def test_silent_server_is_known_within_three_seconds_when_somebody_waits() -> None:
    liveness = Liveness(0.0)
    now = 0.0
    while liveness.check(now, is_waiting=True) is not Verdict.GIVE_UP:
        now = max(now, liveness.due(is_waiting=True))

    assert now <= 3.0
