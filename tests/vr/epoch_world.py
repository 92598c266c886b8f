"""A group whose members change, on machines known by identity: the embedder's side of `vr.reconfiguration`, small.

Each machine has a disk with the configuration it last made durable, and one replica, or several: one that has left a group
stays to answer. Packets wait in hand; `random` decides what arrives, what is lost, and who dies.
"""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from tests.vr.group import Disk, Journal
from vr.configuration import Configuration, Member
from vr.log import Request
from vr.messages import Entries, Message, decode, encode
from vr.ready import EpochEnd, Ready, Rejected, Reply
from vr.replica import Replica, ReplicaOptions, Status
from vr.state_transfer import make_chunk, make_offer
from vr.types import Checksum, ClientId, GroupId, OpNumber, ReplicaId, RequestNumber, SessionNumber, view_epoch

CLIENT = ClientId(b"client-of-a-test")


def member(number: int) -> Member:
    """The machine of that number."""
    return Member(ReplicaId(bytes([number]) * 16), b"key")


def members(*numbers: int) -> tuple[Member, ...]:
    return tuple(member(number) for number in numbers)


class Machine:
    """One machine: what is on its disk, and its replica while it runs."""

    def __init__(self, world: EpochWorld, number: int, configuration: Configuration) -> None:
        self.world = world
        self.number = number
        self.id = member(number).replica_id
        self.configuration = configuration  # as made durable, and the stop sign that it began behind
        self.began: tuple[OpNumber, Checksum] | None = None
        self.disk = Disk()
        self.replica: Replica | None = None
        self.service = Journal()
        self.replies: list[Reply] = []
        self.rejected: list[Rejected] = []
        self.ends: list[EpochEnd] = []

    def start(self) -> None:
        index = self.configuration.index_of(self.id)
        assert index is not None
        self.service = Journal()
        self.replica = Replica(
            self.configuration, index, self.service, replace(self.disk.restored(), began=self.began), now=self.world.now, seed=self.number,
            options=self.world.options,
        )  # fmt: skip

    def crash(self) -> None:
        self.replica = None
        self.disk.waiting.clear()

    def lose_log(self) -> None:
        """The whole log rots, while the machine is down."""
        self.disk.entries.clear()
        self.disk.is_head_certain = False

    def receive(self, source: ReplicaId, data: bytes) -> None:
        replica, message = self.replica, decode(data)
        if replica is None:
            return
        if view_epoch(message.view) == replica.configuration.epoch:
            if replica.configuration.index_of(source) == message.replica:
                replica.step(message, self.world.now)
        else:
            replica.step_guest(source, message, self.world.now)

    def collect(self) -> None:
        """Perform effects: writes wait for `sync`, packets for the world."""
        while self.replica is not None and (ready := self.replica.ready(self.world.now)) is not None:
            self._perform(self.replica, ready)

    def _perform(self, replica: Replica, ready: Ready) -> None:
        if ready.token is not None:
            self.disk.waiting.append(ready)
        for to, message in ready.send_now:
            self.send(replica.replica_id_of(to), message)
        for done in ready.committed:
            self.world.on_committed(self, done.entry.op, done.entry.checksum)
            self.disk.history[done.entry.op] = done.entry.data
        self._answer(replica, ready)
        for snapshot in ready.snapshots:
            self.disk.checkpoint = snapshot
            replica.snapshot_saved(snapshot, self.world.now)
        self.replies += ready.replies
        self.rejected += ready.rejected
        if ready.epoch_end is not None:
            self._end_epoch(replica, ready.epoch_end)

    def _answer(self, replica: Replica, ready: Ready) -> None:
        for read in ready.history_reads:
            kept = [self.disk.history[op] for op in range(read.first_op, read.last_op + 1) if op in self.disk.history]
            if len(kept) == read.last_op - read.first_op + 1:
                answer: Message = Entries(
                    view=replica.view, replica=replica.index, data=tuple(kept), commit=read.last_op
                )
            elif self.disk.checkpoint is not None:
                answer = make_offer(replica.view, replica.index, self.disk.checkpoint, chunk_bytes=64)
            else:
                continue
            self.send(replica.replica_id_of(read.to), answer)
        for wanted in ready.snapshot_reads:
            if self.disk.checkpoint is not None and self.disk.checkpoint.op == wanted.op:
                chunk = make_chunk(replica.view, replica.index, self.disk.checkpoint, wanted)
                self.send(replica.replica_id_of(wanted.to), chunk)

    def _end_epoch(self, replica: Replica, end: EpochEnd) -> None:
        self.ends.append(end)
        if self.world.tells_standbys:
            for place in end.configuration.standbys:
                self.world.join(place.replica_id[0], end.configuration)
        following = replica.next_epoch(self.world.now, self.number)
        if following is not None:
            self.configuration, self.began = end.configuration, (end.op, end.checksum)
            self.replica = following

    def send(self, to: ReplicaId, message: Message) -> None:
        self.world.packets.append((self.id, to, encode(message)))

    def sync(self) -> None:
        waiting, self.disk.waiting = self.disk.waiting, []
        for ready in waiting:
            self.disk.perform(ready)
            assert ready.token is not None
            if self.replica is not None:
                self.replica.storage_done(ready.token, self.world.now)

    def checkpoint(self, *, forgets: bool) -> None:
        """Take a checkpoint; forget history below it if asked, so that laggards need the snapshot."""
        if self.replica is None or self.replica.status is Status.RETIRED:
            return
        self.disk.checkpoint = taken = self.replica.checkpoint()
        self.replica.checkpoint_done(taken.op, self.world.now)
        if forgets:
            self.disk.history = {op: data for op, data in self.disk.history.items() if op > taken.op}


