"""The committed past of one node, as history.db keeps it: entries and the newest checkpoint, saved together."""

from __future__ import annotations

from collections.abc import Sequence

from vr.ready import CommittedOp, SnapshotPart
from vr.replica import Checkpoint

READ_OPS_MAX = 64  # of one answer to a peer


class SimHistory:
    """Survives every crash; saving is atomic, as one SQLite transaction is."""

    def __init__(self, keep_ops: int | None = None) -> None:
        self.keep_ops = keep_ops  # operations kept below the checkpoint; None: all
        self.checkpoint: Checkpoint | None = None
        self._before: Checkpoint | None = None  # the checkpoint before it: the newest two are kept
        self.entries: dict[int, bytes] = {}  # op -> encoded entry, contiguous from op 1
        self.parts: dict[int, SnapshotPart] = {}  # of one snapshot on its way here, by number

    def save(self, ops: Sequence[CommittedOp], checkpoint: Checkpoint) -> None:
        """Store the ops and the checkpoint that covers them."""
        for committed in ops:
            self.entries[committed.entry.header.op] = committed.entry.data
        self._before, self.checkpoint = self.checkpoint, checkpoint
        self.parts.clear()
        if self.keep_ops is not None:
            for op in [op for op in self.entries if op <= checkpoint.op - self.keep_ops]:
                del self.entries[op]

    def checkpoint_at(self, op: int) -> Checkpoint | None:
        """The checkpoint of exactly this operation, if it is kept."""
        for checkpoint in (self.checkpoint, self._before):
            if checkpoint is not None and checkpoint.op == op:
                return checkpoint
        return None

    def keep_parts(self, parts: Sequence[SnapshotPart]) -> None:
        """Keep chunks of a snapshot until the next checkpoint; of the last offer only."""
        for part in parts:
            if any(kept.offer != part.offer for kept in self.parts.values()):
                self.parts.clear()
            self.parts[part.number] = part

    def read(self, first_op: int, last_op: int) -> list[bytes]:
        """The encoded entries of a range, as far as they are here without a gap."""
        found = []
        for op in range(first_op, min(last_op, first_op + READ_OPS_MAX - 1) + 1):
            data = self.entries.get(op)
            if data is None:
                break
            found.append(data)
        return found
