from __future__ import annotations

from tests.vr.host.cluster import OWN, PEER, THIRD, hosted
from vr.host.fates import Fate
from vr.host.limits import WAKES_BURST_MAX
from vr.host.neighbours import Neighbours
from vr.host.peer_frame import HEARTBEAT, decode_peer_frame
from vr.liveness import LivenessOptions
from vr.types import ReplicaId


def neighbours(groups: int = 1) -> Neighbours:
    made = Neighbours(options=LivenessOptions(), seed=1)
    for index in range(groups):
        made.add_group(hosted(index), OWN, 0.0)
    made.tick(0.0, may_beat=True)
    return made


def fates(made: Neighbours) -> list[tuple[int, Fate]]:
    return [(index, fate) for _, index, fate in made.fates.due(100.0)]


def test_a_broken_link_is_suspicion_at_once_and_a_frame_ends_it() -> None:
    made = neighbours()

    made.on_disconnected(PEER, 0.1)
    assert made.next_tick <= 0.1
    made.tick(0.1, may_beat=True)
    assert fates(made) == [(1, Fate.SUSPECTED)]
    assert made.is_suspected(PEER)

    made.on_heard(PEER, 0.2)
    assert made.next_tick <= 0.2
    made.tick(0.2, may_beat=True)
    assert fates(made) == [(1, Fate.TRUSTED)]


def test_silence_is_suspicion_after_a_while() -> None:
    made = neighbours()
    for tenth in range(1, 30):
        now = tenth / 10
        made.on_heard(THIRD, now)
        made.tick(now, may_beat=True)

    assert fates(made) == [(1, Fate.SUSPECTED)]
    assert not made.is_suspected(THIRD)


def test_a_new_link_makes_replicas_say_again_what_the_old_one_lost() -> None:
    made = neighbours()

    made.on_connected(PEER, 0.1)

    assert fates(made) == [(1, Fate.CONNECTED)]


def test_heartbeats_go_to_whom_nothing_else_was_sent() -> None:
    made = neighbours()
    made.queue(PEER, (b"g" * 16, b"message"))
    assert [peer for peer, _ in made.frames(0.3)] == [PEER]

    assert made.tick(0.3, may_beat=True) == [(THIRD, HEARTBEAT)]
    assert made.tick(0.6, may_beat=False) == []


def test_messages_for_a_peer_share_a_frame() -> None:
    made = neighbours()
    for index in range(3):
        made.queue(PEER, (bytes([index]) * 16, b"message"))
    made.queue(THIRD, (b"g" * 16, b"message"))

    frames = dict(made.frames(0.0))

    assert len(decode_peer_frame(frames[PEER])) == 3
    assert len(decode_peer_frame(frames[THIRD])) == 1
    assert list(made.frames(0.0)) == []


def test_a_dead_node_is_told_to_many_groups_in_portions() -> None:
    made = neighbours(WAKES_BURST_MAX + 10)
    made.on_disconnected(PEER, 0.1)
    made.tick(0.1, may_beat=True)

    assert len(list(made.fates.due(0.1))) == WAKES_BURST_MAX
    assert len(list(made.fates.due(1.0))) == 10


def test_a_group_that_comes_later_learns_who_is_suspected() -> None:
    made = neighbours()
    made.on_disconnected(PEER, 0.1)
    made.tick(0.1, may_beat=True)
    fates(made)

    made.add_group(hosted(7), OWN, 0.2)

    assert fates(made) == [(1, Fate.SUSPECTED)]


def test_strangers_are_nobody() -> None:
    made = neighbours()
    stranger = ReplicaId(b"\xff" * 16)

    made.on_heard(stranger, 0.0)
    made.on_connected(stranger, 0.0)
    made.on_disconnected(stranger, 0.0)

    assert fates(made) == []
    assert not made.is_suspected(stranger)