class EpochWorld:
    """`count` machines; the first `size` of them are the group's members at its birth."""

    def __init__(self, count: int, size: int, *, log_margin_ops: int = 8) -> None:
        self.now = 1.0
        self.options = ReplicaOptions(wall_clock_us=lambda: int(self.now * 1e6), log_margin_ops=log_margin_ops)
        self.first = Configuration(
            group=GroupId(b"group-of-a-test!"), members=members(*range(size)), pipeline_ops_max=4
        )
        self.machines = [Machine(self, number, self.first) for number in range(count)]
        self.packets: list[tuple[ReplicaId, ReplicaId, bytes]] = []
        self.committed: dict[int, bytes] = {}
        self.dead: set[int] = set()
        self.tells_standbys = True
        """Standbys are told when the epoch has begun: a configuration that was wished for may never be."""
        self.seen = set(range(size))
        """Numbers of machines that are or were replicas: who has left does not come back under its old name."""
        for machine in self.machines[:size]:
            machine.start()

    def on_committed(self, machine: Machine, op: int, checksum: bytes) -> None:
        """One operation at each place, for ever, in whatever epoch and on whatever machine."""
        assert self.committed.setdefault(op, checksum) == checksum, f"op {op} differs at machine {machine.number}"

    @property
    def epoch(self) -> int:
        return max(machine.configuration.epoch for machine in self.machines)

    def primary(self) -> Machine | None:
        """Who leads the latest epoch, if somebody does."""
        for machine in self.machines:
            replica = machine.replica
            if replica is not None and replica.is_primary and replica.configuration.epoch == self.epoch:
                return machine
        return None

    def join(self, number: int, configuration: Configuration) -> None:
        """A machine is told to be a replica of this configuration, with an empty disk."""
        machine = self.machines[number]
        if number not in self.seen:
            self.seen.add(number)
            machine.configuration = configuration
            machine.start()

    def crash(self, number: int) -> None:
        """A machine dies, and everybody hears of it."""
        self.dead.add(number)
        self.machines[number].crash()
        self.suspect(number, is_dead=True)

    def restart(self, number: int) -> None:
        """It comes back with its disk."""
        self.dead.discard(number)
        if number in self.seen:
            self.machines[number].start()
        self.suspect(number, is_dead=False)

    def turn(self, random: Random | None = None, *, loss: float = 0.0) -> None:
        """Everybody acts once; some packets arrive, in any order."""
        for machine in self.machines:
            machine.collect()
            if random is None or random.random() < 0.7:
                machine.sync()
            machine.collect()
        packets, self.packets = self.packets, []
        if random is not None:
            random.shuffle(packets)
        for source, to, data in packets:
            if random is not None and random.random() < loss:
                continue
            machine = next(machine for machine in self.machines if machine.id == to)
            if random is not None and random.random() < 0.2:
                self.packets.append((source, to, data))  # Late.
            else:
                machine.receive(source, data)

    def run(self, seconds: float, random: Random | None = None, *, loss: float = 0.0) -> None:
        """Let time pass in steps of 50 ms."""
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            for machine in self.machines:
                replica = machine.replica
                if replica is not None and replica.next_deadline() <= self.now:
                    replica.tick(self.now)
            for _ in range(4):
                self.turn(random, loss=loss)

    def suspect(self, number: int, *, is_dead: bool) -> None:
        """Everybody learns that a machine is dead, or back."""
        for machine in self.machines:
            replica = machine.replica
            if replica is None or machine.number == number:
                continue
            index = replica.configuration.index_of(member(number).replica_id)
            if index is not None and is_dead:
                replica.suspect(index, self.now)
            elif index is not None:
                replica.trust(index, self.now)


class Talker:
    """A client that sends one request after the other, and follows the group to wherever it goes."""

    def __init__(self, world: EpochWorld) -> None:
        self.world = world
        self.session = SessionNumber(0)
        self.number = 0
        self.acknowledged: list[bytes] = []

    def act(self, random: Random) -> None:
        """Take an answer; send what is not answered to a machine of the latest epoch."""
        for machine in self.world.machines:
            for reply in machine.replies:
                if self.session == 0 and reply.number == 0:
                    self.session = reply.session
                elif reply.session == self.session and reply.number == self.number > len(self.acknowledged):
                    self.acknowledged.append(self._body())
            machine.replies.clear()
        if self.session != 0 and self.number == len(self.acknowledged):
            self.number += 1
        alive = [
            machine
            for machine in self.world.machines
            if machine.replica is not None and machine.replica.status is not Status.RETIRED
        ]
        if alive:
            replica = random.choice(alive).replica
            assert replica is not None
            request = Request(CLIENT, self.session, RequestNumber(self.number), self._body() if self.number else b"a")
            replica.submit([request], self.world.now)

    def _body(self) -> bytes:
        return b"request %d" % self.number
