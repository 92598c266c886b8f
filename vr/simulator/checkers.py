"""The promises, checked at every step. Each raises `Violation` with the name of the promise.

| check | promise | source |
|---|---|---|
| one_entry_per_viewstamp | (view, op) has one content, everywhere and for ever | VRR 4.1 |
| chain_unbroken | an entry's parent is the entry before it | vr brief §1 |
| time_ascends | timestamps of committed ops strictly ascend | vr brief §1 |
| prefixes_equal | committed op k is the same on every replica, before and after restarts | VRR 4, correctness |
| states_equal | the service's state after op k is the same everywhere | determinism |
| committed_on_quorum | committed means durable on a quorum of the members of its epoch | VRR 4.1, 7 |
| committed_op_kept | a disk that holds a committed op keeps it | VRR 4.2 |
| recovery_keeps_durable | what was synced is found again, or reported faulty | vr brief §3 |
| tied_to_storage | no message promises what is not durable at its sender | vr brief §1, table |
| do_view_change_frozen | one DoViewChange per view and sender, also across restarts | vr brief §1 |
| monotone | view, log view, commit never go back, also across restarts | VRR 4.2 |
| ready_when_reconfigured | who begins an epoch has, on a majority of its disks, all but one pipeline | ADR 0009 |
| one_primary_per_view | at most one replica leads a view | VRR 4 |
| counts_its_own_view | a primary begins its view with acknowledgements of that view only | VRR 4.1 step 4 |
| exactly_once, reply_right, reply_final, real_time | sessions: each request once, its own result, never changed, in order | VRR 4.5 |
| read_fresh | a linearizable read shows all that anybody had seen when it was made | VRR 6.3 |
| fetched_once | a chunk of a snapshot that is kept here is not asked for again | VRR 5.3, resumable |
| refuses_when_full | a primary that knows its disk to be nearly full takes no new requests | availability |
| linearizable | some order of all calls explains what every client saw | VRR 4.5, 6.3; Herlihy and Wing 1990 |
| bounded | every queue stays below its stated limit | limits.py |
"""

from __future__ import annotations

from collections.abc import Mapping

from vr import limits
from vr.configuration import Configuration
from vr.log import Entry, EntryKind
from vr.messages import (
    DoViewChange,
    GetChunk,
    Message,
    Prepare,
    PrepareOk,
    SnapshotOffer,
    StartView,
    decode,
    encode,
)
from vr.ready import CommittedOp, Ready, Reply, SnapshotPart
from vr.replica import Replica
from vr.simulator.errors import Violation
from vr.simulator.histories import Histories
from vr.simulator.ledger import Ledger, Mark, Write
from vr.state_transfer import chunk_hash
from vr.types import CHECKSUM_BYTES, OpNumber, ReplicaIndex, view_epoch

RequestKey = tuple[bytes, int, int]  # client, session, number


