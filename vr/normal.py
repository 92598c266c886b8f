"""Normal operation: the primary orders batches of requests, a majority makes each durable, all apply them (VRR 4.1).

    queue ─▶ Prepare ─▶ PrepareOk (durable there) ─▶ commit when a majority, ourselves by our own disk, has it ─▶ apply ─▶ Commit

Unlike VRR 4.1 an operation is a batch, PrepareOk is cumulative and names the checksum, and a client is answered by the
replica that it is attached to (forwarding). Nothing here looks at the clock except to note progress.
"""

from __future__ import annotations

from vr import limits
from vr.configuration import Configuration
from vr.divergence import latest_digest, learn_digest, note_applied
from vr.errors import DecodeError
from vr.forwarding import refuse_if_pending, settle_prepared, take_pending
from vr.log import Entry, EntryKind, Log, Request, decode_entry, make_entry
from vr.messages import Commit, GetEntries, NewEpoch, Prepare, PrepareOk
from vr.ready import CommittedOp, EpochEnd, Reply
from vr.sessions import Verdict
from vr.state import ReplicaState, Status
from vr.types import Checksum, OpNumber, ReplicaIndex, RequestNumber, SessionNumber, view_epoch

NO_CHECKSUM = Checksum(b"")
EARLY_ENTRIES_MAX = 64


# --- the primary ---


def make_operations(state: ReplicaState) -> None:
    """Turn waiting requests into operations, as far as the pipeline has room."""
    assert state.is_serving
    if state.reconfiguration is not None and has_room(state):
        put_up_stop_sign(state, state.reconfiguration)
    while state.queue and has_room(state) and not is_stopped(state):
        requests = _next_batch(state)
        entry = make_entry(
            view=state.view,
            op=OpNumber(state.head_op + 1),
            commit=state.commit_number,
            parent=state.log.head_checksum,
            timestamp_us=next_timestamp_us(state),
            requests=requests,
        )
        prepare(state, entry)


def next_timestamp_us(state: ReplicaState) -> int:
    """The time of the next operation: ours, but never before the last one's."""
    return max(state.timestamp_at(state.head_op) + 1, state.options.wall_clock_us())


def prepare(state: ReplicaState, entry: Entry) -> None:
    """Append it here, and send it to all (VRR 4.1 step 3)."""
    if state.head_op == state.commit_number:
        state.progress_at = max(state.progress_at, state.now)
    state.log.append(entry)
    state.commit_told = state.commit_number
    state.broadcast(Prepare(view=state.view, replica=state.index, commit=state.commit_number, data=entry.data))


def put_up_stop_sign(state: ReplicaState, configuration: Configuration) -> None:
    """Prepare the last operation of the epoch (VRR 7.1)."""
    state.reconfiguration = None
    if is_stopped(state):
        return
    prepare(
        state,
        make_entry(
            view=state.view, op=OpNumber(state.head_op + 1), commit=state.commit_number, parent=state.log.head_checksum,
            timestamp_us=next_timestamp_us(state), configuration=configuration,
        ),
    )  # fmt: skip


def is_stopped(state: ReplicaState) -> bool:
    """Does our log end with the stop sign of our epoch? Then nothing may follow it, whoever put it up."""
    last = state.log.get(state.head_op)
    return (
        last is not None
        and last.header.kind is EntryKind.RECONFIGURE
        and view_epoch(last.header.view) == state.configuration.epoch
    )


def has_room(state: ReplicaState) -> bool:
    """Is there a place in the pipeline? Its depth belongs to the group: head - depth is committed, everybody may assume."""
    return state.head_op - state.commit_number < state.configuration.pipeline_ops_max


def _next_batch(state: ReplicaState) -> list[Request]:
    if len(state.queue) <= limits.BATCH_REQUESTS_MAX and state.queue_bytes <= limits.BATCH_BYTES_MAX:
        batch = list(state.queue)
        state.queue.clear()
        state.queue_bytes = 0
        return batch
    batch = [state.queue.popleft()]
    size = len(batch[0].body)
    while state.queue and len(batch) < limits.BATCH_REQUESTS_MAX:
        size += len(state.queue[0].body)
        if size > limits.BATCH_BYTES_MAX:
            break
        batch.append(state.queue.popleft())
    state.queue_bytes -= sum(len(request.body) for request in batch)
    return batch


def on_prepare_ok(state: ReplicaState, message: PrepareOk) -> None:
    """Count an acknowledgement (VRR 4.1 step 5)."""
    if not state.is_serving or message.view != state.view:
        state.drop("prepare_ok_of_other_view")
        return
    if not acknowledgement_matches(state.log, message):
        state.drop("prepare_ok_of_other_entry")
        return
    peer = state.peers[message.replica]
    peer.match_op = max(peer.match_op, message.op)
    peer.commit = max(peer.commit, message.commit)
    learn_digest(state, message.replica, message.digest_op, message.digest)
    advance_commit(state)


