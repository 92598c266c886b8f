"""A group of replicas in one test: messages wait in hand until the test lets them pass, disks sync when it says so.

Small on purpose: random faults belong to the simulator; here each test tells one story step by step.
"""

from __future__ import annotations

from collections.abc import Callable

from vr.configuration import Configuration, Member
from vr.log import Entry, Request
from vr.messages import Entries, Message, decode, encode
from vr.ready import DurableState, ReadDone, Ready, Rejected, Reply
from vr.replica import Checkpoint, Replica, ReplicaOptions, Restored
from vr.types import ClientId, GroupId, OpNumber, ReplicaId, ReplicaIndex, RequestNumber, SessionNumber, ViewNumber

CLIENT = ClientId(b"client-of-a-test")


class Journal:
    """A service that remembers what it executed; the result names the place."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def apply(self, op: OpNumber, timestamp_us: int, requests: object) -> list[bytes]:
        results = []
        for request in requests:  # type: ignore[attr-defined]
            self.bodies.append(request.body)
            results.append(b"%d" % len(self.bodies))
        return results

    def snapshot(self) -> bytes:
        return b"\0".join(self.bodies)

    def restore(self, snapshot: bytes) -> None:
        self.bodies = snapshot.split(b"\0") if snapshot else []

    def mark(self) -> int:
        return len(self.bodies)


class Disk:
    """What one replica has on stable storage, and what it has only written."""

    def __init__(self) -> None:
        self.state: DurableState | None = None
        self.entries: list[Entry] = []
        self.checkpoint: Checkpoint | None = None
        self.history: dict[int, bytes] = {}
        self.waiting: list[Ready] = []
        self.is_head_certain = True

    def perform(self, ready: Ready) -> None:
        if ready.meta is not None:
            self.state = ready.meta
            if ready.meta.truncate_above is not None:
                self.entries = [entry for entry in self.entries if entry.op <= ready.meta.truncate_above]
            self.entries = [entry for entry in self.entries if entry.op > ready.meta.base_op]
        if ready.append:
            self.entries = [entry for entry in self.entries if entry.op < ready.append[0].op] + list(ready.append)

    def restored(self) -> Restored:
        return Restored(
            state=self.state, entries=tuple(self.entries), head_certain=self.is_head_certain, checkpoint=self.checkpoint
        )


class Group:
    """`size` replicas; the primary of the first view is replica `first`."""

    def __init__(
        self,
        size: int = 3,
        *,
        options: ReplicaOptions | None = None,
        pipeline_ops_max: int = 8,
        sessions_max: int = 4096,
        lease_ms: int = 0,
    ) -> None:
        members = tuple(Member(ReplicaId(bytes([index]) * 16), b"key") for index in range(size))
        self.configuration = Configuration(
            group=GroupId(b"group-of-a-test!"),
            members=members,
            pipeline_ops_max=pipeline_ops_max,
            sessions_max=sessions_max,
            lease_ms=lease_ms,
        )
        self.options = options or ReplicaOptions(wall_clock_us=lambda: int(self.now * 1e6))
        self.now = 1.0
        self.disks = [Disk() for _ in range(size)]
        self.services = [Journal() for _ in range(size)]
        self.replicas: list[Replica | None] = [None] * size
        self.packets: list[tuple[int, int, bytes]] = []
        self.replies: list[list[Reply]] = [[] for _ in range(size)]
        self.rejected: list[list[Rejected]] = [[] for _ in range(size)]
        self.reads: list[list[ReadDone]] = [[] for _ in range(size)]
        self.cut: set[tuple[int, int]] = set()
        self.held_disks: set[int] = set()
        for index in range(size):
            self.start(index)

    @property
    def first(self) -> int:
        return self.configuration.primary_index(self.configuration.initial_view())

    def backups(self) -> list[int]:
        return [index for index in range(self.configuration.size) if index != self.first]

    def replica(self, index: int) -> Replica:
        replica = self.replicas[index]
        assert replica is not None
        return replica

    def start(self, index: int) -> None:
        """Start, or start again from the disk."""
        self.services[index] = Journal()
        self.replicas[index] = Replica(
            self.configuration, ReplicaIndex(index), self.services[index], self.disks[index].restored(), now=self.now,
            seed=index, options=self.options,
        )  # fmt: skip

    def crash(self, index: int) -> None:
        """Lose everything that was not synced."""
        self.replicas[index] = None
        self.disks[index].waiting.clear()
        self.packets = [packet for packet in self.packets if packet[0] != index]

    def collect(self, index: int) -> None:
        """Perform effects: writes wait for `sync`, messages wait for `deliver`."""
        replica = self.replicas[index]
        while replica is not None and (ready := replica.ready(self.now)) is not None:
            if ready.token is not None:
                self.disks[index].waiting.append(ready)
            for to, message in ready.send_now:
                self.packets.append((index, to, encode(message)))
            for done in ready.committed:
                self.disks[index].history[done.entry.op] = done.entry.data
            for read in ready.history_reads:
                data = [self.disks[index].history[op] for op in range(read.first_op, read.last_op + 1)]
                answer = Entries(view=replica.view, replica=ReplicaIndex(index), data=tuple(data), commit=read.last_op)
                self.packets.append((index, read.to, encode(answer)))
            self.replies[index] += ready.replies
            self.rejected[index] += ready.rejected
            self.reads[index] += ready.reads

    def sync(self, index: int) -> None:
        """The disk finishes everything written."""
        waiting, self.disks[index].waiting = self.disks[index].waiting, []
        for ready in waiting:
            self.disks[index].perform(ready)
            assert ready.token is not None
            self.replica(index).storage_done(ready.token, self.now)

    def deliver(self, wanted: Callable[[int, int, Message], bool] = lambda *_: True) -> int:
        """Let packets in hand pass, once; those not wanted are lost. Gives how many arrived."""
        packets, self.packets = self.packets, []
        count = 0
        for source, target, data in packets:
            replica = self.replicas[target]
            message = decode(data)
            if replica is not None and (source, target) not in self.cut and wanted(source, target, message):
                replica.step(message, self.now)
                count += 1
        return count

    def settle(self, rounds: int = 30) -> None:
        """Let everything pass and sync until nothing moves."""
        for _ in range(rounds):
            for index in range(self.configuration.size):
                self.collect(index)
                if index not in self.held_disks and self.replicas[index] is not None:
                    self.sync(index)
                self.collect(index)
            if not self.packets and not self._is_writing():
                return
            self.deliver()

    def _is_writing(self) -> bool:
        return any(disk.waiting for index, disk in enumerate(self.disks) if index not in self.held_disks)

    def run(self, seconds: float) -> None:
        """Let time pass in steps of 50 ms, everything settling in each."""
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            for replica in self.replicas:
                if replica is not None and replica.next_deadline() <= self.now:
                    replica.tick(self.now)
            self.settle()

    def suspect(self, dead: int) -> None:
        """Everybody alive learns that `dead` is."""
        for replica in self.replicas:
            if replica is not None and replica.index != dead:
                replica.suspect(ReplicaIndex(dead), self.now)

    def trust(self, alive: int) -> None:
        """Everybody hears `alive` again."""
        for replica in self.replicas:
            if replica is not None and replica.index != alive:
                replica.trust(ReplicaIndex(alive), self.now)

    def register(self, index: int, client: ClientId = CLIENT) -> SessionNumber:
        """Open a session through replica `index`."""
        self.submit(index, Request(client, SessionNumber(0), RequestNumber(0), b""))
        self.settle()
        return next(reply.session for reply in reversed(self.replies[index]) if reply.client == client)

    def submit(self, index: int, *requests: Request) -> None:
        self.replica(index).submit(requests, self.now)

    def view(self, number: int) -> ViewNumber:
        """The view `number` after the first."""
        return ViewNumber(self.configuration.initial_view() + number)


def request(session: SessionNumber, number: int, body: bytes = b"", client: ClientId = CLIENT) -> Request:
    return Request(client, session, RequestNumber(number), body or b"body %d" % number)