class Checkers:
    """All promises of one group. The world reports what happens; nothing here influences it."""

    def __init__(self, configuration: Configuration) -> None:
        count = len(configuration.members)
        self.ledger = Ledger(count, initial_view=configuration.initial_view())
        self.logs = LogChecker(configuration.genesis_checksum())
        self.sessions = SessionChecker()
        self.progress = ProgressChecker(count, configuration.pipeline_ops_max)
        self.parts = PartsChecker(count)
        self.space = SpaceChecker(count)
        self._frozen: dict[tuple[int, int], bytes] = {}
        self._node_of = {member.replica_id: node for node, member in enumerate(configuration.members)}
        self._voters = {configuration.epoch: self._nodes_of(configuration)}

    def _nodes_of(self, configuration: Configuration) -> set[int]:
        return {self._node_of[member.replica_id] for member in configuration.members}

    def on_ready(self, node: int, ready: Ready) -> None:
        """The replica asks for effects."""
        for entry in ready.append:
            self.logs.on_entry(node, entry)
        for committed in ready.committed:
            header = committed.entry.header
            self.logs.on_committed(node, committed)
            self.ledger.on_committed(node, header.op, header.checksum, self._voters[view_epoch(header.view)])
            if header.kind is EntryKind.RECONFIGURE:
                following = committed.entry.configuration()
                self._voters[following.epoch] = self._nodes_of(following)
            self.sessions.on_committed(committed)
        for reply in ready.replies:
            self.sessions.on_reply(reply)

    def on_send(self, node: int, message: Message) -> None:
        """A message leaves its node: everything it promises must be durable there.

        Raises:
            Violation: it is not.
        """
        disk = self.ledger.disks[node]
        match message:
            case Prepare():
                self._require(disk.log_view == message.view, node, message)
            case PrepareOk():
                self._require(disk.view <= message.view or message.view <= disk.log_view, node, message)
                self._require(disk.log_view >= message.view, node, message)
                self._require(self.ledger.holds_through(node, message.op, message.checksum), node, message)
            case DoViewChange():
                self._require(disk.view >= message.view, node, message)
                self._require(disk.log_view == message.log_view, node, message)
                self._require_frozen(node, message)
                if message.headers:
                    last = bytes(message.headers[-CHECKSUM_BYTES:])
                    self._require(self.ledger.ever_held(node, message.head_op, last), node, message)
            case StartView():
                self._require(disk.log_view >= message.view, node, message)
            case GetChunk():
                self.parts.on_asked(node, message)
            case _:
                pass

    def _require(self, promised: bool, node: int, message: Message) -> None:
        if not promised:
            disk = self.ledger.disks[node]
            raise Violation(
                "tied_to_storage",
                f"node {node} (durable view {disk.view:#x}, log view {disk.log_view:#x}, head {disk.head}) "
                f"sent {str(message)[:200]}",
            )

    def _require_frozen(self, node: int, message: DoViewChange) -> None:
        encoded = encode(message)
        if self._frozen.setdefault((node, message.view), encoded) != encoded:
            raise Violation("do_view_change_frozen", f"node {node} sent two for view {message.view:#x}")

    def on_reconfigured(self, following: Configuration, head_op: OpNumber) -> None:
        """A primary with that head has agreed to end its epoch: most of the next members were close behind at some time.

        Raises:
            Violation: they never were.
        """
        op = OpNumber(head_op - following.pipeline_ops_max)
        checksum = self.logs.committed.get(op)
        if checksum is None:
            return  # before the first operation, or not reported yet
        nodes = self._nodes_of(following)
        close = [node for node in nodes if self.ledger.ever_held(node, op, checksum)]
        if len(close) < following.quorum:
            raise Violation(
                "ready_when_reconfigured", f"of the next members {sorted(nodes)} only {sorted(close)} have op {op}"
            )

    def on_stepped(self, node: int, replica: Replica) -> None:
        """The replica has done something."""
        is_primary = replica.is_primary
        if is_primary and replica.view not in self.progress.primaries:
            self._require_fresh_count(node, replica)
        self.progress.on_stepped(node, replica, is_primary=is_primary)
        if self.space.is_short[node]:
            self.space.on_stepped(node, replica, is_primary=is_primary)

    def _require_fresh_count(self, node: int, replica: Replica) -> None:
        # Who acknowledged something in this view made its log view durable first.
        for place, member in enumerate(replica.configuration.replicas):
            index = self._node_of[member.replica_id]
            if index != node and self.ledger.disks[index].log_view < replica.view:
                acknowledged, _ = replica.peer_standing(ReplicaIndex(place))
                if acknowledged >= 0:
                    raise Violation(
                        "counts_its_own_view",
                        f"node {node} counts op {acknowledged} of node {index}, which is not in view {replica.view:#x}",
                    )


def writes_of(ready: Ready) -> Write:
    """The ledger's view of one Ready."""
    meta = ready.meta
    return Write(
        view=None if meta is None else meta.view,
        log_view=None if meta is None else meta.log_view,
        truncate_above=None if meta is None else meta.truncate_above,
        marks=tuple(Mark(entry.header.op, entry.header.checksum) for entry in ready.append),
    )


