from __future__ import annotations

from random import Random

import msgspec
import pytest

from tests.vr.epoch_world import EpochWorld, Talker, members
from vr.configuration import Configuration
from vr.log import Request
from vr.ready import RejectReason
from vr.reconfiguration import Refusal
from vr.replica import Replica, Status
from vr.types import ClientId, OpNumber, RequestNumber, SessionNumber


def started(count: int = 3, size: int = 3) -> EpochWorld:
    world = EpochWorld(count, size)
    world.run(1)
    return world


def primary_of(world: EpochWorld) -> Replica:
    primary = world.primary()
    assert primary is not None
    assert primary.replica is not None
    return primary.replica


def change(world: EpochWorld, configuration: Configuration, seconds: float = 3) -> None:
    """Begin an epoch, new machines included, and let it settle."""
    assert primary_of(world).reconfigure(configuration, world.now) is None
    world.run(seconds)
    assert world.epoch == configuration.epoch


def test_a_group_grows_moves_and_shrinks_and_nothing_is_lost() -> None:
    world, random = started(8, 3), Random(1)
    talker = Talker(world)
    for standbys, voters in [((3, 4), (0, 1, 2, 3, 4)), ((5, 6, 7), (5, 6, 7, 3, 4)), ((), (5, 6, 7))]:
        now = primary_of(world).configuration
        if standbys:
            change(world, now.successor(now.members, members(*standbys)))
            now = primary_of(world).configuration
        change(world, now.successor(members(*voters)))
        for _ in range(10):
            talker.act(random)
            world.run(0.2)

    assert primary_of(world).configuration.members == members(5, 6, 7)
    assert len(talker.acknowledged) >= 20
    for number in (5, 6, 7):
        assert world.machines[number].service.bodies[: len(talker.acknowledged)] == talker.acknowledged
    for number in (0, 1, 2):
        replica = world.machines[number].replica
        assert replica is not None
        assert replica.status is Status.RETIRED


def test_a_standby_has_the_log_and_no_vote() -> None:
    world, random = started(4, 3), Random(1)
    talker = Talker(world)
    now = primary_of(world).configuration
    change(world, now.successor(now.members, members(3)))
    for _ in range(10):
        talker.act(random)
        world.run(0.2)
    standby = world.machines[3]
    assert standby.service.bodies[: len(talker.acknowledged)] == talker.acknowledged

    for number in (0, 1):
        world.machines[number].crash()
        world.suspect(number, is_dead=True)
    before = list(world.committed)
    for _ in range(10):
        talker.act(random)
        world.run(0.5)

    assert list(world.committed) == before


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda now: now.successor(members(0, 1, 7)), Refusal.STRANGERS),
        (lambda now: msgspec.structs.replace(now.successor(now.members), epoch=5), Refusal.NOT_SUCCESSOR),
        (lambda now: msgspec.structs.replace(now.successor(now.members), lease_ms=9), Refusal.NOT_SUCCESSOR),
        (lambda now: now, Refusal.NOT_SUCCESSOR),
    ],
)
def test_what_is_no_next_configuration_is_refused(make: object, refusal: Refusal) -> None:
    world = started()
    assert callable(make)

    assert primary_of(world).reconfigure(make(primary_of(world).configuration), world.now) is refusal

    world.run(1)
    assert world.epoch == 0


def test_only_the_primary_begins_one_and_only_one_at_a_time() -> None:
    world = started()
    primary = primary_of(world)
    following = primary.configuration.successor(primary.configuration.members)
    backup = next(machine.replica for machine in world.machines if machine.replica is not primary)
    assert backup is not None

    assert backup.reconfigure(following, world.now) is Refusal.NOT_PRIMARY
    assert primary.reconfigure(following, world.now) is None
    assert primary.reconfigure(following, world.now) is Refusal.BUSY


def test_members_that_are_not_close_behind_close_the_gate() -> None:
    world, random = started(6, 3), Random(1)
    world.tells_standbys = False
    talker = Talker(world)
    now = primary_of(world).configuration
    assert primary_of(world).reconfigure(now.successor(now.members, members(3, 4, 5)), world.now) is None
    world.run(3)  # The standbys are not there yet.
    for _ in range(10):
        talker.act(random)
        world.run(0.2)

    now = primary_of(world).configuration
    following = now.successor(members(3, 4, 5))
    assert primary_of(world).reconfigure(following, world.now) is Refusal.NOT_READY
    for number in (3, 4, 5):
        world.join(number, now)
    world.run(3)

    assert primary_of(world).reconfigure(following, world.now) is None
    world.run(3)
    assert primary_of(world).configuration.members == members(3, 4, 5)


def test_nothing_follows_a_stop_sign_whoever_leads() -> None:
    """The primary dies with its stop sign prepared: the next one commits it, and what was asked for in between waits."""
    world, random = started(), Random(1)
    talker = Talker(world)
    for _ in range(5):
        talker.act(random)
        world.run(0.2)
    primary = world.primary()
    assert primary is not None
    assert primary.replica is not None
    now = primary.replica.configuration
    head = primary.replica.head_op
    assert primary.replica.reconfigure(now.successor(now.members), world.now) is None
    primary.collect()
    for packet in world.packets:
        next(machine for machine in world.machines if machine.id == packet[1]).receive(packet[0], packet[2])
    world.packets.clear()
    primary.crash()
    world.suspect(primary.number, is_dead=True)
    for _ in range(20):
        talker.act(random)
        world.run(0.3)

    assert world.epoch == 1
    stop = next(end for machine in world.machines for end in machine.ends)
    assert stop.op == head + 1
    assert len(talker.acknowledged) > 5