def acknowledgement_matches(log: Log, message: PrepareOk) -> bool:
    """Is it our entry that was made durable? Below the base everything is committed and the same everywhere."""
    return message.op < log.base_op or log.checksum(message.op) == message.checksum


def advance_commit(state: ReplicaState) -> None:
    """Commit what a majority has on stable storage; we count ourselves by our own disk."""
    if not state.is_serving:
        return
    committed = quorum_op(state)
    if committed > state.commit_number:
        state.raise_commit(committed)
        apply_committed(state)


def quorum_op(state: ReplicaState) -> OpNumber:
    """The highest operation that a quorum of distinct members has durable in this view. Standbys do not count."""
    durable = [state.durable_op, *(state.peers[other].match_op for other in state.other_members)]
    return sorted(durable, reverse=True)[state.configuration.quorum - 1]


def tell_commit(state: ReplicaState) -> None:
    """Tell the backups of new commits that no Prepare has carried: their clients wait for them."""
    assert state.is_serving
    if state.commit_number > state.commit_told:
        state.commit_told = state.commit_number
        state.broadcast(_commit_message(state, want_answer=False))


def _commit_message(state: ReplicaState, *, want_answer: bool) -> Commit:
    digest_op, digest = latest_digest(state)
    return Commit(
        view=state.view, replica=state.index, commit=state.commit_number, head_op=state.head_op,
        want_answer=want_answer, digest_op=digest_op, digest=digest,
    )  # fmt: skip


def is_behind(state: ReplicaState, other: ReplicaIndex) -> bool:
    """Does a backup that seems alive miss something of this view?"""
    peer = state.peers[other]
    return not peer.suspected and (peer.match_op < state.head_op or peer.commit < state.commit_number)


def remind_backups(state: ReplicaState) -> None:
    """Ask backups that are behind where they stand; they fetch what they miss."""
    reminder = _commit_message(state, want_answer=True)
    for other in state.others:
        if is_behind(state, other):
            state.send(other, reminder)


# --- backups ---


def on_prepare(state: ReplicaState, message: Prepare) -> None:
    """Append the primary's next operation (VRR 4.1 step 4); the acknowledgement follows when it is durable."""
    assert message.view == state.view
    assert state.status is Status.NORMAL
    try:
        entry = decode_entry(message.data)
    except DecodeError:
        state.drop("prepare_undecodable")
        return
    state.is_started = True
    state.challenged_at = float("inf")
    state.known_head_op = max(state.known_head_op, entry.op)
    take_entry(state, entry)
    learn_commit(state, message.commit)


def take_entry(state: ReplicaState, entry: Entry) -> None:
    """Take an entry of this view's log: now if it is the next, later if it came early, never twice."""
    if entry.op <= state.head_op:
        return
    if entry.op > state.head_op + EARLY_ENTRIES_MAX:
        state.drop("entry_too_early")
    else:
        state.early[entry.op] = entry
    take_early(state)
    if state.early:
        ask_for_missing(state)


def take_early(state: ReplicaState) -> None:
    """Append what came early and is next now."""
    while (following := state.early.pop(OpNumber(state.head_op + 1), None)) is not None:
        if following.header.parent != state.log.head_checksum:
            state.drop("entry_of_other_chain")
            break
        state.log.append(following)


def on_commit(state: ReplicaState, message: Commit) -> None:
    """Learn what is committed, and whether we miss something (VRR 4.1 step 7)."""
    assert message.view == state.view
    assert state.status is Status.NORMAL
    state.is_started = True
    state.challenged_at = float("inf")
    state.known_head_op = max(state.known_head_op, message.head_op)
    learn_commit(state, message.commit)
    learn_digest(state, message.replica, message.digest_op, message.digest)
    if message.want_answer:
        acknowledge(state, again=True)


def learn_commit(state: ReplicaState, commit: OpNumber) -> None:
    """The primary of our view says that everything through `commit` is committed."""
    state.raise_commit(commit)
    apply_committed(state)
    if misses_entries(state):
        ask_for_missing(state)


def misses_entries(state: ReplicaState) -> bool:
    """Does the view's log go on beyond ours?"""
    return max(state.commit_number, state.known_head_op) > state.head_op


def ask_for_missing(state: ReplicaState) -> None:
    """Ask the primary for what follows our head: in one view there is but one log."""
    if state.is_primary or state.now < state.entries_asked_at + state.options.resend_s / 4:
        return
    state.entries_asked_at = state.now
    last = min(max(state.commit_number, state.known_head_op), state.head_op + limits.ENTRIES_PER_MESSAGE_MAX)
    wanted = tuple((OpNumber(op), NO_CHECKSUM) for op in range(state.head_op + 1, last + 1) if op not in state.early)
    if wanted:
        state.send(state.primary, GetEntries(view=state.view, replica=state.index, wanted=wanted))


