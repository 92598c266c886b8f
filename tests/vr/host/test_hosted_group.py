from __future__ import annotations

from tests.vr.host.cluster import PEER, hosted
from tests.vr.storage.records import committed
from vr.types import OpNumber, ViewNumber


def test_committed_operations_queue_for_history() -> None:
    group = hosted()
    operations = [committed(op) for op in (1, 2)]

    size = group.note_committed(operations, 5.0)

    assert size == sum(len(operation.entry.data) for operation in operations)
    assert group.backlog_bytes == size
    assert group.take_backlog() == operations
    assert group.backlog == []
    assert group.backlog_bytes == 0


def test_members_are_known_by_place_and_identity() -> None:
    group = hosted()

    assert group.configuration.members[group.index_of[PEER]].replica_id == PEER


def test_a_change_of_status_is_told_once() -> None:
    group = hosted()
    assert not group.has_new_status()

    group.seen = (ViewNumber(group.replica.view + 1), group.replica.status)

    assert group.has_new_status()
    assert not group.has_new_status()


def test_checkpoints_are_wanted_by_operations_bytes_or_the_log() -> None:
    group = hosted()
    assert not group.wants_checkpoint(ops=1, size=10)

    group.note_committed([committed(1)], 5.0)
    assert group.wants_checkpoint(ops=1000, size=10)
    group.is_checkpointing = True
    assert not group.wants_checkpoint(ops=1000, size=10)

    group = hosted()
    group.is_checkpoint_wanted = True
    assert not group.wants_checkpoint(ops=1000, size=1000), "nothing was applied since the last one"
    group.checkpoint_op = OpNumber(-3)
    assert group.wants_checkpoint(ops=1000, size=1000)
    assert group.wants_checkpoint(ops=3, size=1000)