class LogChecker:
    """Entries, committed prefixes, states."""

    def __init__(self, genesis: bytes) -> None:
        self.committed: dict[int, bytes] = {0: genesis}
        self.entries: dict[tuple[int, int], bytes] = {}
        self._timestamps: dict[int, int] = {}
        self._digests: dict[int, bytes] = {}
        self._checkpoints: dict[int, bytes] = {}

    def on_entry(self, node: int, entry: Entry) -> None:
        """A replica puts an entry into its log."""
        header = entry.header
        known = self.entries.setdefault((header.view, header.op), header.checksum)
        if known != header.checksum:
            raise Violation("one_entry_per_viewstamp", f"node {node}: view {header.view:#x} op {header.op}")

    def on_committed(self, node: int, committed: CommittedOp) -> None:
        """A replica says an op is committed."""
        header = committed.entry.header
        known = self.committed.setdefault(header.op, header.checksum)
        if known != header.checksum:
            raise Violation(
                "prefixes_equal",
                f"node {node} committed op {header.op} as {header.checksum.hex()[:8]}, others as {known.hex()[:8]}",
            )
        parent = self.committed.get(header.op - 1)
        if parent != header.parent:
            raise Violation("chain_unbroken", f"node {node}: op {header.op} does not follow its predecessor")
        self._timestamps[header.op] = header.timestamp_us
        if header.timestamp_us <= self._timestamps.get(header.op - 1, -1):
            raise Violation("time_ascends", f"op {header.op} is not later than its predecessor")

    def on_applied(self, node: int, op: OpNumber, digest: bytes) -> None:
        """A service reached this state."""
        if self._digests.setdefault(op, digest) != digest:
            raise Violation("states_equal", f"node {node} has another state after op {op}")

    def on_checkpoint(self, node: int, op: OpNumber, encoded: bytes) -> None:
        """A replica made a checkpoint: deterministic bytes."""
        if self._checkpoints.setdefault(op, encoded) != encoded:
            raise Violation("states_equal", f"node {node} made another checkpoint of op {op}")


class SessionChecker:
    """Requests and replies, seen from outside."""

    def __init__(self) -> None:
        self.results: dict[RequestKey, tuple[int, bytes]] = {}
        self.registers: set[tuple[bytes, int, int]] = set()  # client, session, op
        self.acknowledged: dict[RequestKey, tuple[int, bytes]] = {}
        self.acknowledged_op_max = 0
        self.read_op_max = 0
        self.histories = Histories()
        self._seen_op = 0

    def on_committed(self, committed: CommittedOp) -> None:
        """Note what an op did; only the first replica to commit it teaches, the others must agree."""
        op = committed.entry.header.op
        for request, result in zip(committed.requests, committed.results, strict=True):
            key = (bytes(request.client), int(request.session), int(request.number))
            if self.results.setdefault(key, (op, result)) != (op, result):
                raise Violation("exactly_once", f"request {_name(key)} in op {op}, and in {self.results[key]}")
        if op > self._seen_op:
            self._seen_op = op
            for index, request in enumerate(committed.entry.requests()):
                if request.session == 0:
                    self.registers.add((bytes(request.client), op << 8 | index, op))

    def on_reply(self, reply: Reply) -> None:
        """A reply leaves for a client."""
        key = (bytes(reply.client), int(reply.session), int(reply.number))
        if reply.number == 0:
            if (key[0], key[1], reply.op) not in self.registers:
                raise Violation("reply_right", f"session {reply.session:#x} of {_name(key)} was never registered")
        elif self.results.get(key) != (reply.op, reply.result):
            raise Violation("reply_right", f"{_name(key)}: op {reply.op}, committed {self.results.get(key)}")
        if self.acknowledged.setdefault(key, (reply.op, reply.result)) != (reply.op, reply.result):
            raise Violation("reply_final", f"{_name(key)} was answered differently before")

    @property
    def seen_op_max(self) -> int:
        """What somebody has seen: acknowledged, or read."""
        return max(self.acknowledged_op_max, self.read_op_max)

    def on_read(self, op: int, *, floor_op: int) -> None:
        """A linearizable read returned: it must show everything that anybody had seen when it was asked for."""
        if op < floor_op:
            raise Violation(
                "read_fresh", f"a read shows op {op}, though op {floor_op} had been seen before it was made"
            )
        self.read_op_max = max(self.read_op_max, op)

    def on_acknowledged(self, op: int, *, floor_op: int) -> None:
        """A client takes a reply: the op must come after everything acknowledged before the request was made."""
        if op <= floor_op:
            raise Violation("real_time", f"a request made after op {floor_op} was acknowledged became op {op}")
        self.acknowledged_op_max = max(self.acknowledged_op_max, op)


def _name(key: RequestKey) -> str:
    return f"{key[0].hex()[:4]}/{key[1]:#x}/{key[2]}"


