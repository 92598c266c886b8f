from __future__ import annotations

from vr.host import limits
from vr.host.embedder import HostOptions


def test_defaults_are_the_limits() -> None:
    options = HostOptions()

    assert options.checkpoint_ops == limits.CHECKPOINT_OPS
    assert options.checkpoint_bytes == limits.CHECKPOINT_BYTES
    assert options.expected_replica_id is None
