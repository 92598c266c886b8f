"""What must be on every disk: a model of the durable logs, kept beside the real ones.

Each write the replica asks for is noted when it is handed to the log and becomes durable when the log's sync returned.
The model then says what recovery must find, what a node may acknowledge, and on how many disks a committed op rests.
Bit rot does not change the model (the node did have it: "discounted"), it is noted as an excuse for recovery.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vr.simulator.errors import Violation


class Mark(msgspec.Struct, frozen=True):
    """One entry's identity in the model."""

    op: int
    checksum: bytes


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """What one Ready wants durable: first the meta, then the entries."""

    view: int | None = None
    log_view: int | None = None
    truncate_above: int | None = None
    marks: tuple[Mark, ...] = ()


class DiskModel:
    """The durable log of one node: op to checksum, contiguous; everything below the WAL's base stays in the model."""

    __slots__ = ("checksums", "head", "log_view", "view")

    def __init__(self, view: int = 0) -> None:
        self.view = view
        self.log_view = view
        self.head = 0
        self.checksums: dict[int, bytes] = {}

    def copy(self) -> DiskModel:
        """An independent copy."""
        twin = DiskModel()
        twin.view, twin.log_view, twin.head, twin.checksums = self.view, self.log_view, self.head, dict(self.checksums)
        return twin

    def perform(self, write: Write) -> dict[int, bytes]:
        """Apply one write; returns the identities it removed or replaced."""
        if write.view is not None:
            self.view = write.view
        if write.log_view is not None:
            self.log_view = write.log_view
        removed: dict[int, bytes] = {}
        if write.truncate_above is not None:
            self._truncate(write.truncate_above, removed)
        if write.marks:
            self._truncate(write.marks[0].op - 1, removed)
            for mark in write.marks:
                self.checksums[mark.op] = mark.checksum
                self.head = mark.op
        return removed

    def _truncate(self, op: int, removed: dict[int, bytes]) -> None:
        while self.head > op:
            checksum = self.checksums.pop(self.head, None)
            if checksum is not None:
                removed.setdefault(self.head, checksum)
            self.head -= 1


