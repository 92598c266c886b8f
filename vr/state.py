"""The state of one replica, shared by the sub-protocols, and the effects they collect.

    RECOVERING_HEAD ──StartView──▶ NORMAL ──quorum of StartViewChange, or DoViewChange of a higher view──▶ VIEW_CHANGE
                                   │  ▲──────────────── StartView, or being its primary ────────────────────┘
                                   └──stop sign executed──▶ RETIRED

Three positions move along the log; each is a promise of another kind:

    base ≤ applied_op ≤ commit_number ≤ head_op        durable_op ≤ head_op
           executed     known committed  in memory     on stable storage here

`voted_view` is the highest view that we promised to enter (by DoViewChange) or entered; `view` may be above it while the
log of a StartView is being fetched, which promises nothing yet. `view` and `log_view` may be ahead of what is durable; what depends on their durability waits for `durable_view` and
`durable_log_view`. Sub-protocols are functions over this state in modules of their own: `normal`, `view_change`, `repair`,
`forwarding`. None does I/O; they only add to `effects`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from enum import Enum, auto

import msgspec

from vr import limits
from vr.configuration import Configuration
from vr.jitter import Jitter
from vr.log import Entry, EntryHeader, Log, Request
from vr.messages import DoViewChange, Message, Rejected
from vr.nacks import Undecided
from vr.ready import (
    Checkpoint,
    CommittedOp,
    DurableState,
    EpochEnd,
    HistoryRead,
    ReadDone,
    Reply,
    SnapshotPart,
    SnapshotRead,
)
from vr.service import Service
from vr.sessions import SessionTable
from vr.types import (
    LAST_VIEW,
    Checksum,
    ClientId,
    OpNumber,
    ReplicaId,
    ReplicaIndex,
    RequestNumber,
    SessionNumber,
    ViewNumber,
    view_in_epoch,
)

RequestKey = tuple[ClientId, SessionNumber, RequestNumber]


class Status(Enum):
    """VRR 4's status, without `recovering`: views are durable. RECOVERING_HEAD neither acknowledges nor votes.

    RETIRED: our epoch is over (VRR 7.2); we answer what laggards ask, and nothing else.
    """

    NORMAL = auto()
    VIEW_CHANGE = auto()
    RECOVERING_HEAD = auto()
    RETIRED = auto()


def _no_clock() -> int:
    return 0


class ReplicaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `wall_clock_us` gives unix microseconds for the timestamps of operations.

    `patience_s` is how long nothing may be committed, while something should be, before a replica wants another view.
    `digest_ops`: operations between two digests of the state; replicas are compared where theirs coincide.
    `clock_drift_max` is the share by which two replicas' clocks may differ in speed: leases count on it.
    """

    wall_clock_us: Callable[[], int] = _no_clock
    log_margin_ops: int = limits.LOG_MARGIN_OPS
    digest_ops: int = limits.DIGEST_OPS
    resend_s: float = 0.25
    patience_s: float = 2.0
    clock_drift_max: float = 0.01
    view_change_s: float = 2.0
    view_change_s_max: float = 30.0


class Divergence(msgspec.Struct, frozen=True):
    """After `op` the state of the peer `other` was not ours: one of the two is wrong."""

    op: OpNumber
    other: ReplicaIndex


class Transfer(msgspec.Struct, kw_only=True):
    """A snapshot that is being fetched from `source`: its chunks by number, those asked for with the time."""

    op: OpNumber
    checksum: Checksum
    chunk_bytes: int
    hashes: bytes
    source: ReplicaIndex
    offer: bytes
    progress_at: float
    chunks: dict[int, bytes] = msgspec.field(default_factory=dict)
    asked: dict[int, float] = msgspec.field(default_factory=dict)
    is_saving: bool = False


class Promise(msgspec.Struct):
    """One write that was asked for: when `token` is done, the log through `op` and these views are durable."""

    token: int
    op: OpNumber
    view: ViewNumber
    log_view: ViewNumber
    asked_at: float


class Install(msgspec.Struct, kw_only=True):
    """A log that is being put together for `view`, before it replaces ours (VRR 4.2 steps 3 and 5, 5.2).

    Our own log stays as it is until every body is here: whoever truncates early loses committed operations.
    Everything through `commit` is committed; `headers` are the canonical ones above it, through `head_op`; `bodies` are
    entries that came in, by op; our own log is right through `keep_op`. `sources` are peers likely to have the rest.
    """

    view: ViewNumber
    head_op: OpNumber
    commit: OpNumber
    commit_checksum: Checksum
    headers: dict[OpNumber, EntryHeader]
    keep_op: OpNumber
    bodies: dict[OpNumber, Entry]
    sources: list[ReplicaIndex]
    known_commit: OpNumber
    turn: int = 0


class Damage(msgspec.Struct):
    """Holes that a restart found in our log, each known by identity, up to `head_op`; `sound` is what lies between."""

    sound: dict[OpNumber, Entry]
    missing: dict[OpNumber, Checksum]
    head_op: OpNumber


