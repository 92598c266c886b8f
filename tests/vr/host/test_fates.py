"""Who is told about a peer's fate, and when."""

from __future__ import annotations

import math

from tests.vr.host.cluster import hosted
from vr.host.fates import Fate, Fates
from vr.host.hosted_group import HostedGroup
from vr.host.limits import HOT_S, WAKES_BURST_MAX, WAKES_PER_S
from vr.types import ReplicaIndex

PEER = ReplicaIndex(1)


def told(fates: Fates, now: float) -> list[tuple[HostedGroup, Fate]]:
    return [(group, fate) for group, _, fate in fates.due(now)]


def test_sleeping_groups_are_woken_a_few_at_a_time() -> None:
    fates = Fates()
    groups = [hosted(index) for index in range(WAKES_BURST_MAX + 100)]
    for group in groups:
        fates.tell(group, PEER, Fate.SUSPECTED, 0.0)

    assert len(told(fates, 1.0)) == WAKES_BURST_MAX
    assert told(fates, 1.0) == []
    assert 1.0 < fates.next_due(1.0) < 1.1
    assert len(told(fates, 1.0 + 50 / WAKES_PER_S)) == 50
    assert len(told(fates, 2.0)) == 50
    assert fates.next_due(2.0) == math.inf
    assert len(fates) == 0


def test_hot_groups_do_not_wait_for_sleeping_ones() -> None:
    fates = Fates()
    for index in range(2 * WAKES_BURST_MAX):
        fates.tell(hosted(index), PEER, Fate.SUSPECTED, 100.0)
    told(fates, 100.0)
    hot = hosted(0)
    hot.committed_at = 100.0
    fates.tell(hot, PEER, Fate.SUSPECTED, 100.0 + HOT_S / 2)

    assert fates.next_due(100.0 + HOT_S / 2) == 100.0 + HOT_S / 2
    assert told(fates, 100.0)[0] == (hot, Fate.SUSPECTED)


def test_what_comes_in_for_a_sleeping_group_brings_its_news_along() -> None:
    fates = Fates()
    first, second = hosted(0), hosted(1)
    for group in (first, second):
        fates.tell(group, PEER, Fate.SUSPECTED, 0.0)
        fates.tell(group, ReplicaIndex(2), Fate.CONNECTED, 0.0)

    assert [(index, fate) for _, index, fate in fates.take(second)] == [(1, Fate.SUSPECTED), (2, Fate.CONNECTED)]
    assert list(fates.take(second)) == []
    assert [group for group, _ in told(fates, 0.0)] == [first, first]


def test_a_peer_trusted_again_in_time_was_never_suspected() -> None:
    """A blip of a node with thousands of groups wakes only those that had their turn already."""
    fates = Fates()
    group = hosted(0)

    fates.tell(group, PEER, Fate.SUSPECTED, 0.0)
    fates.tell(group, PEER, Fate.TRUSTED, 0.1)

    assert len(fates) == 0
    assert told(fates, 1.0) == []


def test_of_opinions_the_last_counts_and_a_new_link_is_told_besides() -> None:
    fates = Fates()
    group = hosted(0)
    for fate in (Fate.TRUSTED, Fate.CONNECTED, Fate.SUSPECTED):
        fates.tell(group, PEER, fate, 0.0)

    assert [fate for _, fate in told(fates, 0.0)] == [Fate.SUSPECTED, Fate.CONNECTED]