class Ledger:
    """The disk models of all nodes, and the writes that are under way."""

    def __init__(self, node_count: int, *, initial_view: int = 0) -> None:
        self.initial_view = initial_view
        self.disks = [DiskModel(initial_view) for _ in range(node_count)]
        self.committed: dict[int, bytes] = {}
        self._committed_in: dict[int, int] = {}  # op -> the log view of whoever said so first
        self.rotted = [False] * node_count  # not yet found and repaired: recovery is excused
        self.state_at_risk = [False] * node_count  # rot may have taken one of the durable state's two copies
        self.checkpointed = [0] * node_count  # ops up to here are in the node's history
        self.faulty: list[set[int]] = [set() for _ in range(node_count)]  # found faulty, not yet rewritten
        self._held: list[set[tuple[int, bytes]]] = [set() for _ in range(node_count)]
        self._under_way: list[list[Write]] = [[] for _ in range(node_count)]

    def may_rot(self, node: int) -> bool:
        """The fault atlas: one node rots at a time, and again only when it has been found and repaired.

        So every committed op keeps a good copy on at least one disk of the quorum that committed it. Rot that a recovery did
        not stumble over stays on the disk: until the durable state was written anew, a second page could be its last copy.
        """
        others_clean = all(
            not rotted and not faulty
            for other, (rotted, faulty) in enumerate(zip(self.rotted, self.faulty, strict=True))
            if other != node
        )
        clean = not (self.rotted[node] or self.faulty[node] or self.state_at_risk[node])
        return len(self.disks) > 1 and others_clean and clean

    def on_rotted(self, node: int) -> None:
        """A bit of this node's disk has flipped."""
        self.rotted[node] = self.state_at_risk[node] = True

    def on_written(self, node: int, writes: Sequence[Write]) -> None:
        """The node's log took these writes; they are not durable yet."""
        self._under_way[node] += writes

    def on_synced(self, node: int) -> None:
        """The node's log finished a sync of everything written."""
        disk = self.disks[node]
        for write in self._under_way[node]:
            view_before, log_view_before = disk.view, disk.log_view
            removed = disk.perform(write)
            if disk.view < view_before or disk.log_view < log_view_before:
                raise Violation("durable_view_monotone", f"node {node}: {write}")
            self._held[node].update((mark.op, mark.checksum) for mark in write.marks)
            self.state_at_risk[node] = self.state_at_risk[node] and write.view is None
            rewritten = {mark.op for mark in write.marks}
            self.faulty[node] = {op for op in self.faulty[node] if op not in rewritten and op <= disk.head}
            for op, checksum in removed.items():
                self._require_committed_kept(node, op, checksum)
        self._under_way[node].clear()

    def _require_committed_kept(self, node: int, op: int, checksum: bytes) -> None:
        # A node that has a committed op durably must never trade it for anything else: quorums intersect in it. Only who
        # comes late into a view before the one that committed it may: none of those who committed it follow that view.
        if op <= self.checkpointed[node] or self.disks[node].log_view < self._committed_in.get(op, 0):
            return
        if self.committed.get(op) == checksum and self.disks[node].checksums.get(op) != checksum:
            raise Violation("committed_op_kept", f"node {node} dropped committed op {op} from its disk")

    def holders(self, op: int, checksum: bytes) -> list[int]:
        """The nodes whose disks hold this entry."""
        return [
            node
            for node, disk in enumerate(self.disks)
            if disk.checksums.get(op) == checksum or op <= self.checkpointed[node]
        ]

    def on_checkpoint_saved(self, node: int, op: int) -> None:
        """The node's history holds everything up to `op`."""
        self.checkpointed[node] = op

    def holds_through(self, node: int, op: int, checksum: bytes) -> bool:
        """Whether the node's disk holds this entry, all before it, and none of them is known to be faulty."""
        if op <= self.checkpointed[node]:
            return True  # op 0, the group's birth, included
        return self.disks[node].checksums.get(op) == checksum and not any(
            faulty <= op and faulty not in self.committed for faulty in self.faulty[node]
        )

    def ever_held(self, node: int, op: int, checksum: bytes) -> bool:
        """Whether this entry was ever durable on the node's disk."""
        return op <= self.checkpointed[node] or (op, checksum) in self._held[node]

    def on_committed(self, node: int, op: int, checksum: bytes, voters: set[int]) -> None:
        """A node says this op is committed: the disks of a majority of `voters` must hold it now.

        Raises:
            Violation: too few disks.
        """
        if op in self.committed:
            return
        self.committed[op] = checksum
        self._committed_in[op] = self.disks[node].log_view
        holders = [node for node in self.holders(op, checksum) if node in voters]
        if len(holders) <= len(voters) // 2:
            raise Violation("committed_on_quorum", f"op {op} committed, durable only on nodes {holders}")

    def on_recovered(
        self, node: int, found: dict[int, bytes | None], *, base: int, certain: bool, view: int, log_view: int
    ) -> None:
        """Compare what recovery found (op to checksum, None for faulty) with what must be there, and adopt it.

        Right is the durable log after any prefix of the writes that were under way.

        Raises:
            Violation: something durable is gone without rot to blame, or something appeared from nowhere.
        """
        disk = self.disks[node].copy()
        candidates = [disk.copy()]
        for write in self._under_way[node]:
            disk.perform(write)
            candidates.append(disk.copy())
        self._under_way[node].clear()
        excused = self.rotted[node]
        fitting = [
            candidate
            for candidate in reversed(candidates)
            if _agrees(candidate, found, base=base, excused=excused, certain=certain)
        ]
        # Of several that fit, rot may hide which one it is: the views tell, and so does the head, if it can be read.
        fitting = [item for item in fitting if (item.view, item.log_view) == (view, log_view)]
        head = max(found, default=base)
        candidate = next((item for item in fitting if item.head == head), fitting[0] if fitting else None)
        if candidate is None:
            raise Violation(
                "recovery_keeps_durable",
                _difference(node, candidates[0], found, base=base, view=view, log_view=log_view),
            )
        for op, checksum in self.disks[node].checksums.items():
            if self.committed.get(op) == checksum and candidate.checksums.get(op) != checksum:
                raise Violation("committed_op_kept", f"node {node} recovered without committed op {op}")
        self.disks[node] = candidate
        self._held[node].update(candidate.checksums.items())
        self.faulty[node] = {op for op, checksum in found.items() if checksum is None}
        # Damage stays on the disk until it is written over: only a clean recovery ends the excuse.
        self.rotted[node] = excused and (not certain or bool(self.faulty[node]))


def _agrees(model: DiskModel, found: dict[int, bytes | None], *, base: int, excused: bool, certain: bool) -> bool:
    for op, checksum in found.items():
        if op > base and checksum is not None and model.checksums.get(op) != checksum:
            return False
    if excused:
        missing = [op for op in range(base + 1, model.head + 1) if op not in found]
        return not missing or not certain
    return all(found.get(op) == model.checksums.get(op) for op in range(base + 1, model.head + 1))


def _difference(
    node: int, model: DiskModel, found: dict[int, bytes | None], *, base: int, view: int, log_view: int
) -> str:
    wrong = [op for op in range(base + 1, model.head + 1) if found.get(op) != model.checksums.get(op)]
    extra = sorted(op for op in found if op > model.head)
    return (
        f"node {node}: view {view:#x}/{log_view:#x}, durable {model.view:#x}/{model.log_view:#x}; base {base}, durable "
        f"head {model.head}; lost or changed ops {wrong[:10]}, unexpected ops {extra[:10]}"
    )
