"""State machines that went apart are found within one interval, by both sides, and nothing asserts."""

from __future__ import annotations

import pytest

from tests.vr.group import Group, request
from vr.divergence import latest_digest, learn_digest
from vr.limits import DIGESTS_KEPT
from vr.replica import ReplicaOptions
from vr.standstill import StandstillReason
from vr.state import Divergence
from vr.types import Checksum, OpNumber, ReplicaIndex

INTERVAL = 4


def group_of_three() -> Group:
    return Group(options=ReplicaOptions(digest_ops=INTERVAL))


def write(group: Group, count: int, at: int | None = None) -> None:
    index = group.first if at is None else at
    session = group.register(index)
    for number in range(1, count + 1):
        group.submit(index, request(session, number, b"%d" % number))
        group.settle()
    group.run(1.0)


def test_replicas_that_agree_have_nothing_to_say() -> None:
    group = group_of_three()
    write(group, 12)
    for index in range(3):
        replica = group.replica(index)
        assert latest_digest(replica._state)[0] == 12
        assert replica.divergence is None
        assert replica.why_not_progressing() is None


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_service_that_went_astray_is_found_in_one_interval(wrong: int) -> None:
    group = group_of_three()
    group.services[wrong].bodies.append(b"a bit that flipped")
    write(group, INTERVAL)
    seen = [group.replica(index).divergence for index in range(3)]
    assert all(found is None or found.op == INTERVAL for found in seen)
    assert group.replica(group.first).divergence is not None
    assert seen[wrong] is not None
    standstill = group.replica(wrong).why_not_progressing()
    assert standstill is not None
    assert standstill.reason is StandstillReason.DIVERGED
    assert group.replica(wrong).dropped["state_machine_diverged"] > 0


def test_a_claim_about_an_operation_to_come_waits_for_it() -> None:
    group = group_of_three()
    replica = group.replica(group.backups()[0])
    learn_digest(replica._state, ReplicaIndex(group.backups()[1]), OpNumber(INTERVAL), Checksum(b"x" * 16))
    assert replica.divergence is None
    write(group, INTERVAL)
    assert replica.divergence == Divergence(OpNumber(INTERVAL), ReplicaIndex(group.backups()[1]))


def test_own_digests_are_few() -> None:
    group = group_of_three()
    write(group, INTERVAL * (DIGESTS_KEPT + 3))
    assert len(group.replica(0)._state.digests) == DIGESTS_KEPT


def test_no_claim_is_no_claim() -> None:
    group = group_of_three()
    write(group, INTERVAL)
    replica = group.replica(0)
    learn_digest(replica._state, ReplicaIndex(1), OpNumber(INTERVAL), Checksum(b""))
    assert replica.divergence is None
