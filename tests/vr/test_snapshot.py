"""Snapshots are deterministic bytes, and their digest stands for everything in them (VRR 5.1)."""

from __future__ import annotations

import msgspec

from tests.vr.group import Group, request
from vr.snapshot import checkpoint_digest


def group_with_requests() -> Group:
    group = Group()
    session = group.register(group.first)
    for number in range(1, 6):
        group.submit(group.first, request(session, number, b"%d" % number))
    group.settle()
    group.run(1.0)
    return group


def test_replicas_at_the_same_operation_have_equal_snapshots() -> None:
    group = group_with_requests()
    snapshots = [group.replica(index).checkpoint() for index in range(3)]
    assert snapshots[0] == snapshots[1] == snapshots[2]
    assert len({checkpoint_digest(group.configuration, snapshot) for snapshot in snapshots}) == 1


def test_every_part_counts_in_the_digest() -> None:
    group = group_with_requests()
    snapshot = group.replica(0).checkpoint()
    others = [
        msgspec.structs.replace(snapshot, op=snapshot.op + 1),
        msgspec.structs.replace(snapshot, checksum=bytes(16)),
        msgspec.structs.replace(snapshot, timestamp_us=snapshot.timestamp_us + 1),
        msgspec.structs.replace(snapshot, sessions=snapshot.sessions + b"\0"),
        msgspec.structs.replace(snapshot, service=snapshot.service + b"\0"),
    ]
    digests = {checkpoint_digest(group.configuration, other) for other in (snapshot, *others)}
    assert len(digests) == 6


def test_the_group_counts_in_the_digest() -> None:
    group = group_with_requests()
    snapshot = group.replica(0).checkpoint()
    other = msgspec.structs.replace(group.configuration, pipeline_ops_max=1)
    assert checkpoint_digest(group.configuration, snapshot) != checkpoint_digest(other, snapshot)
