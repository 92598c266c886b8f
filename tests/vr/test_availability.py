"""What a sick link, a deaf node, a hanging disk cost: how many views, and who is served meanwhile.

Replicas here have the nodes' heartbeats and suspicions of the real host; views are counted, because each one stops the room.
"""

from __future__ import annotations

import pytest

from tests.vr.group import Group, request
from vr.liveness import NodeLiveness
from vr.messages import StartViewChange, decode
from vr.standstill import StandstillReason
from vr.types import ReplicaIndex, SessionNumber

STEP_S = 0.05


class LivingGroup(Group):
    """A group whose nodes beat, suspect and trust; `cut` takes heartbeats as well. A restarted node begins anew."""

    def __init__(self, size: int = 3) -> None:
        super().__init__(size)
        self.opinions = [self._opinion(index) for index in range(size)]
        self.session = self.register(self.first)
        self.requests = 0
        self.advice = 0

    def _opinion(self, index: int) -> NodeLiveness[ReplicaIndex]:
        others = [ReplicaIndex(other) for other in range(self.configuration.size) if other != index]
        return NodeLiveness(self.now, others, seed=index)

    def live(self, seconds: float) -> None:
        """Let time pass for replicas and nodes."""
        for _ in range(round(seconds / STEP_S)):
            for index in range(self.configuration.size):
                self._beat(index)
            self.advice += sum(isinstance(decode(data), StartViewChange) for _, _, data in self.packets)
            self.run(STEP_S)

    def _beat(self, index: int) -> None:
        replica = self.replicas[index]
        if replica is None:
            return
        change = self.opinions[index].tick(self.now)
        for other in change.suspected:
            replica.suspect(other, self.now)
        for other in change.trusted:
            replica.trust(other, self.now)
        if change.heartbeat_due:
            for other in range(self.configuration.size):
                if other != index and (index, other) not in self.cut:
                    self.opinions[other].on_heard(ReplicaIndex(index), self.now)

    def restart(self, index: int) -> None:
        self.crash(index)
        self.start(index)
        self.opinions[index] = self._opinion(index)

    def ask(self, index: int) -> None:
        self.requests += 1
        self.submit(index, request(self.session, self.requests))

    def answered(self, index: int) -> int:
        return len({reply.number for reply in self.replies[index]} - {0})

    def views(self) -> int:
        """Views since the first, of whoever is furthest."""
        first = self.configuration.initial_view()
        return max(replica.view for replica in self.replicas if replica is not None) - first

    def isolate(self, index: int, *, deaf: bool = True, mute: bool = True) -> None:
        for other in range(self.configuration.size):
            if other != index:
                self.cut |= ({(other, index)} if deaf else set()) | ({(index, other)} if mute else set())


@pytest.mark.parametrize(("deaf", "mute"), [(True, False), (False, True), (True, True)])
def test_a_primary_cut_off_in_either_direction_costs_one_view(deaf: bool, mute: bool) -> None:
    """A deaf primary still beats: only its own want of acknowledgements, or a client's patience, unseats it."""
    group = LivingGroup()
    group.isolate(group.first, deaf=deaf, mute=mute)
    group.ask(group.backups()[0])

    group.live(8.0)

    assert group.answered(group.backups()[0]) == 1
    assert 1 <= group.views() <= 2
    group.cut = set()
    group.live(2.0)
    assert {group.replica(index).log_view for index in range(3)} == {group.view(group.views())}


@pytest.mark.parametrize("size", [3, 5])
def test_a_deaf_backup_disturbs_nobody(size: int) -> None:
    """It suspects everybody and says so: defect 7 of VRR would follow it from view to view."""
    group = LivingGroup(size)
    group.isolate(group.backups()[0], mute=False)

    for _ in range(20):
        group.ask(group.first)
        group.live(1.0)

    assert group.answered(group.first) == 20
    assert group.views() == 0


def test_a_backup_cut_off_from_the_primary_alone_disturbs_nobody() -> None:
    group = LivingGroup()
    lonely = group.backups()[0]
    group.cut = {(lonely, group.first), (group.first, lonely)}

    for _ in range(20):
        group.ask(group.first)
        group.live(1.0)

    assert group.answered(group.first) == 20
    assert group.views() == 0


def test_a_primary_whose_disk_hangs_makes_room() -> None:
    """Its node beats on, and the backups' disks commit without it: only the primary itself can tell."""
    group = LivingGroup()
    group.held_disks = {group.first}
    backup = group.backups()[0]
    group.ask(backup)

    group.live(6.0)
    group.ask(backup)
    group.live(1.0)

    assert group.answered(backup) == 2
    assert group.views() == 1


def test_a_backup_whose_disk_hangs_costs_nothing() -> None:
    group = LivingGroup()
    group.held_disks = {group.backups()[0]}

    for _ in range(10):
        group.ask(group.first)
        group.live(1.0)

    assert group.answered(group.first) == 10
    assert group.views() == 0


def test_a_flapping_link_does_not_unseat_the_primary() -> None:
    group = LivingGroup()
    lonely = group.backups()[0]
    for turn in range(30):
        group.cut = {(lonely, group.first), (group.first, lonely)} if turn % 2 else set()
        group.ask(group.first)
        group.live(0.7)

    assert group.answered(group.first) == 30
    assert group.views() == 0


def test_a_backup_that_dies_again_and_again_costs_no_view() -> None:
    group = LivingGroup()
    for _ in range(10):
        group.restart(group.backups()[0])
        group.ask(group.first)
        group.live(1.5)

    assert group.answered(group.first) == 10
    assert group.views() == 0


def test_a_primary_that_flaps_loses_its_office_once_per_long_absence() -> None:
    group = LivingGroup()
    for _ in range(5):
        primary = next(index for index in range(3) if group.replica(index).is_primary)
        group.isolate(primary)
        group.live(4.0)
        group.cut = set()
        group.live(4.0)

    assert 5 <= group.views() <= 7


def test_without_a_majority_nobody_runs_through_views() -> None:
    """A minute alone: no view, and advice now and then, not in a flood."""
    group = LivingGroup()
    alone = group.backups()[0]
    group.crash(group.first)
    group.crash(group.backups()[1])
    group.live(60.0)

    assert group.views() == 0
    assert group.advice <= 60 * 2 * 5
    standstill = group.replica(alone).why_not_progressing()
    assert standstill is not None
    assert standstill.reason is StandstillReason.NO_MAJORITY


def test_a_majority_that_cannot_agree_for_long_tries_ever_less_often() -> None:
    """Votes arrive, the new primary's word does not: attempts back off."""
    group = LivingGroup()
    group.crash(group.first)
    one, other = group.backups()
    group.live(3.0)
    assert group.views() == 1
    leader = next(index for index in (one, other) if group.replica(index).is_primary)
    group.held_disks = {one, other}
    group.ask(leader)
    group.live(120.0)

    assert group.views() <= 14


def test_a_session_is_served_through_whatever_happens() -> None:
    group = LivingGroup(5)
    assert group.session != SessionNumber(0)
    for turn in range(12):
        victim = turn % 5
        group.cut = set()
        group.isolate(victim, deaf=turn % 2 == 0, mute=turn % 3 == 0)
        place = next(index for index in range(5) if index != victim)
        group.ask(place)
        group.live(6.0)

    group.cut = set()
    group.live(10.0)
    assert {len(service.bodies) for service in group.services} == {12}
    assert group.views() <= 24
