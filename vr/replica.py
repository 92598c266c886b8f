"""One replica of one group: inputs in, effects out, nothing else (VRR 4).

    step(message) submit(requests) tick() suspect() storage_done(token) ─▶ ReplicaState ─▶ ready() ─▶ Ready

The replica owns its service and executes committed operations itself. It never waits: the embedder calls `ready` after
inputs, performs the effects, and calls `storage_done` when a write is durable. What a message promises is durable before
the message appears in a Ready, so `send_after` stays empty. Time is the `now` of each call, monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import assert_never

from vr import forwarding, normal, reads, reconfiguration, recovery, repair, state_transfer, view_change
from vr.configuration import Configuration
from vr.durability import keep_promise, take_write
from vr.log import Request
from vr.messages import (
    Chunk,
    Commit,
    DoViewChange,
    Entries,
    Forward,
    GetChunk,
    GetEntries,
    GetView,
    Message,
    NewEpoch,
    Prepare,
    PrepareOk,
    ReadIndex,
    ReadIndexOk,
    Refuse,
    SnapshotOffer,
    StartView,
    StartViewChange,
)
from vr.nacks import Undecided
from vr.ready import Ready
from vr.reconfiguration import Refusal
from vr.recovery import FaultyEntry, Restored
from vr.service import Service
from vr.snapshot import Checkpoint, take_checkpoint
from vr.standstill import Standstill, why_not_progressing
from vr.state import Divergence, Effects, ReplicaOptions, ReplicaState, Status
from vr.types import ClientId, GroupId, OpNumber, ReplicaId, ReplicaIndex, SessionNumber, ViewNumber, view_epoch

__all__ = ["Checkpoint", "FaultyEntry", "Replica", "ReplicaOptions", "Restored", "Status"]


class Replica:
    """A replica; see the module."""

    def __init__(
        self,
        configuration: Configuration,
        index: ReplicaIndex,
        service: Service,
        restored: Restored,
        *,
        now: float,
        seed: int,
        options: ReplicaOptions | None = None,
    ) -> None:
        options = ReplicaOptions() if options is None else options
        self._state = ReplicaState(configuration, index, service, options=options, seed=seed)
        self._state.now = self._state.progress_at = now
        self._state.nonce = self._state.jitter.number()
        recovery.restore(self._state, restored)

    @classmethod
    def _of(cls, state: ReplicaState) -> Replica:
        replica = cls.__new__(cls)
        replica._state = state  # noqa: SLF001 - of our own kind
        return replica

    # --- inputs ---

    def step(self, message: Message, now: float) -> None:
        """Take a message from a peer whose identity the link has proven to be `message.replica`."""
        state = self._state
        state.now = now
        if message.replica == state.index or message.replica >= len(state.configuration.replicas):
            state.drop("message_of_stranger")
            return
        if view_epoch(message.view) != state.configuration.epoch:
            state.drop("message_of_other_epoch")
            return
        if state.status is Status.RETIRED:
            reconfiguration.step_retired(state, message)
            return
        match message:
            case Prepare() | PrepareOk() | Commit() | Forward() | Refuse() | ReadIndex() | ReadIndexOk():
                _step_normal(state, message)
            case StartViewChange() | DoViewChange() | StartView() | GetView():
                _step_view_change(state, message)
            case GetEntries():
                repair.on_get_entries(state, message)
            case Entries():
                _step_entries(state, message)
            case SnapshotOffer() | GetChunk() | Chunk():
                _step_state_transfer(state, message)
            case NewEpoch():
                reconfiguration.on_new_epoch(state, message, message.replica)
            case _:
                assert_never(message)

    def step_guest(self, replica_id: ReplicaId, message: Message, now: float) -> None:
        """Take a message of another epoch, from a replica whose identity the link has proven (`vr.reconfiguration`)."""
        self._state.now = now
        reconfiguration.step_guest(self._state, replica_id, message)

    # --- epochs ---

    def reconfigure(self, configuration: Configuration, now: float) -> Refusal | None:
        """End this epoch, so that `configuration` (`Configuration.successor`) begins; None: begun, it ends as Ready says.

        If another view begins before the stop sign is committed, the epoch may go on instead: look, and ask again.
        """
        self._state.now = now
        return reconfiguration.propose(self._state, configuration)

    def transfer_primary(self, index: ReplicaIndex, now: float) -> bool:
        """Hand the office over to another member; False when we do not lead, or it is not close behind. One view change."""
        self._state.now = now
        return reconfiguration.transfer_primary(self._state, index)

    def next_epoch(self, now: float, seed: int) -> Replica | None:
        """Our replica in the epoch that began, once `Ready.epoch_end` came; None if we have left the group.

        Whoever has left goes on answering with this one; requests that wait here are refused (NEW_EPOCH).
        """
        old = self._state
        old.now = now
        assert old.ended is not None
        index = old.ended.configuration.index_of(old.configuration.replicas[old.index].replica_id)
        if index is None:
            reconfiguration.refuse_pending(old)
            return None
        return Replica._of(reconfiguration.begin_next(old, index, seed=seed))

    @property
    def awaits_stop_sign(self) -> bool:
        """A reconfiguration was begun here, and its stop sign waits for a place in the pipeline."""
        return self._state.reconfiguration is not None

    def replica_id_of(self, index: ReplicaIndex) -> ReplicaId:
        """Whom an index in our effects stands for: a replica of our epoch, or a guest of another one."""
        return reconfiguration.replica_id_of(self._state, index)

    def submit(self, requests: Sequence[Request], now: float) -> None:
        """Take requests of clients attached here; each is answered, once, in a later Ready."""
        self._state.now = now
        forwarding.submit(self._state, requests)
        if self._state.is_end_told:
            reconfiguration.refuse_pending(self._state)

    def forget(self, client: ClientId, session: SessionNumber) -> None:
        """A client went away: its pending requests may still commit, but nobody here waits for them."""
        forwarding.forget(self._state, client, session)

    def note_space(self, *, is_short: bool) -> None:
        """The disk is nearly full, or no longer: as a primary, refuse new requests (BUSY) while it is. Votes go on."""
        self._state.is_short_of_space = is_short

    def read_index(self, number: int, now: float, *, min_op: OpNumber | None = None) -> bool:
        """Ask when a read may look at the service; a later Ready has a ReadDone of this `number`, which the caller chose.

        Without `min_op` it then sees everything that was acknowledged, to anybody, before this call (linearizable);
        with it, what is through that operation. False: too many reads wait.
        """
        self._state.now = now
        return reads.read(self._state, number, min_op)

    def forget_read(self, number: int) -> None:
        """Nobody waits for this read any more."""
        reads.forget(self._state, number)

    def tick(self, now: float) -> None:
        """Do what is due: call it at `next_deadline`, or at any other time."""
        state = self._state
        state.now = now
        if now < state.tick_at:
            return
        state.tick_at = now + state.options.resend_s * state.jitter.between(0.9, 1.1)
        _tick(state)

    def suspect(self, index: ReplicaIndex, now: float) -> None:
        """The node of a peer seems dead or unreachable."""
        state = self._state
        state.now = now
        state.peers[index].suspected = True
        if view_change.wants_to_leave(state):
            view_change.propose_view_change(state, view_change.next_view(state))

    def trust(self, index: ReplicaIndex, now: float) -> None:
        """The node of a peer is heard again; what it knows has to be asked anew."""
        state = self._state
        state.now = now
        peer = state.peers[index]
        if peer.suspected:
            peer.suspected = False
            peer.commit = OpNumber(-1)
            state.tick_at = now
            if index == state.primary:
                forwarding.send_pending(state)

    def peer_connected(self, index: ReplicaIndex, now: float) -> None:
        """A link came up: what was sent into the old one may be lost."""
        state = self._state
        state.now = now
        state.peers[index].commit = OpNumber(-1)
        if index == state.primary and state.status is Status.NORMAL:
            state.is_started = False
            forwarding.send_pending(state)
        state.tick_at = now

    def storage_done(self, token: int, now: float) -> None:
        """The write of `token`, and all before it, is on stable storage."""
        state = self._state
        state.now = now
        could_vote = view_change.may_vote(state)
        keep_promise(state, token)
        if not could_vote and view_change.may_vote(state):
            view_change.send_do_view_change(state)
        if state.is_serving:
            view_change.announce_view(state)
            normal.advance_commit(state)

    # --- effects ---

    def ready(self, now: float) -> Ready | None:
        """Everything to be done since the last call, or None. Performing it comes before the next call."""
        state = self._state
        state.now = now
        if state.is_serving:
            normal.make_operations(state)
            normal.tell_commit(state)
        normal.acknowledge(state)
        reads.advance(state)
        state.check()
        _schedule_tick(state)
        token, append, meta = take_write(state)
        reconfiguration.take_end(state)
        effects = state.effects
        if token is None and not (
            effects.send_now
            or effects.committed
            or effects.replies
            or effects.rejected
            or effects.history_reads
            or effects.snapshot_reads
            or effects.snapshots
            or effects.parts
            or effects.reads
            or effects.epoch_end
        ):
            return None
        state.effects = Effects()
        return Ready(
            token=token, append=append, meta=meta, send_now=effects.send_now, committed=effects.committed,
            replies=effects.replies, rejected=effects.rejected, history_reads=effects.history_reads,
            reads=effects.reads, epoch_end=effects.epoch_end, snapshot_reads=effects.snapshot_reads,
            snapshots=effects.snapshots, parts=effects.parts,
        )  # fmt: skip

    def next_deadline(self) -> float:
        """When `tick` has something to do, monotonic seconds, as of the last `ready`; infinity: nothing to wait for."""
        return self._state.tick_at

    # --- checkpoints ---

    def checkpoint(self) -> Checkpoint:
        """Everything applied until now."""
        return take_checkpoint(self._state)

    def checkpoint_done(self, op: OpNumber, now: float, *, is_cold: bool = False) -> None:
        """A checkpoint at `op`, and all operations through it, are durable elsewhere: the log may forget them.

        Some operations below are kept for laggards, unless the group `is_cold`: then the embedder reads them for those
        (`Ready.history_reads`). The next write tells the log its new base.
        """
        state = self._state
        state.now = now
        assert op <= state.applied_op
        base = min(op if is_cold else op - state.options.log_margin_ops, state.durable_op)
        if base > state.log.base_op:
            state.base_timestamp_us = state.timestamp_at(OpNumber(base))
            state.log.trim(OpNumber(base))

    def snapshot_saved(self, checkpoint: Checkpoint, now: float) -> None:
        """One of `Ready.snapshots` is durable, as a checkpoint of ours would be: go on from there."""
        state = self._state
        state.now = now
        state_transfer.on_saved(state, checkpoint)
        if state.install is not None:
            _finish_install(state)

    # --- looking ---

    @property
    def group(self) -> GroupId:
        """Which group."""
        return self._state.configuration.group

    @property
    def configuration(self) -> Configuration:
        """Its members."""
        return self._state.configuration

    @property
    def index(self) -> ReplicaIndex:
        """Our place among them."""
        return self._state.index

    @property
    def status(self) -> Status:
        """VRR 4's status."""
        return self._state.status

    @property
    def view(self) -> ViewNumber:
        """The view we are in, or changing to."""
        return self._state.view

    @property
    def log_view(self) -> ViewNumber:
        """The last view in which we were NORMAL."""
        return self._state.log_view

    @property
    def head_op(self) -> OpNumber:
        """The last operation in our log."""
        return self._state.head_op

    @property
    def commit_number(self) -> OpNumber:
        """The last operation known to be committed; may be above our head."""
        return self._state.commit_number

    @property
    def applied_op(self) -> OpNumber:
        """The last operation executed here."""
        return self._state.applied_op

    @property
    def primary_index(self) -> ReplicaIndex:
        """The primary of our view."""
        return self._state.primary

    @property
    def is_primary(self) -> bool:
        """Are we the primary, at work?"""
        return self._state.is_primary

    @property
    def view_changes(self) -> int:
        """How often we left a view since start."""
        return self._state.view_changes

    @property
    def dropped(self) -> Mapping[str, int]:
        """Ignored inputs by cause."""
        return self._state.dropped

    @property
    def pending_count(self) -> int:
        """Requests submitted here and not answered."""
        return len(self._state.pending)

    @property
    def queue_count(self) -> int:
        """Requests that wait for a place in the pipeline."""
        return len(self._state.queue)

    def peer_standing(self, index: ReplicaIndex) -> tuple[OpNumber, bool]:
        """(acknowledged op in this view or -1, suspected) of a peer; the op is known to primaries only."""
        peer = self._state.peers[index]
        return peer.match_op, peer.suspected

    @property
    def undecided(self) -> Undecided | None:
        """As a primary to be: which operation may have been committed, so that no log can be chosen; None usually."""
        return self._state.undecided

    @property
    def divergence(self) -> Divergence | None:
        """Where our state was seen to differ from a peer's, first since start: a service is not deterministic."""
        return self._state.divergence

    def why_not_progressing(self) -> Standstill | None:
        """What keeps it from executing requests, in a sentence and a word; None when all is well."""
        return why_not_progressing(self._state)


