"""Restarts: whole logs go on, damaged ones are mended, uncertain ones neither vote nor acknowledge."""

from __future__ import annotations

import msgspec
import pytest

from tests.vr.group import Group, request
from vr.log import Entry
from vr.messages import DoViewChange, GetEntries, GetView, PrepareOk, StartView, decode
from vr.recovery import FaultyEntry, Restored
from vr.replica import Replica, Status
from vr.state import ReplicaState
from vr.types import Checksum, OpNumber, ReplicaIndex

RESTING = 6
"""Operations of the group below: a register and five requests."""


def working_group() -> tuple[Group, int]:
    group = Group()
    session = group.register(group.first)
    for number in range(1, RESTING):
        group.submit(group.first, request(session, number))
        group.settle()
    group.run(0.5)
    return group, session


def state_of(group: Group, index: int) -> ReplicaState:
    return group.replica(index)._state


def restart(group: Group, index: int, restored: Restored) -> Replica:
    """Start a replica from what a damaged disk gives back."""
    group.crash(index)
    group.start(index)
    group.services[index].bodies.clear()
    replica = Replica(
        group.configuration, ReplicaIndex(index), group.services[index], restored, now=group.now, seed=99,
        options=group.options,
    )  # fmt: skip
    group.replicas[index] = replica
    return replica


def damaged(group: Group, index: int, *ops: int, known: bool = True, certain: bool = True) -> Restored:
    """What the disk gives back when the entries of `ops` have rotted."""
    disk = group.disks[index]
    state = disk.state
    assert state is not None
    entries: list[Entry | FaultyEntry] = [
        FaultyEntry(entry.op, entry.checksum if known else None) if entry.op in ops else entry for entry in disk.entries
    ]
    return Restored(state=msgspec.structs.replace(state, commit=OpNumber(0)), entries=entries, head_certain=certain)


@pytest.mark.parametrize("ops", [(1,), (3,), (3, 4), (RESTING,), (2, 5)])
def test_a_hole_of_known_identity_is_mended_from_a_peer(ops: tuple[int, ...]) -> None:
    group, _ = working_group()
    back = group.backups()[0]

    replica = restart(group, back, damaged(group, back, *ops))
    assert replica.status is Status.RECOVERING_HEAD
    group.run(1.0)

    assert replica.status is Status.NORMAL
    assert replica.view == group.view(0)
    assert group.services[back].bodies == group.services[group.first].bodies
    assert [entry.op for entry in group.disks[back].entries] == list(range(1, RESTING + 1))


def test_the_successor_names_a_hole_whose_name_is_lost_too() -> None:
    group, _ = working_group()
    back = group.backups()[0]

    replica = restart(group, back, damaged(group, back, 3, known=False))

    damage = replica._state.damage
    assert damage is not None
    assert damage.missing == {3: group.disks[back].entries[2].checksum}


def test_a_mended_primary_goes_to_the_next_view_with_its_whole_log() -> None:
    """Two members, one damaged: the other alone may not decide, but the damaged one heals from it."""
    group = Group(2)
    session = group.register(group.first)
    for number in (1, 2, 3):
        group.submit(group.first, request(session, number))
        group.settle()

    restart(group, group.first, damaged(group, group.first, 3))
    group.run(3.0)

    assert {group.replica(index).view for index in range(2)} == {group.view(1)}
    assert [service.bodies for service in group.services] == [[b"body 1", b"body 2", b"body 3"]] * 2


@pytest.mark.parametrize(
    ("known", "certain", "ops"), [(False, True, (RESTING,)), (True, False, ()), (True, False, (3,))]
)
def test_an_uncertain_head_waits_for_a_fresh_start_view(known: bool, certain: bool, ops: tuple[int, ...]) -> None:
    group, _ = working_group()
    back = group.backups()[0]

    replica = restart(group, back, damaged(group, back, *ops, known=known, certain=certain))
    assert replica.status is Status.RECOVERING_HEAD
    assert replica._state.damage is None
    group.run(1.0)

    assert replica.status is Status.NORMAL
    assert group.services[back].bodies == group.services[group.first].bodies


def test_an_uncertain_replica_leaves_a_view_but_vouches_for_no_log() -> None:
    """Protocol-Aware Recovery: whoever forgot must not deny."""
    group, _ = working_group()
    back, other = group.backups()
    replica = restart(group, back, damaged(group, back, certain=False))
    vote = DoViewChange(
        view=group.view(1), replica=ReplicaIndex(other), log_view=group.view(0), head_op=OpNumber(0),
        commit=OpNumber(0), commit_checksum=group.configuration.genesis_checksum(), headers=b"", nacks_above=OpNumber(0),
    )  # fmt: skip
    group.packets.clear()

    replica.step(vote, group.now)
    group.collect(back)
    group.sync(back)
    group.collect(back)

    messages = [decode(data) for source, _, data in group.packets if source == back]
    votes = [message for message in messages if isinstance(message, DoViewChange)]
    assert votes
    assert not any(message.is_certain for message in votes)
    assert not any(isinstance(message, PrepareOk) for message in messages)
    assert replica.status is Status.RECOVERING_HEAD


