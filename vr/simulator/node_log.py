"""The writer of one node: the production write-ahead log, its queue, and what is tied to its syncs.

One job runs at a time, as in the real host's writer thread: everything that queued up is written in one frame, the sync
takes the disk's latency, and when it returns the tokens of the job complete in order. While it runs, the process lives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vr.log import Entry, decode_entry
from vr.ready import DurableState, Ready, SnapshotPart
from vr.replica import Checkpoint, FaultyEntry, Restored
from vr.simulator.checkers import writes_of
from vr.simulator.disk import SimFileSystem
from vr.simulator.errors import Violation
from vr.simulator.world import World
from vr.storage.frame import Record
from vr.storage.meta import birth_record, ready_records
from vr.storage.write_ahead_log import RecoveredEntry, WriteAheadLog, WriteAheadLogOptions
from vr.types import OpNumber

DIRECTORY = "wal"
JOB_READYS_MAX = 1024
IDLE_MARK_US = 50_000  # a log idle for so long writes its sync mark


class NodeLog:
    """The log of one incarnation of a process. `on_durable(readys)` is called when they are."""

    def __init__(
        self,
        world: World,
        node: int,
        *,
        file_system: SimFileSystem,
        on_durable: Callable[[Sequence[Ready]], None],
        guard: Callable[..., None],
        boundary: Callable[[], None],
    ) -> None:
        self._world = world
        self._node = node
        self._on_durable = on_durable
        self._guard = guard
        self._boundary = boundary
        self._queue: list[Ready] = []
        self._running: list[Ready] = []
        self._written = 0
        options = WriteAheadLogOptions(segment_bytes=world.swarm.disk.segment_bytes, entropy=world.random.randbytes)
        # What recovery writes again is as old as it was: it proves no sync.
        file_system.is_proving = False
        self._wal, self.recovery = WriteAheadLog.open(file_system, DIRECTORY, options=options)
        file_system.is_proving = True

    def restored(self, checkpoint: Checkpoint | None, parts: Sequence[SnapshotPart] = ()) -> Restored:
        """What the replica starts from; the ledger looks at it first."""
        ledger = self._world.checkers.ledger
        group = self.recovery.groups.get(self._world.configuration.group)
        if group is None:
            view = ledger.initial_view
            ledger.on_recovered(self._node, {}, base=0, certain=True, view=view, log_view=view)
            # The group is created: durably, before the replica says a word.
            self._wal.write([birth_record(self._world.configuration.group)])
            self._wal.sync()
            return Restored(state=None, entries=[], head_certain=True, checkpoint=checkpoint)
        if group.meta_faulty:
            raise Violation("meta_survives_rot", f"node {self._node}: one rotten page cost the durable state")
        state = None if group.meta is None else DurableState.from_bytes(group.meta)
        entries = [self._entry(recovered) for recovered in group.entries]
        ledger.on_recovered(
            self._node,
            {entry.op: None if entry.payload is None else entry.checksum for entry in group.entries},
            base=0 if state is None else state.base_op,
            # A replica that knows of a lost tail is not mended because its log looks whole again.
            certain=group.head_certain and (state is None or state.is_head_certain),
            view=ledger.initial_view if state is None else state.view,
            log_view=ledger.initial_view if state is None else state.log_view,
        )
        return Restored(
            state=state, entries=entries, head_certain=group.head_certain, checkpoint=checkpoint, parts=parts
        )

    def _entry(self, recovered: RecoveredEntry) -> Entry | FaultyEntry:
        if recovered.payload is None:
            self._world.counts["faulty_entry"] += 1
            return FaultyEntry(op=OpNumber(recovered.op), checksum=recovered.checksum)
        return decode_entry(recovered.payload)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return not self._queue and not self._running

    def enqueue(self, ready: Ready) -> None:
        """Queue a Ready with a token; it is written with the next job."""
        assert ready.token is not None, "nothing to make durable"
        self._queue.append(ready)
        if not self._running:
            self._write()

    def tie_to_last(self, ready: Ready) -> bool:
        """Whether something earlier is not durable yet; then the messages of `ready` go when it is."""
        if self.is_idle:
            return False
        (self._queue or self._running).append(ready)
        return True

    def _write(self) -> None:
        self._running, self._queue = self._queue[:JOB_READYS_MAX], self._queue[JOB_READYS_MAX:]
        writes = [ready for ready in self._running if ready.token is not None]
        self._boundary()
        self._world.checkers.ledger.on_written(self._node, [writes_of(ready) for ready in writes])
        for frame in self._frames(writes):
            self._wal.write(frame)
            self._written += 1
        self._boundary()
        self._world.schedule.after(self._latency_us(), self._guard, self._sync)

    def _frames(self, writes: Sequence[Ready]) -> list[list[Record]]:
        """The records of a job, usually all in one frame; what one Ready wants is never torn apart."""
        group, split = self._world.configuration.group, self._world.swarm.disk.split
        frames: list[list[Record]] = []
        for ready in writes:
            if not frames or (split and self._world.random.random() < split):
                frames.append([])
            frames[-1] += ready_records(group, ready)
        return [frame for frame in frames if frame]

    def _latency_us(self) -> int:
        draw, faults = self._world.random, self._world.swarm.disk
        if self._world.storming and draw.random() < faults.stall:
            return int(draw.random() * faults.stall_us_max)
        return 50 + int(draw.expovariate(1.0) * faults.latency_us_mean)

    def _sync(self) -> None:
        self._boundary()
        self._wal.sync()
        self._world.checkers.ledger.on_synced(self._node)
        self._boundary()
        done, self._running = self._running, []
        if self._queue:
            self._write()
        else:
            self._world.schedule.after(IDLE_MARK_US, self._guard, self._mark, self._written)
        self._on_durable(done)

    def _mark(self, written: int) -> None:
        if self.is_idle and written == self._written:
            self._wal.write_sync_mark()

    def release(self, base_op: int) -> None:
        """Entries up to `base_op` are in the history."""
        self._wal.release(self._world.configuration.group, base_op)
