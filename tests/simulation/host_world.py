"""Real hosts in virtual time: the production loop, writer thread and history, between simulated disks and links.

```
 nemesis (seed): kill + power loss ┊ failing disk ┊ partition ┊ loss, delay
 clients ─▶ Host ─ frames ─▶ links ─▶ Host        Host ─ log ─▶ SimFileSystem, history.db ─▶ a real file
```

Faults and their times follow from the seed; how threads and turns interleave does not, so a finding here is looked for
in the core's own simulator afterwards. The same checkers judge both.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

import trio

from vr.configuration import Configuration, Member
from vr.errors import UnknownGroup
from vr.host import Busy, Host, HostOptions, open_host
from vr.host.errors import GenesisConflict, HostClosed, NotAMember
from vr.log import Request
from vr.ready import CommittedOp, EpochEnd, Rejected, Reply
from vr.replica import Status
from vr.simulator.checkers import LogChecker, SessionChecker
from vr.simulator.disk import SimFileSystem
from vr.simulator.service import JournalService
from vr.storage.errors import StorageError
from vr.types import ClientId, GroupId, ReplicaId, RequestNumber, SessionNumber

NODES = 3
MOVING_NODES = 5
"""When members change: those who are none stand by, or know nothing of the group."""
GROUP = GroupId(b"hosts under fire")
STORM_S = 6.0
ANSWER_S = 1.5
CALM_S = 90.0  # of virtual time: then everything must be answered and equal


class Links:
    """Frames between nodes: lost, late, cut."""

    def __init__(self, random: Random, nursery: trio.Nursery, counts: Counter[str]) -> None:
        self.hosts: dict[ReplicaId, Host] = {}
        self.cut: set[tuple[ReplicaId, ReplicaId]] = set()
        self.loss = random.choice([0.0, 0.0, 0.05])
        self.delay_s = random.choice([0.0005, 0.005, 0.05])
        self._random = random
        self._nursery = nursery
        self._counts = counts

    def send(self, source: ReplicaId, target: ReplicaId, frame: bytes) -> None:
        if (source, target) in self.cut or self._random.random() < self.loss:
            self._counts["frame_lost"] += 1
            return
        delay_s = self._random.expovariate(1.0) * self.delay_s
        self._nursery.start_soon(self._deliver, source, target, frame, delay_s)

    async def _deliver(self, source: ReplicaId, target: ReplicaId, frame: bytes, delay_s: float) -> None:
        await trio.sleep(delay_s)
        host = self.hosts.get(target)
        if host is not None:
            host.receive(source, frame)

    def join(self, host: Host) -> None:
        for other_id, other in self.hosts.items():
            other.peer_connected(host.replica_id)
            host.peer_connected(other_id)
        self.hosts[host.replica_id] = host

    def leave(self, replica_id: ReplicaId) -> None:
        self.hosts.pop(replica_id, None)
        for other in self.hosts.values():
            other.peer_disconnected(replica_id)

    def heal(self) -> None:
        self.cut.clear()
        for host_id, host in self.hosts.items():
            for other_id in self.hosts:
                if other_id != host_id:
                    host.peer_connected(other_id)


class Node:
    """One machine: a host through its incarnations, over a disk that loses what was not synced. An embedder."""

    def __init__(self, index: int, folder: Path, world: World) -> None:
        self.index = index
        self.disk = SimFileSystem(Random(world.random.random()))
        self.service = JournalService()
        self.host: Host | None = None
        self.kill = trio.CancelScope()
        self._folder = folder
        self._world = world
        folder.mkdir()

    async def live(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until killed or failed, lose the power, come back; for ever."""
        while True:
            self.kill = trio.CancelScope()
            with self.kill, contextlib.suppress(StorageError):
                async with self._running():
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await trio.sleep_forever()
            self._world.counts["end"] += 1
            self.disk.sync_error = 0.0
            if self._world.random.random() < 0.7:
                self.disk.lose_power()
            await trio.sleep(self._world.random.expovariate(1.0) * 0.5)

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        links, own = self._world.links, ReplicaId(b"")

        class Wire:
            def send(self, peer: ReplicaId, frame: bytes) -> None:
                if own:  # what leaves before the first link stands is lost
                    links.send(own, peer, frame)

        options = HostOptions(
            segment_bytes=256 * 1024, free_bytes_min=0, checkpoint_ops=8, seed=self._world.random.getrandbits(60)
        )
        async with open_host(
            self._folder, Wire(), self._make_service, self, file_system=self.disk, options=options
        ) as host:
            own = host.replica_id
            self.host = host
            links.join(host)
            try:
                yield
            finally:
                self.host = None
                links.leave(own)

    def _make_service(self, group: GroupId, genesis: bytes) -> JournalService:
        self.service = JournalService(partial(self._world.logs.on_applied, self.index))
        return self.service

    # --- embedder

    def on_committed(self, group: GroupId, operations: Sequence[CommittedOp]) -> None:
        self._world.on_change()
        for committed in operations:
            self._world.logs.on_committed(self.index, committed)
            self._world.sessions.on_committed(committed)

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        self._world.sessions.on_reply(reply)
        self._world.on_answer((reply.client, int(reply.number)), reply)

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        self._world.counts["rejected"] += 1

    def on_epoch_end(self, group: GroupId, end: EpochEnd) -> Sequence[tuple[int, bytes]]:
        self._world.on_epoch(end.configuration)
        return ()

    def on_status(self, group: GroupId) -> None:
        self._world.on_change()


