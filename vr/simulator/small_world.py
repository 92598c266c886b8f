"""A small world for exhaustive search: three real replicas, a disk of values, a network in order, and few surprises.

Left alone, everything happens in the order it was asked for. A *surprise* breaks the order: each costs one of a small
budget, and the search tries every place for every surprise (delay-bounded exploration: Emmi, Qadeer, Rakamarić, POPL
2011). Within its budget that is exhaustive; most protocol bugs need few surprises.

| surprise | what happens |
|---|---|
| hold | the next message or sync comes at any later moment, or never: that is loss, delay, reordering, a slow disk |
| repeat | the next message is delivered and once more at any later moment |
| suspect p | everybody else takes the primary p for dead |
| cut n | nothing reaches or leaves node n until all is quiet and the cut is healed |
| crash n | power loss: of the writes under way any prefix is kept; n starts again from its disk |
| leave n | the primary ends the epoch: all others go on without n, which stays up to answer laggards (no surprise spent) |

Worlds are values: a step shares everything with its predecessor but the node it touched. Time stands still (nothing here
waits for a clock, suspicion is an event), except that everybody ticks once when all is quiet. There is no symmetry to
exploit: the primary of a view follows from the number of the view, so no two replicas can be exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from vr.configuration import Configuration, Member
from vr.log import Entry, EntryKind, Request
from vr.messages import DoViewChange, Message, PrepareOk, StartView, decode, encode
from vr.ready import DurableState, EpochEnd, Ready
from vr.replica import FaultyEntry, Replica, ReplicaOptions, Restored, Status
from vr.simulator.errors import Violation
from vr.simulator.service import JournalService
from vr.simulator.twin import essence, twin
from vr.types import (
    LAST_VIEW,
    Checksum,
    ClientId,
    GroupId,
    OpNumber,
    ReplicaId,
    RequestNumber,
    SessionNumber,
    ViewNumber,
    view_epoch,
    view_in_epoch,
)

NODES = 3
NEVER_S = 1e9
GROUPS = {3: GroupId(b"a small world 02"), 5: GroupId(b"a small world 06")}  # their first primary is node 0
# Time stands still: what is sent again is sent again at once, and patience never ends.
OPTIONS = ReplicaOptions(resend_s=0.0, patience_s=NEVER_S, view_change_s=NEVER_S, view_change_s_max=NEVER_S)


def _identity(node: int) -> ReplicaId:
    return ReplicaId(bytes([node]) * 16)


def small_configuration(nodes: int) -> Configuration:
    """The group of a world of three or five nodes."""
    members = tuple(Member(replica_id=_identity(n), node_key=bytes([n]) * 32) for n in range(nodes))
    return Configuration(group=GROUPS[nodes], members=members, pipeline_ops_max=4)


CONFIGURATIONS = {nodes: small_configuration(nodes) for nodes in GROUPS}


class Budget(msgspec.Struct, frozen=True):
    """What may still happen."""

    surprises: int = 3
    operations: int = 2
    view_changes: int = 2
    crashes: int = 1
    cuts: int = 1
    ticks: int = 1
    epochs: int = 0


class Packet(NamedTuple):
    """A message under way; a sync under way has its own node as target, and no data."""

    source: int
    target: int
    data: bytes

    def __str__(self) -> str:
        if not self.data:
            return f"sync of {self.target}"
        return f"{type(decode(self.data)).__name__} {self.source}→{self.target}"


class Write(NamedTuple):
    """What one Ready asked to make durable."""

    token: int
    append: tuple[Entry, ...]
    meta: DurableState | None


class Rotten(NamedTuple):
    """What a restart cannot read any more: operations of known identity; the last one, nobody knows which."""

    ops: tuple[int, ...] = ()
    is_tail_lost: bool = False


class Node:
    """One node: its replica, its disk, the writes between them. `key` stands for all of it."""

    __slots__ = ("began", "configuration", "disk", "key", "meta", "replica", "writes")

    def __init__(self, replica: Replica, configuration: Configuration) -> None:
        self.replica = replica
        self.disk: tuple[Entry, ...] = ()  # entry of op 1, 2, …
        self.meta: DurableState | None = None
        self.configuration = configuration  # of the last epoch it was in, durable at once
        self.began: tuple[OpNumber, Checksum] | None = None
        self.writes: tuple[Write, ...] = ()
        self.key = 0

    def copy(self) -> Node:
        """A node that can be changed."""
        copied = Node(twin(self.replica), self.configuration)
        copied.disk, copied.meta, copied.began, copied.writes = self.disk, self.meta, self.began, self.writes
        return copied

    def persist(self) -> Write:
        """The oldest write reaches the disk."""
        write, self.writes = self.writes[0], self.writes[1:]
        if write.meta is not None:
            self.meta = write.meta
            if write.meta.truncate_above is not None:
                self.disk = self.disk[: write.meta.truncate_above]
        if write.append:
            self.disk = self.disk[: write.append[0].op - 1] + write.append
        return write

    def holds(self, op: int, checksum: bytes) -> bool:
        """Whether this operation is on the disk."""
        return op == 0 or (op <= len(self.disk) and self.disk[op - 1].checksum == checksum)

    def seal(self) -> None:
        """Done with changing it."""
        marks = tuple(entry.checksum for entry in self.disk)
        self.key = hash((essence(self.replica), marks, self.meta, len(self.writes), self.configuration.epoch))


class SmallWorld:
    """One state of the search."""

    __slots__ = ("budget", "committed", "cut", "held", "nodes", "now_s", "queue", "voters")

    def __init__(self, nodes: tuple[Node, ...], budget: Budget) -> None:
        self.nodes = nodes
        self.budget = budget
        self.queue: tuple[Packet, ...] = ()
        self.held: tuple[Packet, ...] = ()
        self.cut: int | None = None
        self.now_s = 0.0  # only scenarios let it pass
        self.committed: tuple[bytes, ...] = ()  # checksum of op 1, 2, … as somebody committed it first
        self.voters: tuple[frozenset[int], ...] = (frozenset(range(len(nodes))),)  # of each epoch that was begun

    def key(self) -> int:
        """Equal for worlds that have equal futures, but for the surprises left."""
        budget = msgspec.structs.replace(self.budget, surprises=0)
        nodes = tuple(node.key for node in self.nodes)
        return hash(
            (nodes, self.queue, frozenset(self.held), self.cut, self.committed, msgspec.structs.astuple(budget))
        )

    def describe(self) -> list[str]:
        """One line for each node's state."""
        return [
            f"{index}: {node.replica.status.name} view {_view_name(node.replica.view)}, log view "
            f"{_view_name(node.replica.log_view)}, head {node.replica.head_op}, commit {node.replica.commit_number}, "
            f"disk {len(node.disk)}"
            for index, node in enumerate(self.nodes)
        ]