def test_one_certain_log_and_an_uncertain_one_elect_nobody_of_three() -> None:
    """The third may be the only other holder of something committed."""
    group, _ = working_group()
    back, other = group.backups()
    group.crash(group.first)
    restart(group, back, damaged(group, back, certain=False))
    group.suspect(group.first)

    group.run(20.0)

    assert not any(group.replica(index).is_primary for index in (back, other))
    group.start(group.first)
    group.trust(group.first)
    group.run(40.0)
    assert any(group.replica(index).is_primary for index in range(3))
    assert {group.replica(index).status for index in range(3)} == {Status.NORMAL}


def test_of_two_the_certain_one_decides_alone() -> None:
    """Everything committed is on both disks: the sound one has it."""
    group = Group(2)
    session = group.register(group.first)
    group.submit(group.first, request(session, 1))
    group.settle()

    restart(group, group.first, damaged(group, group.first, certain=False))
    group.run(20.0)

    assert {group.replica(index).status for index in range(2)} == {Status.NORMAL}
    assert [service.bodies for service in group.services] == [[b"body 1"]] * 2


def test_a_late_start_view_does_not_end_uncertainty() -> None:
    """Defect 9: it may be older than what we acknowledged and forgot; only an answer to our own question counts."""
    group, _ = working_group()
    back = group.backups()[0]
    log = state_of(group, group.first).log
    old = StartView(
        view=group.view(0), replica=ReplicaIndex(group.first), head_op=log.head_op, commit=log.head_op,
        commit_checksum=log.head_checksum, headers=b"", nonce=12345,
    )  # fmt: skip
    replica = restart(group, back, damaged(group, back, certain=False))

    replica.step(old, group.now)

    assert replica.status is Status.RECOVERING_HEAD
    assert replica.dropped["start_view_not_fresh"] == 1


def test_uncertainty_survives_another_restart() -> None:
    group, _ = working_group()
    back = group.backups()[0]
    restart(group, back, damaged(group, back, certain=False))
    group.collect(back)
    group.sync(back)
    saved = group.disks[back].state
    assert saved is not None
    assert not saved.is_head_certain

    group.crash(back)
    group.start(back)

    assert group.replica(back).status is Status.RECOVERING_HEAD


def test_a_damaged_tail_stays_on_disk_until_its_replacement_is_whole() -> None:
    """It may be the only other copy of something committed."""
    group = Group()
    session = group.register(group.first)
    for number in range(1, 100):
        group.submit(group.first, request(session, number))
        group.settle()
    group.run(0.5)
    back = group.backups()[0]
    restart(group, back, damaged(group, back, 2, certain=False))
    before = [entry.op for entry in group.disks[back].entries]

    group.now += 1.0
    group.replica(back).tick(group.now)
    partly = False
    for _ in range(30):
        group.collect(back)
        group.sync(back)
        if group.replica(back).status is Status.RECOVERING_HEAD:
            assert [entry.op for entry in group.disks[back].entries] == before
            partly = partly or group.replica(back).head_op > 1
        group.collect(group.first)
        group.deliver()

    assert partly, "it was replaced in portions"
    assert group.replica(back).status is Status.NORMAL
    saved = group.disks[back].state
    assert saved is not None
    assert saved.is_head_certain
    assert [entry.op for entry in group.disks[back].entries] == list(range(1, 101))


def test_a_hole_nobody_can_fill_gives_way_to_the_views_log() -> None:
    group, _ = working_group()
    back = group.backups()[0]
    restored = damaged(group, back, RESTING)
    wrong = FaultyEntry(OpNumber(RESTING), Checksum(b"?" * 16))
    replica = restart(group, back, msgspec.structs.replace(restored, entries=[*restored.entries[:-1], wrong]))

    group.run(1.0)

    assert replica.status is Status.NORMAL
    assert group.services[back].bodies == group.services[group.first].bodies


def test_help_is_asked_of_everybody() -> None:
    group, _ = working_group()
    back = group.backups()[0]
    replica = restart(group, back, damaged(group, back, 3))
    group.packets.clear()

    replica.tick(group.now + 1.0)
    group.collect(back)

    asked = [(target, type(decode(data))) for _, target, data in group.packets]
    assert {target for target, kind in asked if kind is GetView} == {0, 1, 2} - {back}
    assert {target for target, kind in asked if kind is GetEntries} == {0, 1, 2} - {back}


def test_a_fresh_group_starts_in_its_first_view() -> None:
    group = Group()

    assert {group.replica(index).view for index in range(3)} == {group.view(0)}
    assert all(group.replica(index).status is Status.NORMAL for index in range(3))
