"""What the host needs from the program around it: links to peers, and somebody to tell what happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from vr.host import limits
from vr.liveness import LivenessOptions
from vr.ready import CommittedOp, EpochEnd, Rejected, Reply
from vr.replica import ReplicaOptions
from vr.service import Service
from vr.storage.limits import SEGMENT_BYTES
from vr.types import GroupId, ReplicaId

ServiceFactory: TypeAlias = Callable[[GroupId, bytes], Service]
"""Makes the service of a group in its first state, from the group's genesis."""


class Transport(Protocol):
    """Frames to other nodes."""

    def send(self, peer: ReplicaId, frame: bytes) -> object:
        """Queue a frame; must not block. May drop it when the link is down or its queue full: replicas repeat."""
        ...


class Embedder(Protocol):
    """Called by the host's task, one after the other; must not block, and may call the host's synchronous methods."""

    def on_committed(self, group: GroupId, operations: Sequence[CommittedOp]) -> None:
        """Operations were committed and applied here, in order. After a restart those above the last checkpoint again."""
        ...

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        """The answer to a request submitted here."""
        ...

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        """A request submitted here was not taken up."""
        ...

    def on_status(self, group: GroupId) -> None:
        """View, status or epoch of the replica changed: look at `host.replica(group)`."""
        ...

    def on_epoch_end(self, group: GroupId, end: EpochEnd) -> Sequence[tuple[int, bytes]]:
        """An epoch ended here: the service is as its last operation left it. Returns notes that are kept with the next
        configuration, before anything of the next epoch is done. May be called again for the same epoch after a restart.
        """
        ...


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What may be tuned; the reasons of the defaults are in `limits`.

    `expected_replica_id` is the identity others know this node by: an empty folder is refused then. `seed` feeds jitter
    and nonces; None takes it from the system. `history_ops_max` bounds what history keeps below a checkpoint, None: everything;
    with a bound a laggard may be brought back by a snapshot, and readers find a gap there (ADR 0011).
    """

    expected_replica_id: ReplicaId | None = None
    segment_bytes: int = SEGMENT_BYTES
    checkpoint_ops: int = limits.CHECKPOINT_OPS
    checkpoint_bytes: int = limits.CHECKPOINT_BYTES
    history_ops_max: int | None = None
    log_segments_max: int = limits.LOG_SEGMENTS_MAX
    free_bytes_min: int = limits.FREE_BYTES_MIN
    replica: ReplicaOptions = ReplicaOptions()
    liveness: LivenessOptions = LivenessOptions()
    seed: int | None = None