def _view_name(view: ViewNumber) -> str:
    epoch, number = view_epoch(view), view_in_epoch(view)
    place = "last" if number == LAST_VIEW else str(number)
    return f"{epoch}.{place}" if epoch or number == LAST_VIEW else place


def first_world(budget: Budget, *, count: int = NODES) -> SmallWorld:
    """So many nodes (3 or 5) that have just been created."""
    nodes = []
    for index in range(count):
        node = Node(_start(CONFIGURATIONS[count], index, Restored.fresh()), CONFIGURATIONS[count])
        node.seal()
        nodes.append(node)
    world = SmallWorld(tuple(nodes), budget)
    step = Step(world)
    for index in range(count):
        step.turn(index)
    return step.done()


def _start(configuration: Configuration, node: int, restored: Restored, *, now_s: float = 0.0) -> Replica:
    index = configuration.index_of(_identity(node))
    assert index is not None, "a node runs in the last epoch that it was in"
    return Replica(configuration, index, JournalService(), restored, now=now_s, seed=node, options=OPTIONS)


class Step:
    """A world being changed: nodes are copied at the first touch."""

    def __init__(self, world: SmallWorld) -> None:
        self.world = SmallWorld(world.nodes, world.budget)
        self.world.queue, self.world.held, self.world.cut = world.queue, world.held, world.cut
        self.world.committed, self.world.now_s, self.world.voters = world.committed, world.now_s, world.voters
        self._nodes = list(world.nodes)
        self._touched: set[int] = set()

    def node(self, index: int) -> Node:
        """The node, to be changed."""
        if index not in self._touched:
            self._touched.add(index)
            self._nodes[index] = self._nodes[index].copy()
        return self._nodes[index]

    def done(self) -> SmallWorld:
        """The new world."""
        for index in self._touched:
            self._nodes[index].seal()
        self.world.nodes = tuple(self._nodes)
        return self.world

    def spend(self, **changes: int) -> None:
        """Use up some of the budget."""
        budget = self.world.budget
        spent = {name: getattr(budget, name) - count for name, count in changes.items()}
        self.world.budget = msgspec.structs.replace(budget, **spent)

    # --- events ---

    def deliver(self, packet: Packet) -> None:
        """A message arrives, or a sync returns; not across a cut: what is cut waits for the healing."""
        if packet.source != packet.target and self.world.cut in (packet.source, packet.target):
            self.world.held += (packet,)
            return
        node = self.node(packet.target)
        if packet.data:
            message = decode(packet.data)
            if view_epoch(message.view) == node.configuration.epoch:
                node.replica.step(message, self.world.now_s)
            else:
                node.replica.step_guest(_identity(packet.source), message, self.world.now_s)
        else:
            node.replica.storage_done(node.persist().token, self.world.now_s)
        self.turn(packet.target)

    def submit(self, index: int) -> None:
        """A client registers: the simplest operation."""
        client = ClientId(bytes([self.world.budget.operations]) * 16)
        request = Request(client=client, session=SessionNumber(0), number=RequestNumber(0), body=b"")
        self.node(index).replica.submit([request], self.world.now_s)
        self.turn(index)

    def suspect(self, index: int, primary: int) -> None:
        """A node takes another one for dead."""
        node = self.node(index)
        if (place := node.configuration.index_of(_identity(primary))) is not None:
            node.replica.suspect(place, self.world.now_s)
            self.turn(index)

    def suspect_everywhere(self, primary: int) -> None:
        """Everybody else takes a node for dead: a surprise."""
        for index in range(len(self._nodes)):
            if index != primary:
                self.suspect(index, primary)
        self.spend(view_changes=1, surprises=1)

    def trust(self, index: int, other: int) -> None:
        """A node hears another one again."""
        node = self.node(index)
        if (place := node.configuration.index_of(_identity(other))) is not None:
            node.replica.trust(place, self.world.now_s)
            self.turn(index)

    def leave(self, leaving: int) -> None:
        """Whoever leads ends the epoch; all but one go on, if it agrees."""
        index = next(place for place, node in enumerate(self._nodes) if leads(node))
        node = self.node(index)
        staying = tuple(member for member in node.configuration.members if member.replica_id != _identity(leaving))
        node.replica.reconfigure(node.configuration.successor(staying), self.world.now_s)
        self.turn(index)

    def tick(self, index: int) -> None:
        """Time passes for a node."""
        self.node(index).replica.tick(self.world.now_s)
        self.turn(index)

    def tick_all(self) -> None:
        """Time passes for everybody."""
        for index in range(len(self._nodes)):
            self.tick(index)
        self.spend(ticks=1)

    def crash(self, index: int, kept: int, rotten: Rotten | None = None) -> None:
        """Power loss, and a new start from the disk with the first `kept` writes under way."""
        node = self.node(index)
        for _ in range(kept):
            node.persist()
        node.writes = ()
        own = Packet(index, index, b"")
        self.world.queue = tuple(packet for packet in self.world.queue if packet != own)
        self.world.held = tuple(packet for packet in self.world.held if packet != own)
        rotten = Rotten() if rotten is None else rotten
        entries: list[Entry | FaultyEntry] = [] if node.meta is None else list(node.disk)
        for op in rotten.ops:
            entries[op - 1] = FaultyEntry(op=OpNumber(op), checksum=node.disk[op - 1].checksum)
        if rotten.is_tail_lost:
            entries = entries[:-1]
            node.disk = node.disk[:-1]
        node.replica = _start(
            node.configuration,
            index,
            Restored(state=node.meta, entries=entries, head_certain=not rotten.is_tail_lost, began=node.began),
            now_s=self.world.now_s,
        )
        self.turn(index)

    # --- effects and promises ---

    def turn(self, index: int) -> None:
        """What the replica wants done; every promise in it is checked."""
        node = self.node(index)
        ready = node.replica.ready(self.world.now_s)
        if ready is None:
            return
        packets = []
        for target, message in ready.send_now:
            _require_durable(node, index, message)
            packets.append(Packet(index, node.replica.replica_id_of(target)[0], encode(message)))
        if ready.token is not None:
            node.writes += (Write(ready.token, tuple(ready.append), ready.meta),)
            packets.append(Packet(index, index, b""))
        self.world.queue += tuple(packet for packet in packets if packet not in self.world.queue or not packet.data)
        self._check_committed(index, ready)
        if ready.epoch_end is not None:
            self._begin_epoch(index, ready.epoch_end)

    def _begin_epoch(self, index: int, end: EpochEnd) -> None:
        node = self.node(index)
        following = node.replica.next_epoch(self.world.now_s, index)
        if following is not None:
            node.configuration, node.began, node.replica = end.configuration, (end.op, end.checksum), following
            self.turn(index)

    def _check_committed(self, index: int, ready: Ready) -> None:
        for committed in ready.committed:
            op, checksum = committed.entry.op, committed.entry.checksum
            known = self.world.committed
            if op <= len(known):
                if known[op - 1] != checksum:
                    raise Violation("prefixes_equal", f"node {index} committed another op {op}")
                continue
            assert op == len(known) + 1, "nobody applies an operation before its predecessor"
            voters = self.world.voters[view_epoch(committed.entry.header.view)]
            if sum(self._nodes[voter].holds(op, checksum) for voter in voters) <= len(voters) // 2:
                raise Violation("committed_on_quorum", f"node {index} committed op {op}, which is on too few disks")
            self.world.committed = (*known, checksum)
            if committed.entry.header.kind is EntryKind.RECONFIGURE:
                members = committed.entry.configuration().members
                self.world.voters += (frozenset(member.replica_id[0] for member in members),)


