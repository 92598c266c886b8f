"""Many replicas in one process: one loop, one log, one history, one link per peer node (vr.md 4).

```
 open_host ─ folder lock, identity ─ log recovery ─ history ─ replicas restored ─▶ Host, until the block ends:
             two tasks (loop, archive), one thread (log writer), a worker thread now and then (history)
 end       ─ nothing new is taken, what is on its way to the disk arrives, backlogs go to history, files close
```

A failed write, sync or database stops everything: the error comes out of `open_host`, and the process must end. Whoever
starts it again starts from the disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import msgspec
import trio

from vr.configuration import Configuration
from vr.errors import UnknownGroup
from vr.host import limits
from vr.host.archive import ArchiveJob, Read, do_archive_job
from vr.host.embedder import Embedder, HostOptions, ServiceFactory, Transport
from vr.host.errors import Busy, DiskFull, GenesisConflict, GroupDamaged, HostClosed, NotAMember, PeerFrameError
from vr.host.hosted_group import HostedGroup
from vr.host.loop import Loop
from vr.host.opening import OpenStorage, open_storage
from vr.host.peer_frame import decode_peer_frame
from vr.host.statistics import HostStatistics
from vr.host.write_queue import Write
from vr.host.writer import LogWriter, ReleaseJob
from vr.log import Request
from vr.messages import decode
from vr.reconfiguration import Refusal
from vr.replica import Replica, ReplicaOptions, Restored
from vr.storage.errors import StorageError
from vr.storage.file_system import FileSystem, RealFileSystem
from vr.storage.frame import Record
from vr.storage.history import HistoryEntry, StoredGroup
from vr.storage.limits import HISTORY_READ_BYTES_MAX
from vr.storage.meta import birth_record
from vr.types import ClientId, GroupId, OpNumber, ReplicaId, SessionNumber, view_epoch

OP_MAX = OpNumber((1 << 63) - 1)
"""Above every operation: all of a group's log may go."""


