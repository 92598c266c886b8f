"""The archivist of one node: checkpoints, committed history, and snapshots on their way in and out.

As the real host's worker thread: everything it does takes the disk's time, and the process may die meanwhile. What is kept
here survives every crash (`vr.simulator.history`); what of a snapshot is kept only makes its transfer shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from vr.messages import Entries, Message, SnapshotOffer, decode
from vr.ready import CommittedOp, HistoryRead, Ready, SnapshotPart, SnapshotRead
from vr.replica import Checkpoint, Replica
from vr.simulator.history import SimHistory
from vr.simulator.world import World
from vr.state_transfer import make_chunk, make_offer
from vr.types import ReplicaIndex


class NodeArchive:
    """The archivist of one incarnation. `guard` runs an action unless the process died; `replica()` is its replica."""

    def __init__(
        self,
        world: World,
        node: int,
        *,
        history: SimHistory,
        send: Callable[[Sequence[tuple[int, Message]]], None],
        replica: Callable[[], Replica],
        now_s: Callable[[], float],
        guard: Callable[..., None],
        boundary: Callable[[], None],
    ) -> None:
        self._world = world
        self._node = node
        self._history = history
        self._send = send
        self._replica = replica
        self._now_s = now_s
        self._guard = guard
        self._boundary = boundary
        self._unsaved: list[CommittedOp] = []
        self._saving = False

    def perform(self, ready: Ready) -> None:
        """Take what was committed, answer what peers want, keep what they sent."""
        self._unsaved += ready.committed
        for read in ready.history_reads:
            # Who asked is known now; by the time of the answer, indexes may be those of another epoch.
            asker = self._node_of(read.to)
            self._world.schedule.after(self._latency_us(), self._guard, self._send_history, asker, read)
        for wanted in ready.snapshot_reads:
            self._send_chunk(self._node_of(wanted.to), wanted)
        for snapshot in ready.snapshots:
            self._world.schedule.after(self._save_us(), self._guard, self._save_snapshot, snapshot)
        if ready.parts:
            delay_us = 100 + int(self._world.later.expovariate(1.0) * self._world.swarm.disk.latency_us_mean)
            self._world.schedule.after(delay_us, self._guard, self._keep_parts, ready.parts)

    def _latency_us(self) -> int:
        return 100 + int(self._world.random.expovariate(1.0) * self._world.swarm.disk.latency_us_mean)

    def _save_us(self) -> int:
        return 1000 + int(self._world.random.expovariate(1.0) * self._world.swarm.disk.latency_us_mean * 2)

    # --- for peers ---

    def _node_of(self, index: ReplicaIndex) -> int:
        return self._world.node_of[self._replica().replica_id_of(index)]

    def _send_history(self, asker: int, read: HistoryRead) -> None:
        view = self._replica().view
        data = self._history.read(read.first_op, read.last_op)
        self._world.counts["history_read"] += 1
        checkpoint = self._history.checkpoint
        own = self._replica().index
        if not data and checkpoint is not None and checkpoint.op >= read.first_op:
            self._world.counts["snapshot_offered"] += 1
            offer = make_offer(view, own, checkpoint, chunk_bytes=self._world.swarm.load.chunk_bytes)
            self._send([(asker, offer)])
        elif data:
            self._send([(asker, Entries(view=view, replica=own, data=tuple(data), commit=read.last_op))])

    def _send_chunk(self, asker: int, wanted: SnapshotRead) -> None:
        """A chunk of a checkpoint that was offered, if it is still there; sometimes rotten."""
        checkpoint = self._history.checkpoint_at(wanted.op)
        if checkpoint is None:
            return
        chunk = make_chunk(self._replica().view, self._replica().index, checkpoint, wanted)
        if chunk.data and self._world.storming and self._world.random.random() < 0.1:
            self._world.counts["snapshot_chunk_rotten"] += 1
            at = self._world.random.randrange(len(chunk.data))
            rotten = chunk.data[:at] + bytes([chunk.data[at] ^ 1]) + chunk.data[at + 1 :]
            chunk = msgspec.structs.replace(chunk, data=rotten)
        self._send([(asker, chunk)])

    # --- from peers ---

    def _keep_parts(self, parts: Sequence[SnapshotPart]) -> None:
        """What of a snapshot is here already is not fetched again, whatever happens."""
        offer = decode(parts[-1].offer)
        assert isinstance(offer, SnapshotOffer)
        checkpoint = self._history.checkpoint
        if checkpoint is None or checkpoint.op < offer.op:
            self._history.keep_parts(parts)
            self._world.counts["part_kept"] += len(parts)
            self._world.checkers.parts.on_kept(self._node, self._history.parts)

    def parts_found(self) -> list[SnapshotPart]:
        """What a restart finds of a snapshot on its way; sometimes a part has rotted."""
        parts, later = self._history.parts, self._world.later
        if parts and self._world.storming and later.random() < 0.2:
            part = later.choice(list(parts.values()))
            parts[part.number] = msgspec.structs.replace(part, data=bytes([part.data[0] ^ 1]) + part.data[1:])
            self._world.checkers.parts.on_kept(self._node, parts)
            self._world.counts["part_rotten"] += 1
        self._world.counts["part_found"] += len(parts)
        return [parts[number] for number in sorted(parts)]

    def _save_snapshot(self, snapshot: Checkpoint) -> None:
        """What a peer sent becomes our checkpoint, before the replica begins from it."""
        self._boundary()
        checkpoint = self._history.checkpoint
        if checkpoint is None or checkpoint.op < snapshot.op:
            self._store(snapshot)
            self._world.checkers.logs.on_checkpoint(self._node, snapshot.op, snapshot.sessions + snapshot.service)
        else:
            self._take_covered(snapshot)
        self._world.counts["snapshot_saved"] += 1
        self._boundary()
        self._replica().snapshot_saved(snapshot, self._now_s())

    # --- our own ---

    def checkpoint_when_due(self, replica: Replica) -> None:
        """Begin to save a checkpoint when enough was applied since the last one."""
        saved_op = 0 if self._history.checkpoint is None else self._history.checkpoint.op
        if self._saving or replica.applied_op - saved_op < self._world.swarm.load.checkpoint_ops:
            return
        checkpoint = replica.checkpoint()
        self._world.checkers.logs.on_checkpoint(self._node, checkpoint.op, checkpoint.sessions + checkpoint.service)
        self._saving = True
        self._world.schedule.after(self._save_us(), self._guard, self._save, checkpoint)

    def _save(self, checkpoint: Checkpoint) -> None:
        self._boundary()
        self._saving = False
        newest = self._history.checkpoint
        if newest is not None and newest.op > checkpoint.op:
            return  # a snapshot of a peer came in between
        self._store(checkpoint)
        self._world.counts["checkpoint"] += 1
        self._boundary()
        self._replica().checkpoint_done(checkpoint.op, self._now_s())

    def _store(self, checkpoint: Checkpoint) -> None:
        self._history.save(self._take_covered(checkpoint), checkpoint)
        self._world.checkers.parts.on_kept(self._node, self._history.parts)
        self._world.checkers.ledger.on_checkpoint_saved(self._node, checkpoint.op)

    def _take_covered(self, checkpoint: Checkpoint) -> list[CommittedOp]:
        covered = [op for op in self._unsaved if op.entry.header.op <= checkpoint.op]
        self._unsaved = self._unsaved[len(covered) :]
        return covered
