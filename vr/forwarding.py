"""Requests of clients attached here: kept until answered, forwarded to the primary, sent again when that may help.

    client ─ submit ─▶ pending ─▶ we are the primary: queue
                          │        we are not:        Forward ─▶ primary: queue, or Refuse ─▶ client is told
                          ◀─ reply when the operation is applied here

Unlike VRR 4.1, where the primary replies, the replica a client is attached to replies: every replica computes every result
(docs/adr/0002). Sending again is harmless, because the session table executes once. A request is dropped at the primary,
not queued, when an earlier one of its session is missing: the resend brings both, in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from vr import limits
from vr.log import Entry, Request
from vr.messages import Forward, Refuse, Rejected, RejectReason
from vr.ready import Reply
from vr.sessions import session_op, session_place
from vr.state import Pending, ReplicaState, Status
from vr.types import IDENTIFIER_BYTES, ClientId, OpNumber, RequestNumber, SessionNumber

RESEND_AFTER_S = 0.5
ORPHAN_AFTER_S = 4.0
FORWARD_BYTES_MAX = 512 * 1024
BUSY_RETRY_S = 0.05


def submit(state: ReplicaState, requests: Sequence[Request]) -> None:
    """Take requests of clients attached here; each is answered by a Reply or a Rejected, now or later."""
    fresh = [request for request in requests if _admit(state, request)]
    if fresh:
        _dispatch(state, fresh)


def _admit(state: ReplicaState, request: Request) -> bool:
    """Keep a request as pending, unless it can be answered or refused at once."""
    assert len(request.client) == IDENTIFIER_BYTES, "the embedder names clients by 16 bytes"
    if len(request.body) > limits.REQUEST_BYTES_MAX:
        return _reject(state, request, RejectReason.TOO_LARGE)
    if (request.session == 0) != (request.number == 0):
        return _reject(state, request, RejectReason.SEQUENCE_GAP)
    if request.session != 0:
        known = state.sessions.get(request.session)
        if known is None or known.client != request.client:
            reason = session_refusal(state, request)
            if reason is not None:
                return _reject(state, request, reason)
        elif request.number <= known.last_number:
            return _answer_again(state, request)
    return _keep_pending(state, request)


def session_refusal(state: ReplicaState, request: Request) -> RejectReason | None:
    """Why the session of a request is no good, as far as operations were executed here."""
    known = state.sessions.get(request.session)
    if known is None:
        return RejectReason.EVICTED if state.applied_op >= session_op(request.session) else None
    return None if known.client == request.client else RejectReason.UNKNOWN_SESSION


def _keep_pending(state: ReplicaState, request: Request) -> bool:
    if state.has_left:
        return _reject(state, request, RejectReason.NEW_EPOCH)
    key = (request.client, request.session, request.number)
    if (waiting := state.pending.get(key)) is not None:
        # Of two registers the newer one waits: an answer to the older must not pass for its answer.
        waiting.request = request
        waiting.sent_at = state.now
        return True
    unanswered = state.pending_of_session[request.client, request.session]
    if len(state.pending) >= limits.PENDING_REQUESTS_MAX or unanswered >= limits.SESSION_WINDOW:
        return _reject(state, request, RejectReason.BUSY)
    if not state.pending:
        state.progress_at = max(state.progress_at, state.now)
    state.pending[key] = Pending(request, sent_at=state.now, submitted_at=state.now)
    state.pending_of_session[request.client, request.session] += 1
    return True


def take_pending(state: ReplicaState, request: Request | Rejected) -> bool:
    """Stop waiting for a request; False when nobody here waited."""
    if state.pending.pop((request.client, request.session, request.number), None) is None:
        return False
    session = (request.client, request.session)
    state.pending_of_session[session] -= 1
    assert state.pending_of_session[session] >= 0
    if not state.pending_of_session[session]:
        del state.pending_of_session[session]
    return True


def refuse_if_pending(state: ReplicaState, request: Request) -> None:
    """The session of a committed request is gone, or another client's: who waits for it here is told at once."""
    reason = session_refusal(state, request)
    if reason is not None and take_pending(state, request):
        _reject(state, request, reason)


