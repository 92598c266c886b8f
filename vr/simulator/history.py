"""The committed past of one node, as history.db keeps it: entries and the newest checkpoint, saved together."""

from __future__ import annotations

from collections.abc import Sequence

from vr.ready import CommittedOp
from vr.replica import Checkpoint

READ_OPS_MAX = 64  # of one answer to a peer


class SimHistory:
    """Survives every crash; saving is atomic, as one SQLite transaction is."""

    def __init__(self, keep_ops: int | None = None) -> None:
        self.keep_ops = keep_ops  # operations kept below the checkpoint; None: all
        self.checkpoint: Checkpoint | None = None
        self.entries: dict[int, bytes] = {}  # op -> encoded entry, contiguous from op 1

    def save(self, ops: Sequence[CommittedOp], checkpoint: Checkpoint) -> None:
        """Store the ops and the checkpoint that covers them."""
        for committed in ops:
            self.entries[committed.entry.header.op] = committed.entry.data
        self.checkpoint = checkpoint
        if self.keep_ops is not None:
            for op in [op for op in self.entries if op <= checkpoint.op - self.keep_ops]:
                del self.entries[op]

    def read(self, first_op: int, last_op: int) -> list[bytes]:
        """The encoded entries of a range, as far as they are here without a gap."""
        found = []
        for op in range(first_op, min(last_op, first_op + READ_OPS_MAX - 1) + 1):
            data = self.entries.get(op)
            if data is None:
                break
            found.append(data)
        return found
