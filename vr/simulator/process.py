"""One simulated node: a process that runs the production replica over the production log, and dies a lot.

```
 packets, requests, timers ─▶ replica.step/submit/tick ─▶ turn: replica.ready() ─▶ effects, one by one
                                                                                   ┊ fuse burns at each
                    write-ahead log: write ┊ latency ┊ sync ┊ storage_done ┊ tied messages
```

The process can be killed at every `┊`: a lit fuse counts effects, and the one it reaches does not happen any more. The
disk stays, the process is built again from it. Between write and sync the process lives on, as the real host does with
its writer thread. Its clock has its own rate and offset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from vr.configuration import Member
from vr.liveness import LivenessOptions, NodeLiveness
from vr.log import Request
from vr.messages import Message, decode, encode
from vr.ready import EpochEnd, Ready, Rejected, Reply
from vr.replica import Replica, ReplicaOptions, Restored
from vr.simulator.clock import NodeClock
from vr.simulator.disk import SimFileSystem
from vr.simulator.errors import ProcessKilled
from vr.simulator.histories import AskedRead
from vr.simulator.history import SimHistory
from vr.simulator.node_archive import NodeArchive
from vr.simulator.node_log import NodeLog
from vr.simulator.schedule import MILLISECOND_US, Action
from vr.simulator.service import JournalService
from vr.simulator.world import World
from vr.storage.errors import StoragePoisoned
from vr.types import Checksum, ClientId, OpNumber, ReplicaIndex, SessionNumber, view_epoch

HEARTBEAT = b"\x00"
SPACE_LOOK_US = 1_000_000  # how often the host looks at the free space
BACKLOG_MAX = 20_000  # inputs a paused process finds waiting when it wakes


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """The world as a process sees it: whom it can call."""

    send: Callable[[int, int, bytes], None]
    on_reply: Callable[[int, Reply], None]
    on_rejected: Callable[[int, Rejected], None]
    on_read: Callable[[JournalService, AskedRead], None]
    on_died: Callable[[int], None]
    on_started: Callable[[int], None]


class Process:
    """Node `node` of the world, over all its incarnations."""

    def __init__(self, world: World, node: int, surroundings: Surroundings) -> None:
        self.node = node
        self.replica: Replica | None = None
        self.service = JournalService()
        self.history = SimHistory(world.swarm.load.history_ops)
        self.file_system = SimFileSystem(
            world.random,
            on_effect=self._boundary,
            sync_error=world.swarm.disk.sync_error,
            misdirected=world.swarm.disk.misdirected,
            later=world.later,
        )
        self._world = world
        self._surroundings = surroundings
        self._clock = NodeClock(world.schedule, world.random, world.swarm.process)
        self.configuration = world.configuration
        """That of the epoch this node is in, as its disk has it."""
        self._began: tuple[OpNumber, Checksum] | None = None
        self._ids = [member.replica_id for member in world.configuration.members]
        self._incarnation = 0
        self._fuse: int | None = None
        self._frozen = False
        self._power_fails_next = False
        self._paused_until_us = 0
        self._backlog: list[tuple[Action, tuple[object, ...]]] = []
        self._turn_due = False
        self._turn_us_max = world.swarm.process.turn_us_max
        self._is_dirty = False  # the replica had an input since its last turn
        self._timer_us: float = math.inf
        self._reads = 0
        self._asked: dict[int, AskedRead] = {}
        self._told = ""
        self._log: NodeLog
        self._archive: NodeArchive
        self._liveness: NodeLiveness[int]

    # --- life and death ---

    @property
    def is_running(self) -> bool:
        """Whether the process exists (it may be paused)."""
        return self.replica is not None

    @property
    def is_primary(self) -> bool:
        """Whether its replica leads its view."""
        return self.replica is not None and self.replica.is_primary

    def start(self) -> None:
        """Recover from the disk and serve; being killed on the way is part of the game."""
        if self.replica is not None or self._frozen:
            return
        self._incarnation += 1
        self._timer_us = math.inf
        self._turn_due = self._is_dirty = False
        self._asked.clear()
        try:
            self._recover()
        except (ProcessKilled, StoragePoisoned) as death:
            self._die(death)
            return
        if self._power_fails_next and self._world.storming:
            self.light_fuse(self._world.random.randrange(30))
        self._surroundings.on_started(self.node)
        self._run(self._incarnation, self._on_started)

    def _recover(self) -> None:
        world = self._world
        now_s = self._clock.now_s()
        self._log = NodeLog(
            world,
            self.node,
            file_system=self.file_system,
            on_durable=self._on_durable,
            guard=partial(self._run, self._incarnation),
            boundary=self._boundary,
        )
        self._archive = NodeArchive(
            world,
            self.node,
            history=self.history,
            send=self._send_to,
            replica=self._require_replica,
            now_s=self._clock.now_s,
            guard=partial(self._run, self._incarnation),
            boundary=self._boundary,
        )
        restored = self._log.restored(self.history.checkpoint, self._archive.parts_found())
        restored = msgspec.structs.replace(restored, began=self._began)
        disk = world.checkers.ledger.disks[self.node]
        world.checkers.progress.on_restarted(self.node, view=disk.view, log_view=disk.log_view)
        self.service = JournalService(partial(world.checkers.logs.on_applied, self.node))
        self._liveness = NodeLiveness(
            now_s,
            [peer for peer in range(world.swarm.node_count) if peer != self.node],
            seed=world.random.getrandbits(60),
            options=_liveness_options(world.swarm.process.patience),
        )
        index = self._index_of(self.node)
        assert index is not None, "a node runs in the last epoch that it was in"
        self.replica = Replica(
            self.configuration,
            index,
            self.service,
            restored,
            now=now_s,
            seed=world.random.getrandbits(64),
            options=self._replica_options(),
        )
        self._note_space()
        world.counts["start"] += 1
        world.tell(self.node, f"started: {self.summary()}")

    def _replica_options(self) -> ReplicaOptions:
        usual = ReplicaOptions()
        patience = self._world.swarm.process.patience
        return ReplicaOptions(
            wall_clock_us=self._clock.wall_us,
            log_margin_ops=self._world.swarm.load.log_margin_ops,
            digest_ops=self._world.swarm.load.checkpoint_ops,
            resend_s=usual.resend_s * patience,
            patience_s=usual.patience_s * patience,
            view_change_s=usual.view_change_s * patience,
            clock_drift_max=_drift(self._world.swarm.process.clock_rate_error),
        )

    def summary(self) -> str:
        """State in one line."""
        replica = self.replica
        if replica is None:
            return f"node {self.node} down"
        return (
            f"node {self.node} {replica.status.name} view {replica.view & 0xFFFFFFFF}/{replica.log_view & 0xFFFFFFFF} "
            f"head {replica.head_op} commit {replica.commit_number}"
        )

    def _on_started(self) -> None:
        """The first turn of an incarnation: nothing but its effects."""
        self._is_dirty = True

    def light_fuse(self, effects: int) -> None:
        """Kill the process `effects` effects from now."""
        self._fuse = effects

    def _boundary(self) -> None:
        if self._fuse is not None:
            if self._fuse == 0:
                raise ProcessKilled
            self._fuse -= 1

    def _die(self, death: BaseException) -> None:
        world = self._world
        power = self._power_fails_next or world.random.random() < world.swarm.process.power_loss
        # A machine in trouble: the process dies, comes back from the page cache, and then the power goes.
        self._power_fails_next = not power and world.storming and world.random.random() < 0.3
        how = "poisoned" if isinstance(death, StoragePoisoned) else "killed"
        world.counts[how] += 1
        world.tell(self.node, f"{how}{', power lost' if power else ''}: {self.summary()}")
        self.replica = None
        self._fuse = None
        self._paused_until_us = 0
        self._backlog.clear()
        if power:
            world.counts["power_loss"] += 1
            self.file_system.lose_power()
        else:
            self.file_system.kill()
        self._surroundings.on_died(self.node)
        down_us = int(world.random.expovariate(1.0) * world.swarm.process.down_us_mean)
        world.schedule.after(down_us, self.start)

    def pause(self, duration_us: int) -> None:
        """SIGSTOP: inputs wait, the disk goes on."""
        self._paused_until_us = self._world.schedule.now_us + duration_us
        self._world.counts["pause"] += 1
        self._world.tell(self.node, f"paused for {duration_us / 1e6:.3f} s")
        self._world.schedule.after(duration_us, self._wake, self._incarnation)

    def _wake(self, incarnation: int) -> None:
        if incarnation != self._incarnation or self._world.schedule.now_us < self._paused_until_us:
            return
        self._paused_until_us = 0
        backlog, self._backlog = self._backlog, []
        for action, arguments in backlog:
            self._run(incarnation, action, *arguments)

    def freeze(self) -> None:
        """Stop for ever, as a machine nobody will switch on again."""
        self._frozen = True
        self.replica = None
        self._fuse = None
        self._world.tell(self.node, "frozen for ever")

    def calm(self) -> None:
        """No more deaths and pauses."""
        self._fuse = None
        self.file_system.calm()
        self._look_at_space()
        if self._paused_until_us:
            self._paused_until_us = self._world.schedule.now_us
            self._wake(self._incarnation)

    def fill_disk(self, duration_us: int) -> None:
        """Let the disk run full for a while; the host notices both within a second."""
        world = self._world
        left_bytes = int(world.later.random() * 1.5 * world.swarm.disk.segment_bytes)
        self.file_system.fill(left_bytes)
        world.counts["full"] += 1
        world.tell(self.node, f"{left_bytes} bytes are left on the disk, for {duration_us / 1e6:.3f} s")
        world.schedule.after(duration_us, self._free_disk)
        world.schedule.after(int(world.later.random() * SPACE_LOOK_US), self._look_at_space)

    def _free_disk(self) -> None:
        self.file_system.fill(None)
        self._world.schedule.after(int(self._world.later.random() * SPACE_LOOK_US), self._look_at_space)

    def _look_at_space(self) -> None:
        self._run(self._incarnation, self._note_space)

    def _note_space(self) -> None:
        assert self.replica is not None, "looks in living processes"
        is_short = self.file_system.free_bytes("") < self._world.swarm.disk.segment_bytes
        self.replica.note_space(is_short=is_short)
        self._world.checkers.space.on_noted(self.node, is_short=is_short)

    def rot(self) -> bool:
        """Flip one bit on the disk, if there is one that may rot; whether there was."""
        ledger = self._world.checkers.ledger
        if not ledger.may_rot(self.node):
            return False
        where = self.file_system.rot()
        if where is not None:
            ledger.on_rotted(self.node)
            self._world.counts["rot"] += 1
            self._world.tell(self.node, f"rot in {where}")
        return where is not None

    # --- inputs ---

    def _run(self, incarnation: int, action: Action, *arguments: object) -> None:
        """Run one input of the process, unless it is dead, paused or another one by now."""
        if incarnation != self._incarnation or self.replica is None:
            return
        if self._paused_until_us:
            if len(self._backlog) < BACKLOG_MAX:
                self._backlog.append((action, arguments))
            return
        try:
            action(*arguments)
            if not self._is_dirty:
                self._arm_timer(self.replica)
            elif self._turn_us_max == 0:
                self._turn()
            elif not self._turn_due:
                self._turn_due = True
                delay_us = self._world.random.randrange(self._turn_us_max)
                self._world.schedule.after(delay_us, self._run_turn, incarnation)
        except (ProcessKilled, StoragePoisoned) as death:
            self._die(death)

    def _run_turn(self, incarnation: int) -> None:
        if incarnation != self._incarnation:
            return
        self._turn_due = False
        if self.replica is None:
            return
        if self._paused_until_us:
            self._backlog.append((self._turn, ()))
            return
        try:
            self._turn()
        except (ProcessKilled, StoragePoisoned) as death:
            self._die(death)

    def receive(self, source: int, data: bytes) -> None:
        """A packet arrives."""
        if data is HEARTBEAT and self.replica is not None and not self._paused_until_us:
            # Most heartbeats say nothing new: the replica is not touched, as in the real host.
            liveness = self._liveness
            if not liveness.is_suspected(source):
                liveness.on_heard(source, self._clock.now_s())
                return
        self._run(self._incarnation, self._on_packet, source, data)

    def _on_packet(self, source: int, data: bytes) -> None:
        now_s = self._clock.now_s()
        self._liveness.on_heard(source, now_s)
        if data is not HEARTBEAT:
            message = decode(data)
            if self._world.story.messages:
                self._world.tell(self.node, f"◀ {source} {message!s:.300}")
            replica = self._require_replica()
            if view_epoch(message.view) == self.configuration.epoch:
                assert message.replica == self._index_of(source), "links are authenticated"
                replica.step(message, now_s)
            else:
                replica.step_guest(self._ids[source], message, now_s)

    def submit(self, requests: Sequence[Request]) -> None:
        """Requests of a client attached here arrive."""
        self._run(self._incarnation, self._on_submit, requests)

    def _on_submit(self, requests: Sequence[Request]) -> None:
        self._require_replica().submit(requests, self._clock.now_s())

    def read(self, client: int, asked: AskedRead) -> None:
        """A client asks for a linearizable read."""
        self._run(self._incarnation, self._on_read, client, asked)

    def _on_read(self, client: int, asked: AskedRead) -> None:
        self._reads += 1
        number = self._reads
        if self._require_replica().read_index(number, self._clock.now_s()):
            self._asked[number] = asked

    def _index_of(self, node: int) -> ReplicaIndex | None:
        """The place of a node in our epoch; None: it has left, or we did."""
        return self.configuration.index_of(self._ids[node])

    @property
    def group_nodes(self) -> Sequence[int]:
        """Members and standbys of our epoch, by node."""
        return sorted(self._world.node_of[replica.replica_id] for replica in self.configuration.replicas)

    def reconfigure(self, members: Sequence[int], standbys: Sequence[int], *, first: int) -> None:
        """An operator wishes for other members; `first` of them leads at first, -1: whoever."""
        self._run(self._incarnation, self._on_reconfigure, members, standbys, first)

    def _on_reconfigure(self, members: Sequence[int], standbys: Sequence[int], first: int) -> None:
        replicas = [Member(self._ids[node], b"") for node in (*members, *standbys)]
        following = self.configuration.successor(
            tuple(replicas[: len(members)]), tuple(replicas[len(members) :]), first_primary=first
        )
        replica = self._require_replica()
        refusal = replica.reconfigure(following, self._clock.now_s())
        if refusal is None:
            self._world.checkers.on_reconfigured(following, replica.head_op)
        # Of a full disk the last operation is counted anew: the stop sign is one more.
        self._world.checkers.space.on_noted(self.node, is_short=self._world.checkers.space.is_short[self.node])
        self._world.counts["reconfigure" if refusal is None else f"reconfigure_{refusal.name.lower()}"] += 1

    def hand_over(self, node: int) -> None:
        """An operator wishes for another primary."""
        self._run(self._incarnation, self._on_hand_over, node)

    def _on_hand_over(self, node: int) -> None:
        replica, index = self._require_replica(), self._index_of(node)
        assert index is not None, "the nemesis knows who is in the group"
        self._world.counts["hand_over"] += replica.transfer_primary(index, self._clock.now_s())

    def forget(self, client: ClientId, session: SessionNumber) -> None:
        """A client attached here has gone."""
        self._run(self._incarnation, self._on_forget, client, session)

    def _on_forget(self, client: ClientId, session: SessionNumber) -> None:
        self._require_replica().forget(client, session)

    def connect_soon(self, peer: int) -> None:
        """The link to `peer` comes up again in a moment."""
        delay_us = self._world.random.randrange(200 * MILLISECOND_US)
        self._world.schedule.after(delay_us, self._run, self._incarnation, self._on_connected, peer)

    def _on_connected(self, peer: int) -> None:
        now_s = self._clock.now_s()
        self._liveness.on_connected(peer, now_s)
        index = self._index_of(peer)
        if index is not None:
            self._require_replica().peer_connected(index, now_s)

    def disconnect_soon(self, peer: int) -> None:
        """The connection to `peer` is reset: its process died."""
        delay_us = self._world.random.randrange(5 * MILLISECOND_US)
        self._world.schedule.after(delay_us, self._run, self._incarnation, self._on_disconnected, peer)

    def _on_disconnected(self, peer: int) -> None:
        self._liveness.on_disconnected(peer, self._clock.now_s())

    def _on_timer(self) -> None:
        self._timer_us = math.inf
        now_s = self._clock.now_s()
        if now_s >= self._liveness.next_deadline():
            self._tick_liveness(now_s)
        if self.replica is not None and now_s >= self.replica.next_deadline():
            self._require_replica().tick(now_s)

    def _tick_liveness(self, now_s: float) -> None:
        change = self._liveness.tick(now_s)
        for peer in change.suspected:
            if (index := self._index_of(peer)) is not None:
                self._require_replica().suspect(index, now_s)
        for peer in change.trusted:
            if (index := self._index_of(peer)) is not None:
                self._require_replica().trust(index, now_s)
        if change.heartbeat_due:
            for target in range(self._world.swarm.node_count):
                if target != self.node:
                    self._surroundings.send(self.node, target, HEARTBEAT)

    def _require_replica(self) -> Replica:
        """The replica, for an input: the turn that follows performs what it wants."""
        assert self.replica is not None, "inputs run in living processes"
        self._is_dirty = True
        return self.replica

    # --- effects ---

    def _turn(self) -> None:
        replica = self._require_replica()
        self._is_dirty = False
        ready = replica.ready(self._clock.now_s())
        if ready is not None:
            self._perform(ready)
        self._world.checkers.on_stepped(self.node, replica)
        if self._world.story.keep:
            self._tell_change()
        self._archive.checkpoint_when_due(replica)
        self._arm_timer(replica)

    def _tell_change(self) -> None:
        summary = self.summary()
        if summary != self._told:
            self._told = summary
            self._world.story.tell(summary)

    def _arm_timer(self, replica: Replica) -> None:
        deadline_s = min(replica.next_deadline(), self._liveness.next_deadline())
        if deadline_s == math.inf:
            return
        delay_us = self._clock.delay_us(deadline_s)
        due_us = self._world.schedule.now_us + delay_us
        if due_us < self._timer_us:
            self._timer_us = due_us
            self._world.schedule.after(delay_us, self._run_timer, self._incarnation, due_us)

    def _run_timer(self, incarnation: int, due_us: int) -> None:
        if due_us == self._timer_us:
            self._run(incarnation, self._on_timer)

    def _perform(self, ready: Ready) -> None:
        """The effects of one Ready. Writing and sending may happen in either order: only send_after is tied."""
        self._world.checkers.on_ready(self.node, ready)
        write_first = self._world.random.random() < 0.5
        if write_first:
            self._store(ready)
        self._send(ready.send_now)
        if not write_first:
            self._store(ready)
        for reply in ready.replies:
            self._boundary()
            self._surroundings.on_reply(self.node, reply)
        for rejected in ready.rejected:
            self._surroundings.on_rejected(self.node, rejected)
        self._archive.perform(ready)
        for done in ready.reads:
            self._boundary()
            self._surroundings.on_read(self.service, self._asked.pop(done.number))
        if ready.epoch_end is not None:
            self._begin_epoch(ready.epoch_end)

    def _begin_epoch(self, end: EpochEnd) -> None:
        """The next configuration becomes durable, then our replica in it begins. Who has left goes on with the old one."""
        old = self._require_replica()
        self._boundary()
        is_ours = end.configuration.index_of(self._ids[self.node]) is not None
        if is_ours:
            self.configuration, self._began = end.configuration, (end.op, end.checksum)
        self._boundary()
        following = old.next_epoch(self._clock.now_s(), self._world.later.getrandbits(64) if is_ours else 0)
        if following is None:
            self._world.counts["left"] += 1
            self._world.tell(self.node, f"left with epoch {self.configuration.epoch}")
            return
        self.replica = following
        self._note_space()
        self._world.counts["epoch"] += 1
        self._world.tell(self.node, f"epoch {end.configuration.epoch} began: {self.summary()}")

    def _store(self, ready: Ready) -> None:
        if ready.token is not None:
            self._log.enqueue(ready)
        elif ready.send_after and not self._log.tie_to_last(ready):
            self._send(ready.send_after)

    def _send(self, messages: Sequence[tuple[ReplicaIndex, Message]]) -> None:
        if messages:
            replica, node_of = self._require_replica(), self._world.node_of
            self._send_to([(node_of[replica.replica_id_of(index)], message) for index, message in messages])

    def _send_to(self, messages: Sequence[tuple[int, Message]]) -> None:
        encoded: dict[int, bytes] = {}
        for target, message in messages:
            self._boundary()
            data = encoded.get(id(message))
            if data is None:
                self._world.checkers.on_send(self.node, message)
                data = encoded[id(message)] = encode(message)
            self._surroundings.send(self.node, target, data)

    def _on_durable(self, readys: Sequence[Ready]) -> None:
        """A sync returned: complete its tokens in order, let go what was tied to them."""
        replica = self._require_replica()
        for ready in readys:
            if ready.token is not None:
                self._boundary()
                replica.storage_done(ready.token, self._clock.now_s())
            self._send(ready.send_after)
            if ready.meta is not None and ready.meta.base_op:
                self._log.release(ready.meta.base_op)


def _drift(rate_error: float) -> float:
    """How much slower the slowest clock may be than the fastest."""
    return 1.0 - (1.0 - rate_error) / (1.0 + rate_error)


def _liveness_options(patience: float) -> LivenessOptions:
    usual = LivenessOptions()
    return LivenessOptions(
        heartbeat_s=usual.heartbeat_s * patience,
        suspect_after_s_min=usual.suspect_after_s_min * patience,
        suspect_after_s_max=usual.suspect_after_s_max * patience,
    )


__all__ = ["HEARTBEAT", "Process", "Restored", "Surroundings"]