NormalMessage = Prepare | PrepareOk | Commit | Forward | Refuse | ReadIndex | ReadIndexOk


def _step_normal(state: ReplicaState, message: NormalMessage) -> None:
    """Messages of normal operation count only within our view."""
    if not state.configuration.is_member(message.replica) and isinstance(message, ReadIndexOk):
        state.drop("vote_of_standby")
    elif message.view < state.view:
        state.drop("message_of_old_view")
        if not isinstance(message, Refuse):
            view_change.help_straggler(state, message.replica)
    elif message.view > state.view or (state.status is Status.VIEW_CHANGE and state.install is None):
        view_change.ask_view(state, state.configuration.primary_index(message.view))
    elif state.status is not Status.NORMAL:
        state.drop("message_while_not_normal")
    elif message.replica == state.primary:
        _step_from_primary(state, message)
    else:
        _step_from_backup(state, message)


def _step_from_primary(state: ReplicaState, message: NormalMessage) -> None:
    match message:
        case Prepare():
            normal.on_prepare(state, message)
        case Commit():
            normal.on_commit(state, message)
        case Refuse():
            forwarding.on_refuse(state, message)
        case ReadIndex():
            reads.on_read_index(state, message)
        case ReadIndexOk():
            reads.on_read_index_ok(state, message)
        case _:
            state.drop("message_of_primary_to_itself")