class Peer(msgspec.Struct):
    """What a primary knows of a backup: acknowledged through `match_op` in this view, told and confirmed `commit`."""

    match_op: OpNumber = OpNumber(-1)
    commit: OpNumber = OpNumber(-1)
    suspected: bool = False


class Pending(msgspec.Struct):
    """A request of a client attached here. Monotonic seconds; `sent_at`: when it was last brought to the primary."""

    request: Request
    sent_at: float
    submitted_at: float


class Reads(msgspec.Struct):
    """Reads of ours, and a primary's rounds for them (vr.reads). All of them belong to `view`, except the settled ones.

    `fresh` wait for a round, `asked` for the answer to theirs, `settled` (a heap) for an operation to be applied.
    `questions` are backups' reads in rounds: (round, who, (nonce, context)). `rounds` are (number, when begun).
    """

    view: ViewNumber = ViewNumber(-1)
    round: int = 0
    fresh: list[int] = msgspec.field(default_factory=list)
    asked: list[tuple[int, int]] = msgspec.field(default_factory=list)
    settled: list[tuple[OpNumber, int]] = msgspec.field(default_factory=list)
    questions: list[tuple[int, ReplicaIndex, tuple[int, int]]] = msgspec.field(default_factory=list)
    questions_fresh: list[tuple[ReplicaIndex, tuple[int, int]]] = msgspec.field(default_factory=list)
    rounds: deque[tuple[int, float]] = msgspec.field(default_factory=deque)
    confirmed_by: dict[ReplicaIndex, int] = msgspec.field(default_factory=dict)
    lease_until: float = float("-inf")


class Effects(msgspec.Struct):
    """Everything asked for since the last Ready."""

    send_now: list[tuple[ReplicaIndex, Message]] = msgspec.field(default_factory=list)
    committed: list[CommittedOp] = msgspec.field(default_factory=list)
    replies: list[Reply] = msgspec.field(default_factory=list)
    rejected: list[Rejected] = msgspec.field(default_factory=list)
    snapshot_reads: list[SnapshotRead] = msgspec.field(default_factory=list)
    snapshots: list[Checkpoint] = msgspec.field(default_factory=list)
    parts: list[SnapshotPart] = msgspec.field(default_factory=list)
    history_reads: list[HistoryRead] = msgspec.field(default_factory=list)
    reads: list[ReadDone] = msgspec.field(default_factory=list)
    epoch_end: EpochEnd | None = None