def _answer_again(state: ReplicaState, request: Request) -> bool:
    committed = state.sessions.result(request.session, request.number)
    if committed is None:
        return _reject(state, request, RejectReason.SEQUENCE_GAP)
    op, result = committed
    state.effects.replies.append(
        Reply(client=request.client, session=request.session, number=request.number, op=op, result=result)
    )
    return False


def _reject(state: ReplicaState, request: Request, reason: RejectReason) -> bool:
    state.effects.rejected.append(_rejection(request, reason))
    return False


def _rejection(request: Request, reason: RejectReason) -> Rejected:
    retry_after_s = BUSY_RETRY_S if reason is RejectReason.BUSY else 0.0
    return Rejected(
        client=request.client, session=request.session, number=request.number, reason=reason,
        retry_after_s=retry_after_s,
    )  # fmt: skip


def forget(state: ReplicaState, client: ClientId, session: SessionNumber) -> None:
    """A client went away: nobody waits for its pending requests here. They may still be committed."""
    for key in [key for key in state.pending if key[0] == client and key[1] == session]:
        del state.pending[key]
    state.pending_of_session.pop((client, session), None)


def _dispatch(state: ReplicaState, requests: Sequence[Request]) -> None:
    """Bring requests to the primary: ourselves, or whom we take for it."""
    if state.is_primary:
        for rejected in enqueue(state, requests):
            if take_pending(state, rejected):
                state.effects.rejected.append(rejected)
    elif state.status is Status.NORMAL and not state.peers[state.primary].suspected:
        for portion in _portions(requests):
            state.send(state.primary, Forward(view=state.view, replica=state.index, requests=portion))


def _portions(requests: Sequence[Request]) -> list[tuple[Request, ...]]:
    portions: list[list[Request]] = []
    size = 0
    for request in requests:
        size += len(request.body)
        if not portions or size > FORWARD_BYTES_MAX:
            portions.append([])
            size = len(request.body)
        portions[-1].append(request)
    return [tuple(portion) for portion in portions]


def send_pending(state: ReplicaState, *, unanswered_for_s: float = 0.0) -> None:
    """Bring pending requests to the primary again: those that were last sent so many seconds ago, in their order."""
    due = [item for item in state.pending.values() if item.sent_at + unanswered_for_s <= state.now]
    for item in due:
        item.sent_at = state.now
    if due:
        due.sort(key=lambda item: (item.request.session, item.request.number))
        _dispatch(state, [item.request for item in due])


def is_head_of_line(state: ReplicaState, request: Request) -> bool:
    """Could this pending request be executed next in its session, as far as we know?"""
    if request.session == 0:
        return True
    known = state.sessions.get(request.session)
    return known is not None and request.number == known.last_number + 1


def waits_in_vain(state: ReplicaState) -> bool:
    """Does a client here wait for something that a working primary would have committed long ago?

    A request that runs ahead of its session is the client's fault: it must not cost anybody a view change.
    """
    patience_s = state.options.patience_s
    if not state.pending or state.now < state.progress_at + patience_s:
        return False
    return any(
        item.submitted_at + patience_s <= state.now and is_head_of_line(state, item.request)
        for item in state.pending.values()
    )


def refuse_orphans(state: ReplicaState) -> None:
    """Refuse requests whose predecessor nobody here waits for and nobody committed: they would wait for ever."""
    if state.status is not Status.NORMAL or state.applied_op < max(state.commit_number, state.known_head_op):
        return
    for item in list(state.pending.values()):
        request = item.request
        known = state.sessions.get(request.session)
        if item.submitted_at + ORPHAN_AFTER_S > state.now or known is None or request.number <= known.last_number + 1:
            continue
        if (request.client, request.session, RequestNumber(request.number - 1)) not in state.pending:
            take_pending(state, request)
            _reject(state, request, RejectReason.SEQUENCE_GAP)


def on_forward(state: ReplicaState, message: Forward) -> None:
    """Queue what a backup forwards; refuse with a reason what cannot be queued."""
    if not state.is_primary:
        state.drop("forward_to_backup")
        return
    rejected = enqueue(state, message.requests)
    if rejected:
        state.send(message.replica, Refuse(view=state.view, replica=state.index, rejected=tuple(rejected)))


def on_refuse(state: ReplicaState, message: Refuse) -> None:
    """The primary did not take up what we forwarded: tell the client."""
    for rejected in message.rejected:
        if take_pending(state, rejected):
            state.effects.rejected.append(rejected)