def _require_durable(node: Node, index: int, message: Message) -> None:
    meta = node.meta
    match message:
        case PrepareOk():
            # Acknowledging nothing in the first view needs nothing on the disk.
            kept = node.holds(message.op, message.checksum) and (message.op == 0 or meta is not None)
            durable = kept and (meta is None or meta.log_view == message.view)
        case DoViewChange():
            durable = meta is not None and meta.view >= message.view and meta.log_view == message.log_view
        case StartView():
            durable = meta is not None and meta.log_view >= message.view
        case _:
            durable = True
    if not durable:
        raise Violation("tied_to_storage", f"node {index} sent {str(message)[:200]}")


# --- what can happen next ---


def leads(node: Node) -> bool:
    """Does this node's replica lead an epoch that is not over?"""
    return node.replica.is_primary and node.replica.status is Status.NORMAL


class Choice(NamedTuple):
    """One way on: its name, and what it does to a step."""

    name: str
    kind: str
    argument: int = 0
    kept: int = 0


def choices(world: SmallWorld) -> Iterator[Choice]:
    """Every way on, the ordinary one first."""
    if world.queue:
        yield Choice(f"deliver {world.queue[0]}", "deliver")
    else:
        yield from _choices_when_quiet(world)
    for place, packet in enumerate(world.held):
        if world.cut is None or packet.source == packet.target:
            yield Choice(f"deliver late {packet}", "late", place)
    if world.budget.surprises:
        yield from _surprises(world)