class SpaceChecker:
    """Disks that are nearly full: what is left is for promises already made."""

    def __init__(self, node_count: int) -> None:
        self.is_short = [False] * node_count
        self._bounds: list[tuple[int, int]] = [(-1, 0)] * node_count  # view, the last op that it may make

    def on_noted(self, node: int, *, is_short: bool) -> None:
        """The replica was told."""
        self.is_short[node] = is_short
        self._bounds[node] = (-1, 0)

    def on_stepped(self, node: int, replica: Replica, *, is_primary: bool) -> None:
        """It did something, knowing that."""
        if not is_primary:
            return
        view, last_op = self._bounds[node]
        if view != replica.view:
            # A stop sign is welcome on a full disk: it may be the way off it.
            self._bounds[node] = (replica.view, replica.head_op + replica.queue_count + replica.awaits_stop_sign)
        elif replica.head_op > last_op:
            raise Violation("refuses_when_full", f"node {node} made op {replica.head_op}, {last_op} was to be the last")


class PartsChecker:
    """Chunks of a snapshot that a node keeps: neither a restart nor another source makes it fetch them again."""

    def __init__(self, node_count: int) -> None:
        self._kept: list[dict[int, tuple[int, int]]] = [{} for _ in range(node_count)]

    def on_kept(self, node: int, parts: Mapping[int, SnapshotPart]) -> None:
        """These are kept from now on, and no others; what has rotted of them is not."""
        self._kept[node] = {}
        for number, part in parts.items():
            offer = decode(part.offer)
            assert isinstance(offer, SnapshotOffer)
            start = number * CHECKSUM_BYTES
            if chunk_hash(part.data) == offer.hashes[start : start + CHECKSUM_BYTES]:
                self._kept[node][number] = (offer.op, offer.chunk_bytes)

    def on_asked(self, node: int, message: GetChunk) -> None:
        """A node asks for a chunk."""
        if self._kept[node].get(message.number) == (message.op, message.chunk_bytes):
            raise Violation("fetched_once", f"node {node} asks again for chunk {message.number} of op {message.op}")


class ProgressChecker:
    """Views and commits per node, over restarts; one primary per view; bounded queues."""

    def __init__(self, node_count: int, pipeline_ops_max: int) -> None:
        self.view = [0] * node_count
        self.log_view = [0] * node_count
        self.commit = [0] * node_count
        self.primaries: dict[int, int] = {}
        self._pipeline_ops_max = pipeline_ops_max

    def on_stepped(self, node: int, replica: Replica, *, is_primary: bool) -> None:
        """Compare with the step before."""
        view, log_view, commit = replica.view, replica.log_view, replica.commit_number
        if commit != self.commit[node] or view != self.view[node] or log_view != self.log_view[node]:
            self._advance("view", self.view, node, view)
            self._advance("log view", self.log_view, node, log_view)
            self._advance("commit number", self.commit, node, commit)
            if log_view > view:
                raise Violation("monotone", f"node {node}: log view {log_view:#x} above view {view:#x}")
        if is_primary and self.primaries.setdefault(view, node) != node:
            raise Violation("one_primary_per_view", f"view {view:#x}: {self.primaries[view]}, {node}")
        self._require_bounded(node, replica)

    def _require_bounded(self, node: int, replica: Replica) -> None:
        if replica.pending_count > limits.PENDING_REQUESTS_MAX:
            raise Violation("bounded", f"node {node}: {replica.pending_count} pending requests")
        if "state_machine_diverged" in replica.dropped:
            raise Violation("bounded", f"node {node}: its state differs from another's")
        if replica.queue_count > limits.QUEUE_REQUESTS_MAX:
            raise Violation("bounded", f"node {node}: {replica.queue_count} queued requests")
        in_flight = replica.head_op - replica.commit_number
        if in_flight > self._pipeline_ops_max and replica.is_primary:
            raise Violation("bounded", f"node {node}: operations {replica.commit_number}..{replica.head_op} in flight")

    def _advance(self, what: str, table: list[int], node: int, value: int) -> None:
        if value < table[node]:
            raise Violation("monotone", f"node {node}: {what} from {table[node]:#x} back to {value:#x}")
        table[node] = value

    def on_restarted(self, node: int, *, view: int, log_view: int) -> None:
        """A new process: only what was durable counts from here."""
        self.view[node] = view
        self.log_view[node] = log_view
        self.commit[node] = 0
