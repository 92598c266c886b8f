"""One group in this process: its replica, what of it is not in history yet, and where its checkpoint stands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vr.configuration import Configuration
from vr.host.limits import HOT_S
from vr.ready import CommittedOp
from vr.replica import Replica, Status
from vr.types import GroupId, OpNumber, ReplicaId, ReplicaIndex, ViewNumber


class HostedGroup:
    """Owned by the host's loop. `backlog` are committed operations that history does not have."""

    __slots__ = (
        "backlog",
        "backlog_bytes",
        "between_views_since",
        "checkpoint_op",
        "committed_at",
        "committed_bytes",
        "configuration",
        "genesis",
        "group",
        "index_of",
        "is_checkpoint_wanted",
        "is_checkpointing",
        "is_cold",
        "replica",
        "seen",
    )

    def __init__(
        self, configuration: Configuration, genesis: bytes, replica: Replica, *, checkpoint_op: OpNumber
    ) -> None:
        self.group: GroupId = configuration.group
        self.configuration = configuration
        self.genesis = genesis
        self.replica = replica
        self.index_of: dict[ReplicaId, ReplicaIndex] = _places(configuration)
        """Of members and standbys of the epoch."""
        self.backlog: list[CommittedOp] = []
        self.backlog_bytes = 0
        self.committed_at = -math.inf
        self.committed_bytes = 0
        self.checkpoint_op = checkpoint_op
        self.is_checkpointing = False
        self.is_checkpoint_wanted = False
        self.is_cold = False
        """Nobody used it for long: nothing of it stays in memory (`vr.host.cooling`)."""
        self.between_views_since = math.inf
        """Monotonic seconds at which the replica left its last view; infinity while it is in one."""
        self.seen: tuple[ViewNumber, Status] = (replica.view, replica.status)

    def begin_epoch(self, configuration: Configuration, replica: Replica) -> None:
        """Go on with other members."""
        self.configuration = configuration
        self.replica = replica
        self.index_of = _places(configuration)

    def is_hot(self, now: float) -> bool:
        """Was it used a short while ago, or does somebody wait for it?"""
        return self.replica.pending_count > 0 or now < self.committed_at + HOT_S

    def note_committed(self, operations: Sequence[CommittedOp], now: float) -> int:
        """Queue for history; the bytes added."""
        self.committed_at = now
        self.is_cold = False
        size = sum(len(operation.entry.data) for operation in operations)
        self.backlog.extend(operations)
        self.backlog_bytes += size
        self.committed_bytes += size
        return size

    def take_backlog(self) -> list[CommittedOp]:
        """What history lacks; it is the caller's now."""
        backlog, self.backlog = self.backlog, []
        self.backlog_bytes = 0
        return backlog

    def has_new_status(self) -> bool:
        """Whether view or status changed since the last call."""
        now = (self.replica.view, self.replica.status)
        if now == self.seen:
            return False
        self.seen = now
        return True

    def wants_checkpoint(self, *, ops: int, size: int) -> bool:
        """Whether enough was applied since the last checkpoint, or the log needs one to shrink."""
        if self.is_checkpointing:
            return False
        since = self.replica.applied_op - self.checkpoint_op
        return since >= ops or self.committed_bytes >= size or (self.is_checkpoint_wanted and since > 0)


def _places(configuration: Configuration) -> dict[ReplicaId, ReplicaIndex]:
    return {member.replica_id: ReplicaIndex(index) for index, member in enumerate(configuration.replicas)}