class ReplicaState:
    """See the module. Fields are grouped by who may change them."""

    def __init__(
        self, configuration: Configuration, index: ReplicaIndex, service: Service, *, options: ReplicaOptions, seed: int
    ) -> None:
        assert 0 <= index < len(configuration.replicas)
        # Constants.
        self.configuration = configuration
        self.index = index
        self.service = service
        self.options = options
        self.jitter = Jitter(seed)
        self.others = [ReplicaIndex(other) for other in range(len(configuration.replicas)) if other != index]
        self.other_members = [other for other in self.others if configuration.is_member(other)]
        self.is_member = configuration.is_member(index)
        # The view (view_change).
        self.status = Status.NORMAL
        self.view = configuration.initial_view()
        self._primary = configuration.primary_index(self.view)
        self._primary_view = self.view
        self.log_view = self.view
        self.voted_view = self.view
        self.install: Install | None = None
        self.frozen_do_view_change: bytes | None = None
        self.do_view_changes: dict[ReplicaIndex, DoViewChange] = {}
        self.undecided: Undecided | None = None
        self.votes: dict[ViewNumber, dict[ReplicaIndex, float]] = {}
        self.attempts = 0
        self.view_changes = 0
        self.nonce = 0
        # The log (normal, repair).
        self.log = Log(OpNumber(0), configuration.genesis_checksum())
        self.commit_number = OpNumber(0)
        self.applied_op = OpNumber(0)
        self.base_timestamp_us = 0
        self.sessions = SessionTable(configuration.sessions_max, configuration.session_ttl_s)
        self.damage: Damage | None = None
        self.is_damage_known = False
        self.early: dict[OpNumber, Entry] = {}
        self.known_head_op = OpNumber(0)
        # Digests of the state (divergence).
        self.digests: dict[OpNumber, Checksum] = {}
        self.digest_claims: dict[ReplicaIndex, tuple[OpNumber, Checksum]] = {}
        self.divergence: Divergence | None = None
        # A snapshot on its way to us (state_transfer); bytes that may be asked for, as of a time.
        self.transfer: Transfer | None = None
        self.snapshot_budget = limits.SNAPSHOT_BYTES_PER_S
        self.snapshot_budget_at = 0.0
        # Epochs (reconfiguration). `epochs`: how they ended, oldest first; `began`: the one before ours, `ended`: ours, in
        # which `configuration` follows; `guests` by their place.
        self.epochs: list[EpochEnd] = []
        self.began: EpochEnd | None = None
        self.ended: EpochEnd | None = None
        self.is_end_told = False
        self.has_left = False
        self.reconfiguration: Configuration | None = None
        self.guests: list[ReplicaId] = []
        self.guests_seen = 0
        self.epoch_told_at: dict[ReplicaIndex, float] = {}
        # Durability (durability). Nothing is durable before the first write.
        self.unwritten_op = OpNumber(1)
        self.durable_op = OpNumber(0)
        self.durable_view = ViewNumber(-1)
        self.durable_log_view = ViewNumber(-1)
        self.promises: deque[Promise] = deque()
        self.tokens = 0
        self.saved: DurableState | None = None
        self.truncate_above: OpNumber | None = None
        self.acknowledged: tuple[ViewNumber, OpNumber] = (ViewNumber(-1), OpNumber(0))
        # The primary's work (normal).
        self.peers = {other: Peer() for other in self.others}
        self.queue: deque[Request] = deque()
        self.queue_bytes = 0
        self.prepared: dict[SessionNumber, RequestNumber] = {}
        self.is_short_of_space = False
        self.registering: set[tuple[ClientId, bytes]] = set()
        self.commit_told = OpNumber(0)
        self.view_announced = ViewNumber(-1)
        # Clients attached here (forwarding).
        self.pending: dict[RequestKey, Pending] = {}
        self.pending_of_session: Counter[tuple[ClientId, SessionNumber]] = Counter()
        # Time, monotonic seconds.
        self.now = 0.0
        self.is_started = False
        self.tick_at = 0.0
        self.view_change_at = float("inf")
        self.view_asked_at = float("-inf")
        self.entries_asked_at = float("-inf")
        self.progress_at = 0.0
        self.challenged_at = float("inf")
        # Reads (reads). `bound_until`: a lease of ours keeps us in the view.
        self.reads = Reads()
        self.view_head_op = OpNumber(0)
        self.bound_until = float("-inf")
        # For the outside.
        self.effects = Effects()
        self.dropped: Counter[str] = Counter()

    @property
    def primary(self) -> ReplicaIndex:
        """The primary of our view."""
        if self._primary_view != self.view:
            self._primary_view = self.view
            self._primary = self.configuration.primary_index(self.view)
        return self._primary

    @property
    def is_primary(self) -> bool:
        """Are we the primary of our view, and at work?"""
        if self._primary_view != self.view:
            return self.status is Status.NORMAL and self.primary == self.index
        return self._primary == self.index and self.status is Status.NORMAL

    @property
    def is_serving(self) -> bool:
        """Are we the primary, with a view that survives a crash of ours? Only then may we prepare operations."""
        return self.is_primary and self.durable_log_view == self.view

    @property
    def is_next_primary(self) -> bool:
        """Shall we lead the view that we are changing to?"""
        return self.status is Status.VIEW_CHANGE and self.primary == self.index and not self.is_view_last

    @property
    def is_view_last(self) -> bool:
        """Is our view the one in which the epoch is over?"""
        return view_in_epoch(self.view) == LAST_VIEW

    @property
    def head_op(self) -> OpNumber:
        """The last operation of our log."""
        return self.log.head_op

    def check(self) -> None:
        """What holds between any two inputs, whatever peers and disks do; a failure is a bug of ours."""
        assert self.log.base_op <= self.applied_op <= self.log.head_op
        assert self.applied_op <= self.commit_number
        assert self.durable_op <= self.log.head_op
        assert self.unwritten_op <= self.log.head_op + 1
        assert self.log_view <= self.voted_view <= self.view
        assert self.durable_log_view <= self.durable_view <= self.voted_view
        match self.status:
            case Status.NORMAL:
                assert self.log_view == self.view
                assert self.install is None
                assert self.damage is None
            case Status.VIEW_CHANGE:
                assert self.log_view < self.view
                assert self.damage is None
            case Status.RECOVERING_HEAD:
                assert self.install is None or self.damage is None
            case Status.RETIRED:
                assert self.ended is not None
                assert self.install is None

    def timestamp_at(self, op: OpNumber) -> int:
        """The timestamp of an operation in memory, unix microseconds."""
        entry = self.log.get(op)
        return self.base_timestamp_us if entry is None else entry.header.timestamp_us

    def send(self, to: ReplicaIndex, message: Message) -> None:
        """Send; whatever the message promises must be durable already."""
        assert to != self.index, "nobody talks to himself"
        self.effects.send_now.append((to, message))

    def broadcast(self, message: Message) -> None:
        """Send the same object to everybody else, so that it is encoded once."""
        for other in self.others:
            self.effects.send_now.append((other, message))

    def drop(self, cause: str) -> None:
        """Ignore an input, and count why."""
        self.dropped[cause] += 1

    def raise_commit(self, commit: OpNumber) -> None:
        """Learn that everything through `commit` is committed; never goes back."""
        self.commit_number = max(self.commit_number, commit)

    def forget_writes_above(self, op: OpNumber) -> None:
        """The log changed above `op`: writes under way promise nothing about what is there now."""
        self.unwritten_op = OpNumber(min(self.unwritten_op, op + 1))
        self.durable_op = min(self.durable_op, op)
        for promise in self.promises:
            promise.op = min(promise.op, op)
