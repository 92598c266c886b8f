"""A snapshot: everything applied through one operation, in deterministic bytes, and its identity (VRR 5.1, 5.3).

Equal replicas have equal snapshots at equal operations. The digest stands for all of it: the group's configuration, the
head of the chain, the clock of the log, the sessions (which hold the results of repeats), and the service.
"""

from __future__ import annotations

import hashlib

import msgspec

from vr.configuration import Configuration
from vr.ready import Checkpoint
from vr.state import ReplicaState
from vr.types import CHECKSUM_BYTES, Checksum

__all__ = ["Checkpoint", "checkpoint_digest", "take_checkpoint"]


def take_checkpoint(state: ReplicaState) -> Checkpoint:
    """Everything applied until now."""
    checksum = state.log.checksum(state.applied_op)
    assert checksum is not None, "the applied operation is in memory, or the base"
    return Checkpoint(
        op=state.applied_op, checksum=checksum, timestamp_us=state.timestamp_at(state.applied_op),
        sessions=state.sessions.snapshot(), service=state.service.snapshot(), epochs=tuple(state.epochs),
    )  # fmt: skip


def checkpoint_digest(configuration: Configuration, checkpoint: Checkpoint) -> Checksum:
    """BLAKE2b-128 over the group's birth and the checkpoint."""
    hasher = hashlib.blake2b(configuration.genesis_checksum(), digest_size=CHECKSUM_BYTES, person=b"vr-snapshot")
    hasher.update(msgspec.msgpack.encode(checkpoint))
    return Checksum(hasher.digest())
