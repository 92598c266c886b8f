"""The replica as embedders see it: inputs, effects, deadlines, checkpoints, status."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.vr.group import CLIENT, Group, Journal, request
from vr.messages import PrepareOk
from vr.ready import RejectReason
from vr.recovery import Restored
from vr.replica import Replica, ReplicaOptions, Status
from vr.standstill import Standstill, StandstillReason
from vr.types import Checksum, ClientId, OpNumber, ReplicaIndex


def test_a_single_member_commits_by_its_own_disk() -> None:
    group = Group(1)
    session = group.register(0)
    group.held_disks = {0}

    group.submit(0, request(session, 1))
    group.settle()
    assert group.services[0].bodies == []
    group.sync(0)

    assert group.services[0].bodies == [b"body 1"]


def test_a_single_member_restarts_into_the_next_view_with_its_log() -> None:
    group = Group(1)
    session = group.register(0)
    group.submit(0, request(session, 1))
    group.settle()

    group.crash(0)
    group.start(0)
    group.settle()
    group.submit(0, request(session, 2))
    group.settle()

    assert group.services[0].bodies == [b"body 1", b"body 2"]
    assert group.replica(0).view == group.view(1)


def test_ready_is_none_when_there_is_nothing_to_do() -> None:
    group = Group(3)
    group.settle()
    group.run(1.0)

    assert all(group.replica(index).ready(group.now) is None for index in range(3))


def test_an_idle_group_needs_no_time_and_a_busy_one_does() -> None:
    group = Group(3)
    session = group.register(group.first)
    group.run(1.0)
    assert {group.replica(index).next_deadline() for index in range(3)} == {math.inf}

    group.cut = {(group.first, other) for other in range(3)}
    group.submit(group.first, request(session, 1))
    group.collect(group.first)

    assert group.now < group.replica(group.first).next_deadline() <= group.now + 0.3


def test_strangers_and_ourselves_are_not_heard() -> None:
    group = Group(3)
    replica = group.replica(0)
    genesis = Checksum(group.configuration.genesis_checksum())

    for index in (0, 5):
        replica.step(
            PrepareOk(view=group.view(0), replica=ReplicaIndex(index), op=OpNumber(0), checksum=genesis, commit=OpNumber(0)),
            group.now,
        )  # fmt: skip

    assert replica.dropped["message_of_stranger"] == 2


def test_checkpoints_are_equal_everywhere_and_restore() -> None:
    group = Group(3, options=ReplicaOptions(log_margin_ops=0))
    session = group.register(group.first)
    for number in range(1, 6):
        group.submit(group.first, request(session, number))
        group.settle()
    group.run(0.5)

    made = [group.replica(index).checkpoint() for index in range(3)]
    assert made[0] == made[1] == made[2]
    back = group.backups()[0]
    group.disks[back].checkpoint = made[back]
    group.replica(back).checkpoint_done(made[back].op, group.now)
    group.collect(back)
    group.sync(back)
    assert group.disks[back].entries == [], "the log was trimmed"

    group.crash(back)
    group.start(back)

    assert group.services[back].bodies == group.services[group.first].bodies
    assert group.replica(back).checkpoint() == made[back]


def test_a_checkpoint_after_trimming_keeps_the_time_of_its_operation() -> None:
    group = Group(3, options=ReplicaOptions(log_margin_ops=0, wall_clock_us=lambda: 77))
    group.register(group.first)
    group.run(0.5)
    before = group.replica(group.first).checkpoint()

    group.replica(group.first).checkpoint_done(before.op, group.now)

    assert before.timestamp_us >= 77
    assert group.replica(group.first).checkpoint() == before


def test_a_session_belongs_to_its_client() -> None:
    """Neither an answer nor a place in the order for whoever guesses a session's number."""
    group = Group(3)
    session = group.register(group.first)
    group.submit(group.first, request(session, 1))
    group.settle()
    thief = ClientId(b"thief of sessions"[:16])

    for index in range(3):
        group.submit(index, request(session, 1, client=thief), request(session, 2, client=thief))
    group.run(0.5)
    group.submit(group.first, request(session, 2))
    group.settle()

    stolen = [reply for replies in group.replies for reply in replies if reply.client == thief]
    refused = [item.reason for items in group.rejected for item in items if item.client == thief]
    assert stolen == []
    assert set(refused) == {RejectReason.UNKNOWN_SESSION}
    assert group.replies[group.first][-1].number == 2


def test_why_not_progressing_says_what_is_missing() -> None:
    group = Group(3)
    group.register(group.first)
    assert group.replica(group.first).why_not_progressing() is None

    for dead in group.backups():
        group.replica(group.first).suspect(ReplicaIndex(dead), group.now)

    assert group.replica(group.first).why_not_progressing() == Standstill(
        reason=StandstillReason.NO_MAJORITY, sentence="1 of 3 replicas are up; 2 are needed"
    )


def test_a_damaged_replica_says_so() -> None:
    group = Group(3)
    group.register(0)
    state = group.disks[0].state

    replica = Replica(
        group.configuration, ReplicaIndex(0), Journal(), Restored(state=state, head_certain=False), now=1.0, seed=1
    )

    assert replica.status is Status.RECOVERING_HEAD
    standstill = replica.why_not_progressing()
    assert standstill is not None
    assert standstill.reason is StandstillReason.DAMAGED_LOG


def test_the_outside_sees_standing_and_counts() -> None:
    group = Group(3)
    group.register(group.first, CLIENT)
    group.run(0.5)
    primary = group.replica(group.first)

    assert primary.is_primary
    assert primary.primary_index == group.first
    assert [primary.peer_standing(ReplicaIndex(index)) for index in group.backups()] == [(1, False)] * 2
    assert (primary.pending_count, primary.queue_count) == (0, 0)


def test_the_readmes_counter_counts(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "vr" / "README.md").read_text()
    source = readme.split("```python\n")[1].split("```")[0]

    exec(compile(source, "vr/README.md", "exec"), {})

    assert capsys.readouterr().out == "[b'40', b'42']\n"