def enqueue(state: ReplicaState, requests: Sequence[Request]) -> list[Rejected]:
    """Queue requests for the next operations; gives those that are refused. Repeats are neither."""
    assert state.is_primary
    is_log_full = state.head_op - state.log.base_op >= limits.LOG_ENTRIES_MAX or is_short_of_space(state)
    rejected = []
    for request in requests:
        if request.session != 0 and request.number != 0:
            reason = _enqueue_request(state, request, is_log_full=is_log_full)
        elif request.session == 0 and request.number == 0:
            reason = _enqueue_register(state, request, is_log_full=is_log_full)
        else:
            reason = RejectReason.SEQUENCE_GAP
        if reason is not None:
            rejected.append(_rejection(request, reason))
    return rejected


def is_short_of_space(state: ReplicaState) -> bool:
    """Is what is left of our disk needed for promises already made? Then new requests are refused, whoever brings them."""
    return state.is_short_of_space


def _is_queue_full(state: ReplicaState, request: Request) -> bool:
    return (
        len(state.queue) >= limits.QUEUE_REQUESTS_MAX or state.queue_bytes + len(request.body) > limits.QUEUE_BYTES_MAX
    )


def _enqueue(state: ReplicaState, request: Request) -> None:
    state.queue.append(request)
    state.queue_bytes += len(request.body)


def _enqueue_register(state: ReplicaState, request: Request, *, is_log_full: bool) -> RejectReason | None:
    attempt = (request.client, request.body)
    if attempt in state.registering:
        return None
    if is_log_full or _is_queue_full(state, request):
        return RejectReason.BUSY
    state.registering.add(attempt)
    _enqueue(state, request)
    return None


def _enqueue_request(state: ReplicaState, request: Request, *, is_log_full: bool) -> RejectReason | None:
    known = state.sessions.get(request.session)
    last = state.prepared.get(request.session, 0)
    if known is None or known.client != request.client:
        reason = session_refusal(state, request) or _registration_refusal(state, request)
        if reason is not None:
            return reason
    elif last < known.last_number:
        last = known.last_number
    if request.number != last + 1:
        return _out_of_order(state, request, last)
    if is_log_full or _is_queue_full(state, request):
        return RejectReason.BUSY
    state.prepared[request.session] = request.number
    _enqueue(state, request)
    return None


def _out_of_order(state: ReplicaState, request: Request, last: int) -> RejectReason | None:
    """A repeat is answered when the first is; what runs ahead comes again with its predecessor, or is out of bounds."""
    if request.number > last + limits.SESSION_WINDOW:
        return RejectReason.SEQUENCE_GAP
    state.drop("request_repeated" if request.number <= last else "request_ahead")
    return None


def _registration_refusal(state: ReplicaState, request: Request) -> RejectReason | None:
    """A session not known yet must be one whose register is in our log: whoever is told its number, it was committed.

    If it is not, then either nobody was ever told that number, or a later view, in which it was registered, has begun
    without us. We cannot tell which, so we must not say that the session is unknown: its client would give it up.
    """
    assert request.session not in state.sessions
    entry = state.log.get(session_op(request.session))
    place = session_place(request.session)
    registers = () if entry is None else entry.requests()
    if place >= len(registers) or registers[place].session != 0 or registers[place].client != request.client:
        return RejectReason.BUSY
    return None


def reset_queue(state: ReplicaState) -> None:
    """Forget the queue of a view that ended, and learn from the log what is prepared already."""
    state.queue.clear()
    state.queue_bytes = 0
    state.registering.clear()
    state.prepared.clear()
    for entry in state.log.slice(OpNumber(state.applied_op + 1), state.head_op):
        for request in entry.requests():
            if request.session != 0:
                last = state.prepared.get(request.session, RequestNumber(0))
                state.prepared[request.session] = max(last, request.number)
            else:
                state.registering.add((request.client, request.body))


def settle_prepared(state: ReplicaState, entry: Entry) -> None:
    """An operation was executed: whatever became of its requests, they are no longer on their way."""
    if not (state.prepared or state.registering):
        return
    for request in entry.requests():
        if request.session == 0:
            state.registering.discard((request.client, request.body))
        elif state.prepared.get(request.session) == request.number:
            del state.prepared[request.session]