class World:
    """Hosts, clients, and what goes wrong."""

    def __init__(self, seed: int, folder: Path, nursery: trio.Nursery, *, is_moving: bool) -> None:
        self.random = Random(seed)
        self.newest: Configuration
        """As far as any host said."""
        self._nursery = nursery
        self._is_moving = is_moving
        self.counts: Counter[str] = Counter()
        self.links = Links(self.random, nursery, self.counts)
        count = MOVING_NODES if is_moving else NODES
        self.nodes = [Node(index, folder / f"node-{index}", self) for index in range(count)]
        self.sessions = SessionChecker()
        self.logs: LogChecker
        self.storming = True
        self._changed = trio.Event()
        self._waiting: dict[tuple[ClientId, int], tuple[trio.Event, list[Reply]]] = {}

    async def start(self, nursery: trio.Nursery) -> None:
        """Nodes live, and the group exists on all of them."""
        for node in self.nodes:
            await nursery.start(node.live)
        hosts = [node.host for node in self.nodes[:NODES] if node.host is not None]
        members = tuple(Member(host.replica_id, b"key") for host in hosts)
        configuration = Configuration(group=GROUP, members=members, pipeline_ops_max=4)
        self.logs = LogChecker(configuration.genesis_checksum())
        self.newest = configuration
        for host in hosts:
            await host.create_group(configuration, b"")

    async def storm(self) -> None:
        """Trouble, one after the other."""
        blows: list[Callable[[], None]] = [self._kill, self._kill_primary, self._spoil_disk, self._cut]
        if self._is_moving:
            blows += [self._move] * len(blows)
        with trio.move_on_after(STORM_S):
            while True:
                await trio.sleep(self.random.expovariate(1.0) * 0.5)
                self.random.choice(blows)()
        self.storming = False
        self.links.loss = 0.0
        self.links.heal()

    # --- other members

    def _move(self) -> None:
        """Whoever leads is told to go on with others: those who have a log may vote, and all the rest stands by."""
        everybody = {node.host.replica_id: node.host for node in self.nodes if node.host is not None}
        leader = next((host for host in everybody.values() if self._is_led_by(host)), None)
        if leader is None:
            return
        current = leader.replica(GROUP).configuration
        able = [member for member in current.replicas if self._is_in(everybody.get(member.replica_id), current)]
        voters = tuple(self.random.sample(able, min(len(able), self.random.choice([1, 2, 3, 3, 5]))))
        named = {member.replica_id for member in voters}
        rest = [Member(replica_id, b"key") for replica_id in everybody if replica_id not in named]
        standbys = tuple(member for member in rest if self.random.random() < 0.8)
        if voters and leader.reconfigure(GROUP, current.successor(voters, standbys)) is None:
            self.counts["move"] += 1

    @staticmethod
    def _is_led_by(host: Host) -> bool:
        return GROUP in host.groups() and host.replica(GROUP).is_primary

    @staticmethod
    def _has_log(host: Host | None) -> bool:
        return host is not None and GROUP in host.groups()

    def _is_in(self, host: Host | None, configuration: Configuration) -> bool:
        """Takes part in this epoch: who is named and has begun with nothing, or not at all, could not vote for ever."""
        return host is not None and self._has_log(host) and host.replica(GROUP).configuration == configuration

    def on_epoch(self, configuration: Configuration) -> None:
        """An epoch ended somewhere: its successor is known."""
        if configuration.epoch > self.newest.epoch:
            self.newest = configuration
            self.counts["epoch"] += 1

    async def stand_by(self) -> None:
        """Hosts that are named begin with nothing; those that had left do so when the others can do without them."""
        while True:
            await trio.sleep(0.2)
            for node in self.nodes:
                with contextlib.suppress(HostClosed, StorageError, UnknownGroup, NotAMember, GenesisConflict):
                    if node.host is not None:
                        with trio.move_on_after(ANSWER_S):  # A host that is killed meanwhile never answers.
                            await self._begin(node.host)

    async def _begin(self, host: Host) -> None:
        newest = self.newest
        index = newest.index_of(host.replica_id)
        if index is None or newest.is_member(index):
            return
        if self._has_log(host):
            replica = host.replica(GROUP)
            if replica.status is not Status.RETIRED or replica.configuration.epoch + 1 >= newest.epoch:
                return
            if not self._has_begun(newest):
                return
            await host.forget_group(GROUP)
            self.counts["returned"] += 1
        await host.create_group(newest, b"")

    def _has_begun(self, configuration: Configuration) -> bool:
        hosts = [node.host for node in self.nodes if node.host is not None]
        there = [
            host
            for host in hosts
            if self._is_in(host, configuration)
            and host.replica(GROUP).status is not Status.RETIRED
            and (index := configuration.index_of(host.replica_id)) is not None
            and configuration.is_member(index)
        ]
        return len(there) >= configuration.quorum

    def _kill(self) -> None:
        self.counts["kill"] += 1
        self.random.choice(self.nodes).kill.cancel()

    def _kill_primary(self) -> None:
        for node in self.nodes:
            if node.host is not None and self._is_led_by(node.host):
                self.counts["kill_primary"] += 1
                node.kill.cancel()

    def _spoil_disk(self) -> None:
        self.counts["disk_failure"] += 1
        self.random.choice(self.nodes).disk.sync_error = 1.0

    def _cut(self) -> None:
        self.links.heal()
        alone = self.random.choice(self.nodes).host
        one_way = self.random.random() < 0.3
        for other in list(self.links.hosts):
            if alone is not None and other != alone.replica_id:
                self.links.cut.add((alone.replica_id, other))
                if not one_way:
                    self.links.cut.add((other, alone.replica_id))
        self.counts["cut"] += 1

    # --- clients

    def on_change(self) -> None:
        """Something moved at a node."""
        self._changed.set()

    def on_answer(self, key: tuple[ClientId, int], reply: Reply) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting[1].append(reply)
            waiting[0].set()

    async def client(self, index: int) -> None:
        """Requests, one after the other, while it storms and once afterwards; each until it is answered."""
        client = ClientId(bytes([index + 1]) * 16)
        session = (await self._ask(Request(client, SessionNumber(0), RequestNumber(0), b""))).session
        number = 0
        is_last = False
        while not is_last:
            is_last = not self.storming
            number += 1
            floor_op = self.sessions.acknowledged_op_max
            reply = await self._ask(Request(client, session, RequestNumber(number), b"%d" % number))
            self.sessions.on_acknowledged(reply.op, floor_op=floor_op)
            self.counts["answer"] += 1
            await trio.sleep(self.random.expovariate(1.0) * 0.05)

    async def _ask(self, request: Request) -> Reply:
        event, replies = self._waiting[request.client, int(request.number)] = (trio.Event(), [])
        while not replies:
            host = self.random.choice(self.nodes).host
            if host is not None:
                with contextlib.suppress(Busy, HostClosed, UnknownGroup):
                    host.submit(GROUP, [request])
            with trio.move_on_after(ANSWER_S):
                await event.wait()
        return replies[0]

    async def until_converged(self) -> None:
        """Wait until everybody runs, with one log and one state."""
        while not self._is_converged():
            self._changed = trio.Event()
            await self._changed.wait()

    def _is_converged(self) -> bool:
        here = [node for node in self.nodes if self._is_in(node.host, self.newest)]
        replicas = [node.host.replica(GROUP) for node in here if node.host is not None]
        standings = {(replica.commit_number, replica.applied_op) for replica in replicas}
        is_whole = len(here) == len(self.newest.replicas) and all(node.host is not None for node in self.nodes)
        return is_whole and len(standings) == 1 and len({node.service.digest for node in here}) == 1


async def run_world(seed: int, folder: Path, *, is_moving: bool = False) -> Counter[str]:
    """One seed: storm, calm, convergence; raises what a checker found, or TooSlowError."""
    async with trio.open_nursery() as nursery:
        world = World(seed, folder, nursery, is_moving=is_moving)
        await world.start(nursery)
        if is_moving:
            nursery.start_soon(world.stand_by)
        async with trio.open_nursery() as work:
            for index in range(3):
                work.start_soon(world.client, index)
            await world.storm()
            work.cancel_scope.deadline = trio.current_time() + CALM_S
        if work.cancel_scope.cancelled_caught:
            raise trio.TooSlowError("requests stayed unanswered")
        with trio.fail_after(CALM_S):
            await world.until_converged()
        nursery.cancel_scope.cancel()
    world.counts["op"] = len(world.logs.committed) - 1
    return world.counts