def _step_from_backup(state: ReplicaState, message: NormalMessage) -> None:
    match message:
        case PrepareOk():
            normal.on_prepare_ok(state, message)
        case Forward():
            forwarding.on_forward(state, message)
        case ReadIndex():
            reads.on_read_index(state, message)
        case ReadIndexOk():
            reads.on_read_index_ok(state, message)
        case _:
            state.drop("message_not_of_primary")


def _step_entries(state: ReplicaState, message: Entries) -> None:
    entries = repair.decode_entries(state, message)
    if state.install is not None:
        if repair.take_bodies(state, state.install, entries, commit=message.commit):
            _finish_install(state)
    elif state.damage is not None:
        recovery.mend(state, entries)
    elif state.status is Status.NORMAL:
        repair.take_missing(state, message, entries)


def _step_state_transfer(state: ReplicaState, message: SnapshotOffer | GetChunk | Chunk) -> None:
    match message:
        case SnapshotOffer():
            state_transfer.on_offer(state, message)
        case GetChunk():
            state_transfer.on_get_chunk(state, message)
        case Chunk():
            state_transfer.on_chunk(state, message)
        case _:
            assert_never(message)


def _step_view_change(state: ReplicaState, message: StartViewChange | DoViewChange | StartView | GetView) -> None:
    if isinstance(message, StartViewChange | DoViewChange) and not (
        state.is_member and state.configuration.is_member(message.replica)
    ):
        # A standby advises nothing, and learns of a view by what its primary says in it.
        state.drop("vote_of_standby")
        return
    match message:
        case StartViewChange():
            view_change.on_start_view_change(state, message)
        case DoViewChange():
            view_change.on_do_view_change(state, message)
        case StartView():
            view_change.on_start_view(state, message)
        case GetView():
            view_change.on_get_view(state, message)
        case _:
            assert_never(message)