def acknowledge(state: ReplicaState, *, again: bool = False) -> None:
    """Tell the primary how far our stable storage is; once per advance, and when asked."""
    if not may_acknowledge(state):
        return
    standing = (state.view, state.durable_op)
    if not again and standing == state.acknowledged:
        return
    state.acknowledged = standing
    checksum = state.log.checksum(state.durable_op)
    assert checksum is not None, "what is durable is in memory, or the base"
    digest_op, digest = latest_digest(state)
    state.send(
        state.primary,
        PrepareOk(
            view=state.view, replica=state.index, op=state.durable_op, checksum=checksum, commit=state.applied_op,
            digest_op=digest_op, digest=digest,
        ),
    )  # fmt: skip


def may_acknowledge(state: ReplicaState) -> bool:
    """A backup at work, whose log is the view's, durably."""
    return (
        state.status is Status.NORMAL
        and state.primary != state.index
        and state.log_view == state.view == state.durable_log_view
    )


# --- everybody: execution ---


def apply_committed(state: ReplicaState) -> None:
    """Execute committed operations, in order, as far as they are here (VRR 4.1 step 7)."""
    while state.applied_op < min(state.commit_number, state.head_op) and state.status is not Status.RETIRED:
        entry = state.log.get(OpNumber(state.applied_op + 1))
        assert entry is not None, "the log reaches from the base to the head"
        _apply(state, entry)
        state.progress_at = state.now


def _apply(state: ReplicaState, entry: Entry) -> None:
    assert entry.op == state.applied_op + 1, "operations are executed in order, once"
    op, timestamp_us = entry.op, entry.header.timestamp_us
    state.sessions.expire(timestamp_us)
    executed = _judge(state, entry)
    results = state.service.apply(op, timestamp_us, executed)
    assert len(results) == len(executed), "one result for each request"
    state.sessions.record(executed, results, op, timestamp_us)
    if state.pending:
        for request, result in zip(executed, results, strict=True):
            reply_if_pending(state, request, op, result)
    _register(state, entry)
    settle_prepared(state, entry)
    state.applied_op = op
    mark = getattr(state.service, "mark", None)
    state.effects.committed.append(
        CommittedOp(entry=entry, requests=executed, results=results, mark=0 if mark is None else mark())
    )
    note_applied(state)
    if entry.header.kind is EntryKind.RECONFIGURE:
        note_epoch_end(state, EpochEnd(entry.configuration(), op, entry.checksum))


def note_epoch_end(state: ReplicaState, end: EpochEnd) -> None:
    """An epoch ended with a stop sign that was executed. If it was ours, we retire (VRR 7.2)."""
    if any(known.configuration.epoch == end.configuration.epoch for known in state.epochs):
        return
    state.epochs = [*state.epochs, end][-limits.EPOCH_ENDS_KEPT :]
    if end.configuration.epoch <= state.configuration.epoch:
        return
    was_serving = state.is_serving
    state.ended = end
    state.status = Status.RETIRED
    state.install = None
    state.reconfiguration = None
    state.queue.clear()
    state.queue_bytes = 0
    if was_serving:
        epoch = end.configuration.epoch
        state.broadcast(NewEpoch(view=state.view, replica=state.index, epoch=epoch, op=end.op, checksum=end.checksum))


def _judge(state: ReplicaState, entry: Entry) -> list[Request]:
    """The requests of a batch that are to be executed: known session, next number. Others change nothing."""
    executed: list[Request] = []
    judge = state.sessions.judge
    for request in entry.requests():
        if request.session != 0:
            verdict = judge(request)
            if verdict is Verdict.EXECUTE:
                executed.append(request)
            else:
                _pass_over(state, request, verdict)
    return executed


def _pass_over(state: ReplicaState, request: Request, verdict: Verdict) -> None:
    """A committed request that changes nothing: whoever waits for it here is told, never left in silence."""
    if verdict is Verdict.REPEAT and (known := state.sessions.result(request.session, request.number)):
        reply_if_pending(state, request, *known)
        return
    state.drop(f"committed_request_{verdict.name.lower()}")
    if verdict is Verdict.UNKNOWN:
        refuse_if_pending(state, request)


def _register(state: ReplicaState, entry: Entry) -> None:
    for place, request in enumerate(entry.requests()):
        if request.session == 0:
            session = state.sessions.register(request, entry.op, place, entry.header.timestamp_us)
            _reply_register(state, request, entry.op, session)


def reply_if_pending(state: ReplicaState, request: Request, op: OpNumber, result: bytes) -> None:
    """Answer a request if its client is attached here and waits."""
    if take_pending(state, request):
        state.effects.replies.append(
            Reply(client=request.client, session=request.session, number=request.number, op=op, result=result)
        )


def _reply_register(state: ReplicaState, request: Request, op: OpNumber, session: SessionNumber) -> None:
    """Answer a register, if it is this attempt that is waited for.

    A replica that was away executes registers of long ago. The session of such a one was used and given up: who began
    anew in it would be answered with the results of other requests.
    """
    waiting = state.pending.get((request.client, request.session, request.number))
    if waiting is not None and waiting.request.body == request.body and take_pending(state, request):
        state.effects.replies.append(
            Reply(
                client=request.client, session=session, number=RequestNumber(0), op=op, result=request.body,
            )
        )  # fmt: skip