def test_who_slept_through_epochs_follows_by_entries_or_by_a_snapshot() -> None:
    for forgets in (False, True):
        world, random = started(4, 3), Random(1)
        talker = Talker(world)
        sleeper = world.machines[2]
        sleeper.crash()
        world.suspect(2, is_dead=True)
        for _ in range(3):
            now = primary_of(world).configuration
            change(world, now.successor(now.members))
            for _ in range(10):
                talker.act(random)
                world.run(0.2)
            for machine in world.machines[:2]:
                machine.checkpoint(forgets=forgets)

        sleeper.start()
        world.suspect(2, is_dead=False)
        for _ in range(10):
            talker.act(random)
            world.run(0.5)

        assert sleeper.configuration.epoch == 3
        assert sleeper.replica is not None
        assert sleeper.replica.applied_op == primary_of(world).applied_op
        assert sleeper.service.bodies[: len(talker.acknowledged)] == talker.acknowledged


def test_who_lost_its_whole_log_still_tells_how_its_epoch_began() -> None:
    """Nobody else knows: the other has the stop sign, and cannot know that it is committed (seed 176521599824154)."""
    world = started(2, 2)
    talker = Talker(world)
    talker.act(Random(1))
    world.run(0.5)
    primary = world.primary()
    assert primary is not None
    leader = primary_of(world)
    before = leader.commit_number
    now = leader.configuration
    assert leader.reconfigure(now.successor(now.members), world.now) is None
    while leader.commit_number == before:
        world.turn()
    primary.collect()
    primary.sync()
    primary.collect()
    world.packets.clear()  # It told the other, in vain.
    other = world.machines[1 - primary.number]
    assert (primary.configuration.epoch, other.configuration.epoch) == (1, 0)
    assert other.replica is not None
    assert other.replica.commit_number == before

    world.crash(primary.number)
    primary.lose_log()
    world.restart(primary.number)
    world.run(5)

    assert other.configuration.epoch == 1
    assert [machine.service.bodies for machine in world.machines] == [talker.acknowledged] * 2
    assert all(machine.replica.status is Status.NORMAL for machine in world.machines if machine.replica is not None)


def test_who_has_left_refuses_what_it_cannot_bring_to_anybody() -> None:
    world = started(4, 4)
    talker = Talker(world)
    talker.act(Random(1))
    world.run(0.5)
    change(world, primary_of(world).configuration.successor(members(0, 1, 2)))
    left = world.machines[3]
    assert left.replica is not None
    left.rejected.clear()

    register = Request(
        client=ClientId(b"another client.."), session=SessionNumber(0), number=RequestNumber(0), body=b"1"
    )
    left.replica.submit([register], world.now)
    left.collect()

    assert [rejected.reason for rejected in left.rejected] == [RejectReason.NEW_EPOCH]


def test_the_office_is_handed_over_in_one_view_change() -> None:
    world = started()
    primary = primary_of(world)
    target = next(index for index in range(3) if index != primary.index)

    assert primary.transfer_primary(type(primary.index)(target), world.now)
    world.run(0.1)

    assert primary_of(world).index == target
    assert all(machine.replica is not None and machine.replica.view_changes <= 1 for machine in world.machines)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_dies_while_members_change_what_was_acknowledged_stays(seed: int) -> None:
    """Random changes of the members, lost and late packets, crashes and restarts of a minority, checkpoints."""
    random = Random(seed)
    world = EpochWorld(12, 3)
    talker = Talker(world)
    for _ in range(60):
        talker.act(random)
        world.run(0.05 * random.randint(1, 12), random, loss=0.1)
        act = random.random()
        primary = world.primary()
        if act < 0.12 and not world.dead:
            world.crash(random.choice(sorted(world.seen)))
        elif act < 0.3 and world.dead:
            world.restart(min(world.dead))
        elif act < 0.45:
            random.choice(world.machines).checkpoint(forgets=random.random() < 0.5)
        elif act < 0.75 and primary is not None and primary.replica is not None:
            propose(world, primary.replica, random)

    for number in tuple(world.dead):
        world.restart(number)
    goal = len(talker.acknowledged) + 3
    for _ in range(120):
        talker.act(random)
        world.run(0.25)
        if len(talker.acknowledged) >= goal:
            break
    assert len(talker.acknowledged) >= goal
    world.run(3)
    final = primary_of(world)
    for place in final.configuration.members:
        service = world.machines[place.replica_id[0]].service
        assert service.bodies[: len(talker.acknowledged)] == talker.acknowledged
    assert max(world.committed) >= OpNumber(len(talker.acknowledged))


def propose(world: EpochWorld, primary: Replica, random: Random) -> None:
    """Try some other set of members; strangers become standbys first."""
    now = primary.configuration
    known = [place.replica_id[0] for place in now.replicas]
    fresh = [number for number in range(12) if number not in world.seen]
    wanted = random.sample([*known, *fresh[:2]], min(len(known) + len(fresh[:2]), random.choice([1, 3, 3, 4, 5])))
    if set(wanted) <= set(known):
        following = now.successor(members(*wanted), members(*(number for number in known if number not in wanted)))
    elif random.random() < 0.5:
        following = now.successor(now.members, now.standbys + members(*(n for n in wanted if n not in known)))
    else:
        following = now.successor(now.members)
    primary.reconfigure(following, world.now)