class Host:
    """The replicas of this process. Make it with `open_host`; use it from the trio thread only."""

    def __init__(
        self,
        storage: OpenStorage,
        transport: Transport,
        service_factory: ServiceFactory,
        embedder: Embedder,
        *,
        options: HostOptions,
    ) -> None:
        self._storage = storage
        self._service_factory = service_factory
        self._options = options
        self._seed = secrets.randbits(63) if options.seed is None else options.seed
        self._loop = Loop(storage.folder.replica_id, transport, embedder, options=options, seed=self._seed)
        self._damaged: dict[GroupId, str] = dict(storage.damaged)
        self._creating: set[GroupId] = set()
        self._scope = trio.CancelScope()
        self._alarm = trio.CancelScope()
        self._is_closing = False
        self._is_looping = False
        self._limiter = trio.CapacityLimiter(1)
        self.failure: StorageError | None = None
        for group, restored in storage.restored:
            self._start_group(group, restored)

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def replica_id(self) -> ReplicaId:
        """The identity of this data folder."""
        return self._loop.replica_id

    @property
    def statistics(self) -> HostStatistics:
        """Counters since start."""
        return self._loop.statistics

    @property
    def recovery_report(self) -> Sequence[str]:
        """What the log's recovery cut or found damaged, in words; empty after a clean end."""
        return self._storage.report

    @property
    def damaged(self) -> Mapping[GroupId, str]:
        """Groups that cannot run here because promises were lost, and why."""
        return self._damaged

    @property
    def log_segments(self) -> int:
        """Segments of the log that are in use."""
        return self._loop.writer.live_segments

    @property
    def is_disk_full(self) -> bool:
        """Whether new requests are refused for want of space."""
        return self._loop.is_disk_full

    def groups(self) -> Iterable[GroupId]:
        """The groups that run here."""
        return self._loop.groups.keys()

    @property
    def awake_groups(self) -> int:
        """How many groups wait for a time of their own; all others sleep until something comes in."""
        return self._loop.awake_groups

    @property
    def warm_groups(self) -> int:
        """How many groups keep operations in memory (`vr.host.cooling`)."""
        return len(self._loop.cooling)

    def is_cold(self, group: GroupId) -> bool:
        """Whether a group was silent for long and keeps nothing in memory. Raises UnknownGroup, GroupDamaged."""
        return self._hosted(group).is_cold

    def replica(self, group: GroupId) -> Replica:
        """A replica, to look at. Raises UnknownGroup, GroupDamaged."""
        return self._hosted(group).replica

    def is_suspected(self, peer: ReplicaId) -> bool:
        """Whether a peer node seems dead or unreachable."""
        return self._loop.neighbours.is_suspected(peer)

    # --- from clients -------------------------------------------------------------------------------------------------

    def submit(self, group: GroupId, requests: Sequence[Request]) -> None:
        """Take requests of clients attached here: all or none. Each is answered through the embedder, once.

        Raises:
            UnknownGroup, GroupDamaged, HostClosed: not here, not any more.
            Busy: a bound is reached.
            DiskFull: nearly; other nodes may have space.
        """
        hosted = self._hosted(group)
        loop = self._loop
        size = sum(len(request.body) for request in requests)
        if self._is_closing:
            raise HostClosed("the host is stopping")
        if self.is_disk_full:
            loop.statistics.submits_refused += 1
            loop.writer.look_again()
            raise DiskFull("the disk is nearly full")
        if (
            loop.submitted_requests + len(requests) > limits.SUBMITTED_REQUESTS_MAX
            or loop.submitted_bytes + size > limits.SUBMITTED_BYTES_MAX
        ):
            loop.statistics.submits_refused += 1
            raise Busy("too many requests wait", retry_after_s=limits.BUSY_RETRY_AFTER_S)
        loop.submitted.append((hosted, requests))
        loop.submitted_requests += len(requests)
        loop.submitted_bytes += size
        loop.wake()

    def forget(self, group: GroupId, client: ClientId, session: SessionNumber) -> None:
        """Nobody here waits for this session any more; what is pending may still commit."""
        self._hosted(group).replica.forget(client, session)

    async def read_index(self, group: GroupId, *, min_op: OpNumber | None = None) -> OpNumber:
        """Wait until the service here may be read; the operation it is at by then.

        Without `min_op` a look at the service then shows everything that was acknowledged, to anybody, before this call;
        with it, everything through that operation: a client's own writes. No time-out: without a majority it waits.

        Raises:
            UnknownGroup, GroupDamaged, HostClosed: not here, not any more.
            Busy: too many reads wait.
        """
        hosted = self._hosted(group)
        if self._is_closing:
            raise HostClosed("the host is stopping")
        waiting = self._loop.waiting_reads.begin()
        try:
            if not hosted.replica.read_index(waiting.number, trio.current_time(), min_op=min_op):
                raise Busy("too many reads wait", retry_after_s=limits.BUSY_RETRY_AFTER_S)
            self._loop.touch(hosted)
            return await waiting.result()
        finally:
            self._loop.waiting_reads.end(waiting)
            if waiting.op is None:
                hosted.replica.forget_read(waiting.number)

    async def read_history(
        self, group: GroupId, mark: int, bytes_max: int = HISTORY_READ_BYTES_MAX
    ) -> list[HistoryEntry]:
        """Committed operations that moved the service past `mark`, ascending, at least one if there is one.

        Raises:
            UnknownGroup, GroupDamaged: not here.
            Busy: too many reads wait.
        """
        hosted = self._hosted(group)
        if len(self._loop.reads) >= limits.HISTORY_READS_MAX:
            raise Busy("too many reads of history wait", retry_after_s=limits.BUSY_RETRY_AFTER_S)
        read = Read(group=hosted.group, mark=mark, bytes_max=bytes_max, is_done=trio.Event())
        self._loop.reads.append(read)
        self._loop.archive_woken.set()
        await read.is_done.wait()
        return read.entries

    # --- from peers ---------------------------------------------------------------------------------------------------

    def receive(self, peer: ReplicaId, frame: bytes | bytearray | memoryview) -> None:
        """Take a frame from a peer whose identity the link has proven. Dropped, and counted, when the inbox is full.

        Raises:
            PeerError: not a frame, not a message, or a message in another's name. Close the link.
        """
        loop = self._loop
        loop.statistics.frames_received += 1
        loop.neighbours.on_heard(peer, trio.current_time())
        if len(loop.inbox) >= limits.INBOX_MESSAGES_MAX or loop.inbox_bytes >= limits.INBOX_BYTES_MAX:
            loop.statistics.frames_dropped_inbox_full += 1
            return
        for group, data in decode_peer_frame(frame):
            hosted = loop.groups.get(GroupId(group))
            if hosted is None:
                loop.statistics.messages_for_unknown_groups += 1
                continue
            message = decode(data)
            if view_epoch(message.view) == hosted.configuration.epoch and message.replica != hosted.index_of.get(peer):
                raise PeerFrameError("a message names another replica than the link's")
            loop.inbox.append((hosted, peer, message))
        loop.inbox_bytes += len(frame)
        loop.wake()

    def peer_connected(self, peer: ReplicaId) -> None:
        """A link stands."""
        self._loop.neighbours.on_connected(peer, trio.current_time())
        self._loop.wake()

    def peer_disconnected(self, peer: ReplicaId) -> None:
        """The link broke: the peer is suspected until it is heard again."""
        self._loop.neighbours.on_disconnected(peer, trio.current_time())
        self._loop.wake()

    # --- epochs -------------------------------------------------------------------------------------------------------

    def reconfigure(self, group: GroupId, configuration: Configuration) -> Refusal | None:
        """End the epoch of a group that is led from here, so that the next one begins (`Configuration.successor`).

        None: begun; it ends everywhere as `Embedder.on_epoch_end` says, unless another view comes in between.

        Raises:
            UnknownGroup, GroupDamaged: not here.
        """
        hosted = self._hosted(group)
        refusal = hosted.replica.reconfigure(configuration, trio.current_time())
        self._loop.touch(hosted)
        return refusal

    def transfer_primary(self, group: GroupId, peer: ReplicaId) -> bool:
        """Hand the lead of a group over to another member; False when it is not led from here, or the other lags behind.

        Raises:
            UnknownGroup, GroupDamaged: not here.
        """
        hosted = self._hosted(group)
        index = hosted.index_of.get(peer)
        if index is None:
            return False
        is_begun = hosted.replica.transfer_primary(index, trio.current_time())
        self._loop.touch(hosted)
        return is_begun

    # --- groups -------------------------------------------------------------------------------------------------------

    async def create_group(self, configuration: Configuration, genesis: bytes) -> None:
        """Host a group; durable when this returns. Nothing when the very same group is here already.

        With a configuration of a later epoch this replica begins as a standby, and fetches everything from the others.

        Raises:
            NotAMember: the configuration does not name this replica, or wants its vote without a log to vouch for.
            GenesisConflict: the group is here with another configuration or genesis, or is being created.
            GroupDamaged, HostClosed: cannot.
        """
        group = configuration.group
        if self._is_closing:
            raise HostClosed("the host is stopping")
        index = configuration.index_of(self.replica_id)
        if index is None:
            raise NotAMember("the configuration does not name this replica")
        if configuration.epoch and configuration.is_member(index):
            raise NotAMember("a replica that comes later begins as a standby: nothing here vouches for what was before")
        if group in self._damaged:
            raise GroupDamaged(self._damaged[group])
        known = self._loop.groups.get(group)
        if known is not None:
            if (known.configuration, known.genesis) != (configuration, genesis):
                raise GenesisConflict(f"group {group.hex()} exists with another configuration or genesis")
            return
        if group in self._creating:
            raise GenesisConflict(f"group {group.hex()} is being created")
        self._creating.add(group)
        try:
            await self._make_durable(configuration, genesis)
        finally:
            self._creating.discard(group)
        stored = StoredGroup(group=group, configuration=configuration.to_bytes(), genesis=genesis)
        self._start_group(stored, Restored.fresh())

    async def _make_durable(self, configuration: Configuration, genesis: bytes) -> None:
        """The log first: a group that history knows and the log does not is one that lost its promises."""
        await self._write(birth_record(configuration.group))
        stored = StoredGroup(group=configuration.group, configuration=configuration.to_bytes(), genesis=genesis)
        await self._in_thread(lambda: self._storage.history.create_group(stored))

    async def _write(self, record: Record) -> None:
        write = Write(records=[record], size=0, is_done=trio.Event())
        self._loop.queue_write(write)
        assert write.is_done is not None
        await write.is_done.wait()

    async def forget_group(self, group: GroupId) -> None:
        """Host a group no longer: its log, history and promises go; its notes stay. Durable when this returns.

        Only for a replica that has no vote any more, or whose others can do without it for ever: what it promised is gone.

        Raises:
            UnknownGroup: not here. A damaged group may be forgotten.
            HostClosed: cannot.
        """
        if self._is_closing:
            raise HostClosed("the host is stopping")
        hosted = self._loop.groups.get(group)
        if hosted is None and self._damaged.pop(group, None) is None:
            raise UnknownGroup(f"no group {group.hex()} here")
        if hosted is not None:
            self._loop.remove(hosted)
        self._creating.add(group)
        try:
            # History first: from then on the log's promises count for nothing, whatever is cut here.
            await self._in_thread(lambda: self._storage.history.forget_group(group))
            await self._write(birth_record(group))
        finally:
            self._creating.discard(group)
        self._loop.writer.submit(ReleaseJob(bases=[(group, OP_MAX)]))

    async def keep_note(self, group: GroupId, note: int, data: bytes) -> None:
        """Keep a small fact of the embedder beside a group that is or was hosted here; durable when this returns."""
        await self._in_thread(lambda: self._storage.history.keep_note(group, note, data))

    def notes(self) -> Mapping[GroupId, Sequence[bytes]]:
        """What was kept by `keep_note` when the host was opened, in the order of the notes' numbers."""
        return self._storage.notes

    def _start_group(self, stored: StoredGroup, restored: Restored) -> None:
        configuration = Configuration.from_bytes(stored.configuration)
        index = configuration.index_of(self.replica_id)
        assert index is not None, "only groups that name this replica are stored"
        replica = Replica(
            configuration,
            index,
            self._service_factory(stored.group, stored.genesis),
            restored,
            now=trio.current_time(),
            seed=self._seed ^ int.from_bytes(stored.group[:7], "big"),
            options=self._replica_options(),
        )
        op = restored.checkpoint.op if restored.checkpoint is not None else OpNumber(0)
        self._loop.add(HostedGroup(configuration, stored.genesis, replica, checkpoint_op=op))

    def _replica_options(self) -> ReplicaOptions:
        options = self._options.replica
        if options.wall_clock_us is ReplicaOptions().wall_clock_us:
            return msgspec.structs.replace(options, wall_clock_us=_wall_clock_us)
        return options

    def _hosted(self, group: GroupId) -> HostedGroup:
        hosted = self._loop.groups.get(group)
        if hosted is not None:
            return hosted
        if group in self._damaged:
            raise GroupDamaged(self._damaged[group])
        raise UnknownGroup(f"no group {group.hex()} here")

    # --- life ---------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self, free_bytes: Callable[[], int]) -> AsyncIterator[None]:
        """Run for the length of a block; for `open_host`. Closes the storage, and raises what made it fail."""
        self._loop.writer = self._make_writer(free_bytes)
        try:
            with self._scope:
                self._loop.turn()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._run_loop)
                    nursery.start_soon(self._run_alarm)
                    nursery.start_soon(self._run_archive)
                    try:
                        yield
                    finally:
                        with trio.move_on_after(limits.DRAIN_S, shield=True):
                            await self._drain()
                        nursery.cancel_scope.cancel()
        finally:
            self._is_closing = True
            self._loop.waiting_reads.close()
            with trio.move_on_after(limits.DRAIN_S, shield=True):
                await trio.to_thread.run_sync(self._loop.writer.close, abandon_on_cancel=True)
        if self.failure is not None:
            raise self.failure

    def _make_writer(self, free_bytes: Callable[[], int]) -> LogWriter:
        token = trio.lowlevel.current_trio_token()

        def call_soon(function: Callable[..., object], *arguments: object) -> None:
            # When trio has ended there is nobody to tell any more.
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(function, *arguments)

        return LogWriter(
            self._storage.log,
            call_soon=call_soon,
            on_done=self._loop.on_job_done,
            on_failed=self._fail,
            free_bytes=free_bytes,
        )

    async def _run_loop(self) -> None:
        loop = self._loop
        self._is_looping = True
        try:
            while True:
                loop.woken = trio.Event()
                loop.turn()
                if loop.has_more:
                    await trio.lowlevel.checkpoint()
                    continue
                deadline = loop.next_deadline()
                if deadline < self._alarm.deadline:
                    self._alarm.deadline = deadline
                await loop.woken.wait()
        finally:
            self._is_looping = False
            loop.wake()

    async def _run_alarm(self) -> None:
        """Wakes the loop at its next deadline. Moving one deadline is cheaper than a cancel scope around every wait."""
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()  # the loop sets its deadline at the end of the turn
            self._loop.wake()

    async def _run_archive(self) -> None:
        loop = self._loop
        while True:
            await loop.archive_woken.wait()
            loop.archive_woken = trio.Event()
            while (job := loop.next_archive_job()) is not None:
                if not await self._archive(job):
                    return

    async def _archive(self, job: ArchiveJob) -> bool:
        """Whether it went well."""
        try:
            await self._in_thread(lambda: do_archive_job(self._storage.history, job))
        except StorageError as error:
            self._fail(error)
            return False
        self._loop.on_archived(job)
        return True

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """One at a time: the database has one connection."""
        await trio.to_thread.run_sync(work, limiter=self._limiter)

    def _fail(self, error: StorageError) -> None:
        """Storage failed: acknowledge nothing more, stop, be loud."""
        if self.failure is None:
            self.failure = error
        self._is_closing = True
        self._scope.cancel()

    async def _drain(self) -> None:
        """Let what is on its way arrive; what does not in time was never acknowledged. Cancelled hosts do not wait."""
        self._is_closing = True
        while self._is_looping and self.failure is None and not self._loop.is_drained:
            await self._loop.woken.wait()
            await trio.lowlevel.checkpoint()
        job = self._loop.next_archive_job(is_last=True)
        if self.failure is None and job is not None:
            await self._archive(job)


@contextlib.asynccontextmanager
async def open_host(
    directory: str | os.PathLike[str],
    transport: Transport,
    service_factory: ServiceFactory,
    embedder: Embedder,
    *,
    file_system: FileSystem | None = None,
    options: HostOptions | None = None,
) -> AsyncIterator[Host]:
    """Run the groups of a data folder for the length of an `async with` block.

    Operations restored from the log are reported to `embedder.on_committed` before the block begins.

    Raises:
        FolderInUse, FolderEmpty, WrongFolder: this folder must not be used.
        StoragePoisoned, HistoryUnusable: the disk failed, at start or later; end the process.
    """
    options = options or HostOptions()
    file_system = file_system or RealFileSystem()
    path = os.fspath(directory)
    storage = await trio.to_thread.run_sync(lambda: open_storage(file_system, path, options=options))
    try:
        host = Host(storage, transport, service_factory, embedder, options=options)
        async with host.running(lambda: file_system.free_bytes(path)):
            yield host
    finally:
        storage.close()


def _wall_clock_us() -> int:
    return time.time_ns() // 1000
