"""Why a replica does not get on."""

from __future__ import annotations

from tests.vr.group import Group, request
from vr.nacks import Undecided
from vr.replica import Replica
from vr.standstill import StandstillReason
from vr.types import OpNumber, ReplicaIndex, ViewNumber


def reason(replica: Replica) -> StandstillReason | None:
    found = replica.why_not_progressing()
    return None if found is None else found.reason


def test_nothing_to_say_while_all_is_well() -> None:
    group = Group(3)
    group.register(group.first)

    assert [reason(group.replica(index)) for index in range(3)] == [None] * 3


def test_a_hanging_disk_is_named() -> None:
    group = Group(3)
    session = group.register(group.first)
    group.held_disks = {group.first}
    group.submit(group.first, request(session, 1))
    group.settle()
    group.now += 3.0

    replica = group.replica(group.first)
    replica.ready(group.now)

    assert reason(replica) is StandstillReason.DISK_STALL
    found = replica.why_not_progressing()
    assert found is not None
    assert "3 s" in found.sentence


def test_operations_that_nobody_acknowledges() -> None:
    group = Group(3)
    session = group.register(group.first)
    group.cut = {(backup, group.first) for backup in group.backups()}
    group.submit(group.first, request(session, 1))
    group.settle()
    group.now += 3.0
    group.replica(group.first).ready(group.now)

    assert reason(group.replica(group.first)) is StandstillReason.NO_ACKNOWLEDGEMENTS


def test_a_primary_that_only_we_do_not_hear() -> None:
    group = Group(3)
    backup = group.backups()[0]

    group.replica(backup).suspect(ReplicaIndex(group.first), group.now)

    assert reason(group.replica(backup)) is StandstillReason.PRIMARY_SILENT


def test_an_operation_that_nobody_may_decide_is_named() -> None:
    group = Group(3)
    state = group.replica(group.backups()[0])._state
    state.voted_view = state.view = ViewNumber(state.view + 1)
    state.status = type(state.status).VIEW_CHANGE
    assert reason(group.replica(group.backups()[0])) is StandstillReason.VIEW_CHANGE

    state.undecided = Undecided(op=OpNumber(6), nacks=1, needed=2, missing=())
    found = group.replica(group.backups()[0]).why_not_progressing()

    assert found is not None
    assert found.reason is StandstillReason.UNDECIDED
    assert "operation 6" in found.sentence
    assert "restore" in found.sentence
    state.undecided = Undecided(op=OpNumber(6), nacks=1, needed=2, missing=(ReplicaIndex(2),))
    found = group.replica(group.backups()[0]).why_not_progressing()
    assert found is not None
    assert "waiting for replica 2" in found.sentence