def _finish_install(state: ReplicaState) -> None:
    view_change.finish_install(state)
    if state.status is Status.NORMAL:
        view_change.after_install(state)


def _tick(state: ReplicaState) -> None:
    if state.install is not None:
        _finish_install(state)
    if view_change.wants_to_leave(state):
        view_change.propose_view_change(state, view_change.next_view(state))
    if state.status is not Status.RETIRED:
        state_transfer.ask_for_chunks(state)
    match state.status:
        case Status.RETIRED:
            pass
        case Status.VIEW_CHANGE:
            view_change.send_do_view_change(state)
            if state.is_view_last or not state.is_member:
                reconfiguration.ask_how_it_ended(state)
        case Status.RECOVERING_HEAD:
            view_change.send_do_view_change(state)
            recovery.ask_for_help(state)
        case Status.NORMAL:
            _tick_normal(state)
        case _:
            assert_never(state.status)


def _tick_normal(state: ReplicaState) -> None:
    if state.is_serving:
        normal.remind_backups(state)
    elif not state.is_primary:
        if not state.is_started:
            state.broadcast(GetView(view=state.view, replica=state.index, nonce=state.nonce))
        if normal.misses_entries(state):
            normal.ask_for_missing(state)
    reads.ask(state)
    forwarding.send_pending(state, unanswered_for_s=forwarding.RESEND_AFTER_S)
    forwarding.refuse_orphans(state)


def _schedule_tick(state: ReplicaState) -> None:
    """Sleep while only input can change something; else look again in a while, unless something is due earlier."""
    if not _is_busy(state):
        state.tick_at = math.inf
    elif state.tick_at == math.inf:
        state.tick_at = state.now + state.options.resend_s * state.jitter.between(0.9, 1.1)


def _is_busy(state: ReplicaState) -> bool:
    """Is there anything that only time can mend?"""
    if state.status is Status.RETIRED:
        return False
    if state.status is not Status.NORMAL or state.pending or state.transfer is not None or reads.is_waiting(state):
        return True
    if state.is_primary:
        uncommitted = state.head_op > state.commit_number or bool(state.queue) or bool(state.promises)
        return uncommitted or not state.is_serving or any(normal.is_behind(state, other) for other in state.others)
    return (
        not state.is_started
        or state.challenged_at < math.inf
        or state.peers[state.primary].suspected
        or normal.misses_entries(state)
    )