def _choices_when_quiet(world: SmallWorld) -> Iterator[Choice]:
    if world.budget.operations:
        for index, node in enumerate(world.nodes):
            if leads(node):
                yield Choice(f"submit at {index}", "submit", index)
    if world.budget.epochs and any(leads(node) for node in world.nodes):
        for index in range(len(world.nodes)):
            yield Choice(f"leave {index}", "leave", index)
    if world.cut is not None:
        yield Choice("heal", "heal")
    elif world.budget.ticks:
        yield Choice("tick", "tick")


def _surprises(world: SmallWorld) -> Iterator[Choice]:
    budget = world.budget
    if world.queue:
        yield Choice(f"hold {world.queue[0]}", "hold")
        if world.queue[0].data:
            yield Choice(f"repeat {world.queue[0]}", "repeat")
    if budget.view_changes:
        primaries = {node.replica.replica_id_of(node.replica.primary_index)[0] for node in world.nodes}
        for primary in sorted(primaries):
            yield Choice(f"suspect {primary}", "suspect", primary)
    if budget.cuts and world.cut is None:
        for index in range(NODES):
            yield Choice(f"cut {index}", "cut", index)
    if budget.crashes:
        for index, node in enumerate(world.nodes):
            for kept in range(len(node.writes) + 1):
                yield Choice(f"crash {index}, {kept} of {len(node.writes)} writes kept", "crash", index, kept)


def perform(world: SmallWorld, choice: Choice) -> SmallWorld:
    """The world after a choice.

    Raises:
        Violation: a promise is broken.
        AssertionError: the core caught itself.
    """
    step = Step(world)
    match choice.kind:
        case "deliver" | "hold" | "repeat":
            _take_next(step, choice.kind)
        case "late":
            _take_held(step, choice.argument)
        case "submit":
            step.submit(choice.argument)
            step.spend(operations=1)
        case "leave":
            step.leave(choice.argument)
            step.spend(epochs=1)
        case "heal":
            _heal(step)
        case "tick":
            step.tick_all()
        case "suspect":
            step.suspect_everywhere(choice.argument)
        case "cut":
            step.world.cut = choice.argument
            step.spend(cuts=1, surprises=1)
        case _:
            step.crash(choice.argument, choice.kept)
            step.spend(crashes=1, surprises=1)
    return step.done()


def _take_held(step: Step, place: int) -> None:
    packet = step.world.held[place]
    step.world.held = step.world.held[:place] + step.world.held[place + 1 :]
    step.deliver(packet)


def _heal(step: Step) -> None:
    held = step.world.held
    step.world.cut = None
    step.world.queue += tuple(packet for packet in held if packet.data)
    step.world.held = tuple(packet for packet in held if not packet.data)


def _take_next(step: Step, kind: str) -> None:
    packet, step.world.queue = step.world.queue[0], step.world.queue[1:]
    if kind != "hold":
        step.deliver(packet)
    if kind != "deliver":
        step.world.held += (packet,)
        step.spend(surprises=1)


__all__ = [
    "NEVER_S",
    "NODES",
    "Budget",
    "Choice",
    "Packet",
    "Rotten",
    "SmallWorld",
    "Step",
    "choices",
    "first_world",
    "perform",
]
