"""Whom to suspect, and when."""

from __future__ import annotations

from vr.liveness import LivenessOptions, NodeLiveness

OPTIONS = LivenessOptions(heartbeat_s=0.25, suspect_after_s_min=1.0, suspect_after_s_max=2.0)


def make() -> NodeLiveness[str]:
    return NodeLiveness(10.0, ["b", "c"], options=OPTIONS, seed=1)


def test_everybody_is_trusted_for_a_period_of_grace() -> None:
    liveness = make()

    change = liveness.tick(10.9)

    assert change.suspected == ()
    assert not liveness.is_suspected("b")


def test_a_silent_peer_is_suspected_within_two_seconds_once() -> None:
    liveness = make()
    suspected: list[str] = []
    for now in (10.25, 10.5, 10.75, 11.0, 11.25, 11.5, 11.75, 12.0):
        liveness.on_heard("c", now)
        suspected += liveness.tick(now).suspected

    assert suspected == ["b"]
    assert liveness.tick(12.1).suspected == ()
    assert liveness.is_suspected("b")


def test_a_reset_connection_is_suspicion_at_once() -> None:
    liveness = make()

    liveness.on_disconnected("c", 10.1)

    assert liveness.next_deadline() <= 10.1
    assert liveness.tick(10.1).suspected == ("c",)


def test_whoever_is_heard_is_trusted_again() -> None:
    liveness = make()
    liveness.on_disconnected("c", 10.1)
    liveness.tick(10.1)

    liveness.on_heard("c", 10.2)

    assert liveness.tick(10.2).trusted == ("c",)
    assert not liveness.is_suspected("c")


def test_heartbeats_are_due_at_their_interval() -> None:
    liveness = make()

    due = [liveness.tick(10.0 + step * 0.05).heartbeat_due for step in range(11)]

    assert due.count(True) == 3
    assert due[0]


def test_a_stranger_is_neither_heard_nor_suspected() -> None:
    liveness = make()

    liveness.on_heard("z", 10.0)
    liveness.on_disconnected("z", 10.0)

    assert not liveness.is_suspected("z")
    assert liveness.tick(10.0).suspected == ()


def test_who_was_away_itself_gives_the_others_time_to_speak() -> None:
    """A stalled process finds everybody silent: it was not listening."""
    liveness = make()
    liveness.tick(10.0)

    assert liveness.tick(15.0).suspected == ()
    liveness.on_heard("c", 15.3)

    suspected = [peer for step in range(1, 9) for peer in liveness.tick(15.0 + step / 4).suspected]
    assert suspected[0] == "b"
