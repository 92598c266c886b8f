"""The turn of the host's loop: everything that came in, through the cores, and out again. Synchronous; never waits.

```
 durable writes ─┐                                   ┌─▶ frames, one per peer ─▶ transport
 messages ───────┼─▶ step the cores ─▶ Ready of the ─┼─▶ records ─▶ one write, one sync for all groups ─▶ durable writes
 requests ───────┤    (dirty groups)    dirty ones    ├─▶ replies, commits, status ─▶ embedder
 timers, fates ──┘                                   └─▶ backlog, checkpoints ─▶ archive ─▶ log released
```

While a sync runs, turns go on and their records gather for the next one: batches grow by themselves under load, and an idle
host delays nothing. Everything here runs in one task; whoever calls in from outside only fills the inbox.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import assert_never

import trio

from vr.host import limits
from vr.host.archive import ArchiveJob, ChunkRead, EpochBegin, PeerRead, Read
from vr.host.cooling import Cooling
from vr.host.embedder import Embedder, HostOptions, Transport
from vr.host.fates import Fate, Tidings
from vr.host.hosted_group import HostedGroup
from vr.host.neighbours import Neighbours
from vr.host.statistics import HostStatistics
from vr.host.timers import Timers
from vr.host.waiting_reads import WaitingReads
from vr.host.write_queue import Write, WriteQueue
from vr.host.writer import Job, LogWriter, LookJob, MarkJob, PinsJob, ReleaseJob, SpareJob, WriteJob
from vr.log import Request
from vr.messages import Entries, Message, encode
from vr.ready import CommittedOp, EpochEnd, Ready, SnapshotPart
from vr.replica import Checkpoint, Status
from vr.state_transfer import make_chunk, make_offer
from vr.storage.meta import ready_records
from vr.types import GroupId, ReplicaId, ReplicaIndex, view_epoch


class Loop:
    """The state of the loop. `writer` is set once, before the first turn."""

    writer: LogWriter

    def __init__(
        self, replica_id: ReplicaId, transport: Transport, embedder: Embedder, *, options: HostOptions, seed: int
    ) -> None:
        self.replica_id = replica_id
        self.options = options
        self.statistics = HostStatistics()
        self.groups: dict[GroupId, HostedGroup] = {}
        self.neighbours = Neighbours(options=options.liveness, seed=seed)
        self.inbox: deque[tuple[HostedGroup, ReplicaId, Message]] = deque()
        self.inbox_bytes = 0
        self.submitted: list[tuple[HostedGroup, Sequence[Request]]] = []
        self.submitted_requests = 0
        self.submitted_bytes = 0
        self.reads: list[Read] = []
        self.waiting_reads = WaitingReads()
        self.cooling = Cooling()
        self.woken = trio.Event()
        self.archive_woken = trio.Event()
        self._transport = transport
        self._embedder = embedder
        self._timers: Timers[HostedGroup] = Timers()
        self._dirty: dict[HostedGroup, None] = {}
        self._waiting = WriteQueue()
        self._writing: list[Write] = []
        self._writing_since = math.inf
        self._mark_at = math.inf
        self._durable: list[Write] = []
        self._peer_reads: list[PeerRead] = []
        self._chunk_reads: list[ChunkRead] = []
        self._snapshots: list[tuple[GroupId, Checkpoint]] = []
        self._parts: list[tuple[GroupId, Sequence[SnapshotPart]]] = []
        self._epochs: list[EpochBegin] = []
        self._seed = seed
        self._checkpoints_due: dict[HostedGroup, None] = {}
        self._backlog_bytes = 0
        self._are_pins_asked = False
        self._is_short_of_space = False

    def wake(self) -> None:
        """Have a turn soon."""
        self.woken.set()

    def touch(self, hosted: HostedGroup) -> None:
        """The replica was given something from outside the loop: see soon what it wants."""
        self._dirty[hosted] = None
        self.wake()

    def add(self, hosted: HostedGroup) -> None:
        """Begin to run a group."""
        now = trio.current_time()
        self.groups[hosted.group] = hosted
        hosted.replica.note_space(is_short=self._is_short_of_space)
        self.neighbours.add_group(hosted, self.replica_id, now)
        self._dirty[hosted] = None
        self.wake()

    def remove(self, hosted: HostedGroup) -> None:
        """Run a group no longer: what still comes in for it is let go, as is what history lacks of it."""
        del self.groups[hosted.group]
        self.neighbours.remove_group(hosted)
        self._timers.set(hosted, math.inf)
        self._dirty.pop(hosted, None)
        self._checkpoints_due.pop(hosted, None)
        self.cooling.forget(hosted)
        self._take_backlog(hosted)
        self.inbox = deque(item for item in self.inbox if item[0] is not hosted)
        self.submitted = [item for item in self.submitted if item[0] is not hosted]
        self._waiting.drop(hosted)
        self._peer_reads = [read for read in self._peer_reads if read.group != hosted.group]
        self._chunk_reads = [read for read in self._chunk_reads if read.group != hosted.group]
        self._snapshots = [item for item in self._snapshots if item[0] != hosted.group]
        self._parts = [item for item in self._parts if item[0] != hosted.group]
        self._epochs = [epoch for epoch in self._epochs if epoch.group != hosted.group]
        for read in self.reads:
            if read.group == hosted.group:
                read.is_done.set()
        self.reads = [read for read in self.reads if read.group != hosted.group]

    # --- a turn -------------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take what came in, step the cores, carry out what they want."""
        now = trio.current_time()
        self.statistics.turns += 1
        self._watch_space()
        self._take_messages(now)
        self._take_submitted(now)
        self._take_fates(now)
        self._take_timers(now)
        self._cool(now)
        self._carry_out(now)
        # The loop may have written by itself: what waited for that goes on at once.
        for _ in range(limits.WRITES_PER_TURN_MAX):
            if not self._durable:
                break
            self._carry_out(now)

    @property
    def is_disk_full(self) -> bool:
        """Is what is left of the disk needed for promises already made?"""
        return self.writer.free_bytes < self.options.free_bytes_min

    def _watch_space(self) -> None:
        """Primaries here refuse what others forward as well; whether space was freed is seen while somebody asks."""
        is_short = self.is_disk_full
        if is_short:
            self.writer.look_again()
        if is_short != self._is_short_of_space:
            self._is_short_of_space = is_short
            for hosted in self.groups.values():
                hosted.replica.note_space(is_short=is_short)

    def _carry_out(self, now: float) -> None:
        self._take_durable(now)
        dirty, self._dirty = self._dirty, {}
        for hosted in dirty:
            self._perform(hosted, now)
        are_frames_queued = self._send(now)
        # Frames leave when the links' tasks run: the loop must not stand still for the disk before that.
        self._start_write(now, may_stand_still=not are_frames_queued)

    @property
    def has_more(self) -> bool:
        """Whether the next turn should come at once."""
        return bool(
            self.inbox or self.submitted or self._durable or self._dirty
        )  # not the waiting writes: the writer wakes us

    def next_deadline(self) -> float:
        """When the next turn is due if nothing comes in."""
        fates_due = self.neighbours.fates.next_due(trio.current_time())
        own_due = min(self._mark_at, self.cooling.next_due())
        return min(self._timers.next_deadline(), self.neighbours.next_tick, own_due, fates_due)

    @property
    def awake_groups(self) -> int:
        """How many groups have a timer."""
        return len(self._timers)

    @property
    def is_drained(self) -> bool:
        """Whether nothing is on its way to the disk."""
        return not (self._writing or self._waiting or self._durable or self.submitted)

    def _take_durable(self, now: float) -> None:
        durable, self._durable = self._durable, []
        for write in durable:
            if write.hosted is not None and self.groups.get(write.hosted.group) is write.hosted:
                self._queue_messages(write.hosted, write.sends)
                write.hosted.replica.storage_done(write.token, now)
                self._dirty[write.hosted] = None
            if write.is_done is not None:
                write.is_done.set()

    def _take_messages(self, now: float) -> None:
        inbox, dirty, fates = self.inbox, self._dirty, self.neighbours.fates
        count = min(len(inbox), limits.MESSAGES_PER_TURN_MAX)
        for _ in range(count):
            hosted, peer, message = inbox.popleft()
            if fates:
                self._tell(fates.take(hosted), now)
            if view_epoch(message.view) != hosted.configuration.epoch:
                self.neighbours.meet(peer, now)
                hosted.replica.step_guest(peer, message, now)
            elif hosted.index_of.get(peer) == message.replica:  # else the epoch has just begun here
                hosted.replica.step(message, now)
            dirty[hosted] = None
        if not inbox:
            self.inbox_bytes = 0
        self.statistics.messages_received += count

    def _take_submitted(self, now: float) -> None:
        submitted, self.submitted = self.submitted, []
        self.submitted_requests = self.submitted_bytes = 0
        for hosted, requests in submitted:
            self._tell(self.neighbours.fates.take(hosted), now)
            hosted.replica.submit(requests, now)
            self._dirty[hosted] = None

    def _take_fates(self, now: float) -> None:
        if now >= self.neighbours.next_tick:
            for peer, frame in self.neighbours.tick(now, may_beat=not self._is_stalled(now)):
                self._transport.send(peer, frame)
        self._tell(self.neighbours.fates.due(now), now)

    def _tell(self, tidings: Iterable[Tidings], now: float) -> None:
        for hosted, index, fate in tidings:
            match fate:
                case Fate.SUSPECTED:
                    hosted.replica.suspect(index, now)
                case Fate.TRUSTED:
                    hosted.replica.trust(index, now)
                case Fate.CONNECTED:
                    hosted.replica.peer_connected(index, now)
                case _:
                    assert_never(fate)
            self._dirty[hosted] = None

    def _is_stalled(self, now: float) -> bool:
        """A node whose disk hangs falls silent, so that others take over its groups."""
        return now - self._writing_since > limits.SYNC_STALL_S

    def _take_timers(self, now: float) -> None:
        for hosted in self._timers.due(now):
            hosted.replica.tick(now)
            self._dirty[hosted] = None

    # --- what a replica wants -----------------------------------------------------------------------------------------

    def _perform(self, hosted: HostedGroup, now: float) -> None:
        ready = hosted.replica.ready(now)
        if ready is not None:
            self._queue_messages(hosted, ready.send_now)
            self._queue_write(hosted, ready)
            self._report(hosted, ready, now)
            for wanted in ready.history_reads:
                peer = hosted.replica.replica_id_of(wanted.to)
                self._queue_peer_read(PeerRead(group=hosted.group, peer=peer, wanted=wanted))
            self._take_snapshots(hosted, ready)
            if ready.epoch_end is not None:
                self._end_epoch(hosted, ready.epoch_end)
        self._timers.set(hosted, hosted.replica.next_deadline())
        if hosted.has_new_status():
            self._time_view_change(hosted, now)
            self._embedder.on_status(hosted.group)

    def _time_view_change(self, hosted: HostedGroup, now: float) -> None:
        is_normal = hosted.replica.status is Status.NORMAL
        if is_normal and hosted.between_views_since < math.inf:
            self.statistics.view_changes_s.append(now - hosted.between_views_since)
        if is_normal or hosted.between_views_since == math.inf:
            hosted.between_views_since = math.inf if is_normal else now

    def _queue_messages(self, hosted: HostedGroup, messages: Sequence[tuple[ReplicaIndex, Message]]) -> None:
        last: Message | None = None
        data = b""
        for to, message in messages:
            if message is not last:  # a broadcast is one object: encoded once, the same bytes to everybody
                last, data = message, encode(message)
            self.neighbours.queue(hosted.replica.replica_id_of(to), (hosted.group, data))

    def _queue_write(self, hosted: HostedGroup, ready: Ready) -> None:
        if ready.token is not None:
            records = ready_records(hosted.group, ready)
            size = sum(len(record.payload) for record in records)
            self._waiting.push(
                Write(records=records, size=size, hosted=hosted, token=ready.token, sends=ready.send_after)
            )
        else:
            assert not ready.send_after, "what waits for the disk comes with a token"

    def _report(self, hosted: HostedGroup, ready: Ready, now: float) -> None:
        embedder, group = self._embedder, hosted.group
        if ready.committed:
            self._backlog_bytes += hosted.note_committed(ready.committed, now)
            self.cooling.note_used(hosted, now)
            self.statistics.operations_committed += len(ready.committed)
            embedder.on_committed(group, ready.committed)
            self._watch_backlog(hosted)
        if ready.reads:
            self.waiting_reads.settle(ready.reads)
        for reply in ready.replies:
            embedder.on_reply(group, reply)
        for rejected in ready.rejected:
            embedder.on_rejected(group, rejected)

    def _send(self, now: float) -> bool:
        """Whether anything was sent."""
        statistics, send = self.statistics, self._transport.send
        frames_before = statistics.frames_sent
        for peer, frame in self.neighbours.frames(now):
            statistics.frames_sent += 1
            statistics.bytes_sent += len(frame)
            send(peer, frame)
        return statistics.frames_sent > frames_before

    # --- epochs -------------------------------------------------------------------------------------------------------

    def _end_epoch(self, hosted: HostedGroup, end: EpochEnd) -> None:
        """All that the next epoch begins with is durable here; now that it begins has to be."""
        notes = self._embedder.on_epoch_end(hosted.group, end)
        is_ours = end.configuration.index_of(self.replica_id) is not None
        self._epochs.append(EpochBegin(group=hosted.group, end=end if is_ours else None, notes=notes))
        self.archive_woken.set()

    def _begin_epoch(self, epoch: EpochBegin, now: float) -> None:
        hosted = self.groups.get(epoch.group)
        if hosted is None:
            return
        replica = hosted.replica.next_epoch(now, self._seed ^ int.from_bytes(hosted.group[:7], "big"))
        if replica is not None:
            self.neighbours.remove_group(hosted)
            hosted.begin_epoch(replica.configuration, replica)
            self.neighbours.add_group(hosted, self.replica_id, now)
            replica.note_space(is_short=self._is_short_of_space)
            self.statistics.epochs_begun += 1
        self._dirty[hosted] = None
        self._embedder.on_status(hosted.group)

    # --- the disk -----------------------------------------------------------------------------------------------------

    def queue_write(self, write: Write) -> None:
        """Make records durable with the next sync."""
        self._waiting.push(write)
        self.wake()

    def _start_write(self, now: float, *, may_stand_still: bool) -> None:
        if self._writing or not self._waiting:
            if now >= self._mark_at and not self._writing:
                self._mark_at = math.inf
                self.writer.submit(MarkJob())
            return
        job = self._next_write_job()
        self._writing_since = now
        self._mark_at = now + limits.MARK_AFTER_IDLE_S
        self.statistics.writes += 1
        self.statistics.records_written += len(job.records)
        self.statistics.bytes_written += job.size
        if not (may_stand_still and self.writer.may_write_here(job.size)):
            self.writer.submit(job)
        elif self.writer.write_here(job):
            self._on_written()

    def _next_write_job(self) -> WriteJob:
        self._writing += self._waiting.take(limits.WRITE_BYTES_MAX)
        records = [record for write in self._writing for record in write.records]
        size = sum(write.size for write in self._writing)
        return WriteJob(records=records, size=size)

    def on_job_done(self, job: Job, pins: Sequence[GroupId]) -> None:
        """The writer's thread has done a job; called in the order of the jobs."""
        match job:
            case WriteJob():
                self._on_written()
                self._start_write(trio.current_time(), may_stand_still=False)
                self.wake()
            case PinsJob():
                self._are_pins_asked = False
                self._want_checkpoints(pins)
            case ReleaseJob() | MarkJob() | SpareJob() | LookJob():
                pass
        if self.writer.wants_spare and not self._writing:
            self.writer.submit(SpareJob())

    def _on_written(self) -> None:
        duration_s = trio.current_time() - self._writing_since
        self.statistics.writes_s.append(duration_s)
        self._durable += self._writing
        self._writing.clear()
        self._writing_since = math.inf
        self._ask_for_pins()

    def _ask_for_pins(self) -> None:
        if self.writer.live_segments > self.options.log_segments_max and not self._are_pins_asked:
            self._are_pins_asked = True
            self.writer.submit(PinsJob())

    # --- the archive --------------------------------------------------------------------------------------------------

    def _want_checkpoints(self, groups: Sequence[GroupId]) -> None:
        """The log is long: the groups that keep its oldest segment have to let go."""
        for group in groups:
            hosted = self.groups.get(group)
            if hosted is not None:
                hosted.is_checkpoint_wanted = True
                self._watch_backlog(hosted)

    def _cool(self, now: float) -> None:
        """What is not in the last checkpoint goes into another one; then nothing has to stay in memory."""
        for hosted in self.cooling.take(now):
            hosted.is_cold = True
            hosted.is_checkpoint_wanted = hosted.replica.applied_op > hosted.checkpoint_op
            if hosted.is_checkpoint_wanted:
                self._watch_backlog(hosted)
            else:
                hosted.replica.checkpoint_done(hosted.checkpoint_op, now, is_cold=True)
            self.statistics.groups_cooled += 1

    def _watch_backlog(self, hosted: HostedGroup) -> None:
        if hosted.wants_checkpoint(ops=self.options.checkpoint_ops, size=self.options.checkpoint_bytes):
            self._checkpoints_due[hosted] = None
            self.archive_woken.set()
        elif self._backlog_bytes > limits.BACKLOG_BYTES_MAX:
            self.archive_woken.set()

    def _queue_peer_read(self, read: PeerRead) -> None:
        if len(self._peer_reads) >= limits.HISTORY_READS_MAX:
            self.statistics.history_reads_dropped += 1  # the peer asks again
            return
        self._peer_reads.append(read)
        self.archive_woken.set()

    def _take_snapshots(self, hosted: HostedGroup, ready: Ready) -> None:
        for chunk in ready.snapshot_reads:
            if len(self._chunk_reads) < limits.CHUNK_READS_MAX:  # the peer asks again
                peer = hosted.replica.replica_id_of(chunk.to)
                self._chunk_reads.append(ChunkRead(group=hosted.group, peer=peer, wanted=chunk))
        self._snapshots += [(hosted.group, snapshot) for snapshot in ready.snapshots]
        if ready.parts and len(self._parts) < limits.PARTS_MAX:
            self._parts.append((hosted.group, ready.parts))
        if ready.snapshot_reads or ready.snapshots or ready.parts:
            self.archive_woken.set()

    def next_archive_job(self, *, is_last: bool = False) -> ArchiveJob | None:
        """What is due for history; None when nothing is. `is_last` takes every backlog there is."""
        due = list(self._checkpoints_due)[: limits.CHECKPOINT_GROUPS_MAX]
        reads, self.reads = self.reads, []
        peer_reads, self._peer_reads = self._peer_reads, []
        chunk_reads, self._chunk_reads = self._chunk_reads, []
        snapshots, self._snapshots = self._snapshots, []
        parts, self._parts = self._parts, []
        epochs, self._epochs = self._epochs, []
        if is_last or self._backlog_bytes > limits.BACKLOG_BYTES_MAX:
            concerned = dict.fromkeys(self.groups.values())
        else:
            readers = [read.group for read in reads] + [read.group for read in peer_reads]
            readers += [group for group, _ in snapshots]
            concerned = dict.fromkeys([*due, *(self.groups[group] for group in readers)])
        appends = [(hosted.group, self._take_backlog(hosted)) for hosted in concerned if hosted.backlog]
        checkpoints = [self._checkpoint(hosted) for hosted in due]
        if not (appends or checkpoints or reads or peer_reads or chunk_reads or snapshots or parts or epochs):
            return None
        return ArchiveJob(
            appends=appends, parts=parts, checkpoints=checkpoints, snapshots=snapshots, forgotten=self._forgotten(checkpoints),
            reads=reads, peer_reads=peer_reads, chunk_reads=chunk_reads, epochs=epochs,
        )  # fmt: skip

    def _forgotten(self, checkpoints: Sequence[tuple[GroupId, Checkpoint]]) -> list[tuple[GroupId, int]]:
        """What history may drop: never above the checkpoint before, from which a restart begins if the newest rots."""
        keep = self.options.history_ops_max
        if keep is None:
            return []
        through = [(group, min(self.groups[group].checkpoint_op, made.op - keep)) for group, made in checkpoints]
        return [(group, op) for group, op in through if op > 0]

    def _take_backlog(self, hosted: HostedGroup) -> list[CommittedOp]:
        self._backlog_bytes -= hosted.backlog_bytes
        return hosted.take_backlog()

    def _checkpoint(self, hosted: HostedGroup) -> tuple[GroupId, Checkpoint]:
        del self._checkpoints_due[hosted]
        hosted.is_checkpointing = True
        hosted.committed_bytes = 0
        return hosted.group, hosted.replica.checkpoint()

    def on_archived(self, job: ArchiveJob) -> None:
        """A job is done: its checkpoints are durable, its reads have their answers."""
        now = trio.current_time()
        for group, checkpoint in job.checkpoints:
            hosted = self.groups.get(group)
            if hosted is None:
                continue  # forgotten meanwhile
            hosted.checkpoint_op = max(hosted.checkpoint_op, checkpoint.op)
            hosted.is_checkpointing = hosted.is_checkpoint_wanted = False
            hosted.replica.checkpoint_done(checkpoint.op, now, is_cold=hosted.is_cold)
            self._dirty[hosted] = None
            self.statistics.checkpoints += 1
        for epoch in job.epochs:
            self._begin_epoch(epoch, now)
        for group, snapshot in job.snapshots:
            self._begin_from(group, snapshot, now)
        durable = [*job.checkpoints, *job.snapshots]
        if durable:
            self.writer.submit(ReleaseJob(bases=[(group, checkpoint.op) for group, checkpoint in durable]))
        for read in job.reads:
            read.is_done.set()
        for peer_read in job.peer_reads:
            self._answer(peer_read)
        for chunk_read in job.chunk_reads:
            self._answer_chunk(chunk_read)
        self.wake()

    def _begin_from(self, group: GroupId, snapshot: Checkpoint, now: float) -> None:
        hosted = self.groups.get(group)
        if hosted is None:
            return
        hosted.checkpoint_op = max(hosted.checkpoint_op, snapshot.op)
        hosted.replica.snapshot_saved(snapshot, now)
        self._dirty[hosted] = None
        self.statistics.snapshots_installed += 1
        self._embedder.on_status(hosted.group)

    def _answer_chunk(self, read: ChunkRead) -> None:
        hosted = self.groups.get(read.group)
        if hosted is not None and read.checkpoint is not None:
            chunk = make_chunk(hosted.replica.view, hosted.replica.index, read.checkpoint, read.wanted)
            self._send_to(read.peer, hosted, chunk)

    def _answer(self, read: PeerRead) -> None:
        hosted = self.groups.get(read.group)
        if hosted is None:
            return
        if read.entries:
            replica = hosted.replica
            data = tuple(stored.entry for stored in read.entries)
            answer = Entries(view=replica.view, replica=replica.index, data=data, commit=replica.commit_number)
            self._send_to(read.peer, hosted, answer)
        elif read.checkpoint is not None:
            self.statistics.snapshots_offered += 1
            offer = make_offer(hosted.replica.view, hosted.replica.index, read.checkpoint)
            self._send_to(read.peer, hosted, offer)

    def _send_to(self, peer: ReplicaId, hosted: HostedGroup, message: Message) -> None:
        """By identity: an index that was read from the disk's answer may be of the epoch before."""
        self.neighbours.queue(peer, (hosted.group, encode(message)))
