"""Reads that see everything acknowledged before they were asked for, without an entry in the log (VRR 6.3; ReadIndex).

    read ─▶ fresh ──round──▶ asked ──a quorum still follows this primary──▶ settled at an operation ──applied here──▶ ReadDone
              at a backup: the round is a question to the primary, whose answer is the operation

A round is one broadcast ReadIndex and a quorum of answers, for every read that waits when it begins; a later answer settles
earlier rounds too. A replica answers only NORMAL in the primary's view: had a later view begun to commit before the answer,
a quorum of DoViewChange would have left this one. The operation is the commit number, but never below the head with which
the primary began its view: its predecessor may have answered a client for any of those (VRR 6.3 is silent on it).

Leases are opt-in: `Configuration.lease_ms`, a constant of the group. An answer then also promises not to leave the view for
so long; while a quorum's promises hold, by the primary's clock and less the drift allowed for, it needs no round. A promise
is in memory only, so that who restarts keeps the promise that it may have made: it leaves no view for one lease.

A read with `min_op` wants a client's own writes only: it waits until that operation is applied here.
"""

from __future__ import annotations

import heapq
import math

from vr import limits
from vr.messages import ReadIndex, ReadIndexOk
from vr.ready import ReadDone
from vr.state import ReplicaState, Status
from vr.types import OpNumber, ReplicaIndex, ViewNumber

# --- asking ---


def read(state: ReplicaState, number: int, min_op: OpNumber | None) -> bool:
    """Take a read; False when too many wait. Settled by a ReadDone in some Ready."""
    table = state.reads
    if len(table.fresh) + len(table.asked) + len(table.settled) >= limits.READS_MAX:
        return False
    if min_op is None:
        table.fresh.append(number)
    else:
        heapq.heappush(table.settled, (min_op, number))
    return True


def forget(state: ReplicaState, number: int) -> None:
    """Nobody waits for this read any more."""
    table = state.reads
    table.fresh = [other for other in table.fresh if other != number]
    table.asked = [(round_, other) for round_, other in table.asked if other != number]
    table.settled = [(op, other) for op, other in table.settled if other != number]
    heapq.heapify(table.settled)


def is_waiting(state: ReplicaState) -> bool:
    """Is there a read that a lost message could keep waiting?"""
    table = state.reads
    return bool(table.fresh or table.asked or table.questions or table.questions_fresh)


def advance(state: ReplicaState) -> None:
    """Begin a round for what waits; hand over what is settled and applied. Once per Ready."""
    table = state.reads
    if table.view != state.view:
        begin_view(state)
    if table.fresh or table.questions_fresh:
        _begin_round(state)
    while table.settled and table.settled[0][0] <= state.applied_op:
        _, number = heapq.heappop(table.settled)
        state.effects.reads.append(ReadDone(number=number, op=state.applied_op))


def begin_view(state: ReplicaState) -> None:
    """Answers and promises of another view settle nothing any more: ask again, in this one."""
    table = state.reads
    table.view = state.view
    table.fresh = [number for _, number in table.asked] + table.fresh
    table.asked.clear()
    table.questions.clear()
    table.questions_fresh.clear()
    table.rounds.clear()
    table.confirmed_by.clear()
    table.lease_until = -math.inf


def _begin_round(state: ReplicaState) -> None:
    table = state.reads
    if state.is_serving:
        if has_lease(state):
            settle_fresh(state)
        elif len(table.rounds) < limits.READ_ROUNDS_MAX:
            _number_round(state)
            ask(state)
            confirm(state)
    elif state.status is Status.NORMAL and not state.is_primary and table.fresh:
        _number_round(state)
        ask(state)


def _number_round(state: ReplicaState) -> None:
    table = state.reads
    table.round += 1
    if state.is_serving:
        table.rounds.append((table.round, state.now))
    table.asked += [(table.round, number) for number in table.fresh]
    table.questions += [(table.round, other, context) for other, context in table.questions_fresh]
    table.fresh = []
    table.questions_fresh = []


def ask(state: ReplicaState) -> None:
    """Send the question of the latest round, again if need be: its answer settles all rounds before."""
    table = state.reads
    if table.view != state.view or not (table.asked or table.questions):
        return
    message = ReadIndex(
        view=state.view, replica=state.index, nonce=state.nonce, context=table.round, lease_ms=lease_wanted_ms(state)
    )
    if state.is_serving:
        state.broadcast(message)
    elif state.status is Status.NORMAL and not state.is_primary:
        state.send(state.primary, message)


# --- the primary ---


def read_floor(state: ReplicaState) -> OpNumber:
    """No read may see less: everything committed, and everything our predecessors may have committed and answered."""
    return max(state.commit_number, state.view_head_op)


def confirm(state: ReplicaState) -> None:
    """Settle what a quorum, ourselves among it, has confirmed."""
    table = state.reads
    answered = sorted([table.round, *table.confirmed_by.values()], reverse=True)
    quorum = state.configuration.quorum
    if len(answered) < quorum:
        return
    confirmed = answered[quorum - 1]
    while table.rounds and table.rounds[0][0] <= confirmed:
        _, began_at = table.rounds.popleft()
        table.lease_until = max(table.lease_until, lease_end(state, began_at))
    settle(state, confirmed, read_floor(state))
    op = read_floor(state)
    for round_, other, context in table.questions:
        if round_ <= confirmed:
            _answer(state, other, context, op)
    table.questions = [question for question in table.questions if question[0] > confirmed]


def settle(state: ReplicaState, confirmed: int, op: OpNumber) -> None:
    """Reads of rounds through `confirmed` are settled at `op`."""
    table = state.reads
    for round_, number in table.asked:
        if round_ <= confirmed:
            heapq.heappush(table.settled, (op, number))
    table.asked = [item for item in table.asked if item[0] > confirmed]


def settle_fresh(state: ReplicaState) -> None:
    """Under a lease nobody has to be asked."""
    table = state.reads
    op = read_floor(state)
    for number in table.fresh:
        heapq.heappush(table.settled, (op, number))
    for other, context in table.questions_fresh:
        _answer(state, other, context, op)
    table.fresh = []
    table.questions_fresh = []


def _answer(state: ReplicaState, other: ReplicaIndex, context: tuple[int, int], op: OpNumber) -> None:
    nonce, number = context
    state.send(other, ReadIndexOk(view=state.view, replica=state.index, nonce=nonce, context=number, op=op))


# --- messages ---


def on_read_index(state: ReplicaState, message: ReadIndex) -> None:
    """The primary asks whether we follow it, or a backup asks the primary what a read has to see. Views are equal."""
    assert message.view == state.view
    assert state.status is Status.NORMAL
    if message.replica == state.primary and not state.is_member:
        state.drop("read_index_to_standby")
    elif message.replica == state.primary:
        if message.lease_ms and not grant_lease(state, message.lease_ms):
            # The answer would be taken for the promise. The question comes again.
            state.drop("lease_before_the_view_is_durable")
            return
        _answer(state, message.replica, (message.nonce, message.context), state.commit_number)
    elif state.is_serving:
        if state.reads.view != state.view:
            begin_view(state)
        _take_question(state, message)
    else:
        state.drop("read_index_to_backup")


def _take_question(state: ReplicaState, message: ReadIndex) -> None:
    """Note a backup's question for the next round; the same one again brings nothing new."""
    table = state.reads
    question = (message.replica, (message.nonce, message.context))
    waiting = [(other, context) for _, other, context in table.questions] + table.questions_fresh
    if question in waiting:
        return
    if len(waiting) >= limits.READ_ROUNDS_MAX * limits.MEMBERS_MAX:
        state.drop("read_index_too_many")
        return
    table.questions_fresh.append(question)


def on_read_index_ok(state: ReplicaState, message: ReadIndexOk) -> None:
    """An answer to our question in this view, and in this life of ours."""
    assert message.view == state.view
    table = state.reads
    if message.nonce != state.nonce or message.context > table.round or table.view != state.view:
        state.drop("read_index_ok_of_other_question")
    elif state.is_serving:
        assert state.configuration.is_member(message.replica), "a standby's word is not heard (vr.replica)"
        table.confirmed_by[message.replica] = max(table.confirmed_by.get(message.replica, 0), message.context)
        confirm(state)
    elif message.replica == state.primary:
        settle(state, message.context, message.op)
    else:
        state.drop("read_index_ok_to_backup")


# --- leases ---


def lease_wanted_ms(state: ReplicaState) -> int:
    """What a primary asks its backups to promise, milliseconds."""
    return state.configuration.lease_ms if state.is_serving else 0


def lease_end(state: ReplicaState, began_at: float) -> float:
    """Until when promises asked for at `began_at` certainly hold: by our clock, theirs may be faster."""
    return began_at + state.configuration.lease_ms / 1000 * (1.0 - state.options.clock_drift_max)


def has_lease(state: ReplicaState) -> bool:
    """Has a quorum promised not to leave our view before now?"""
    return state.configuration.lease_ms > 0 and state.reads.view == state.view and state.now < state.reads.lease_until


def grant_lease(state: ReplicaState, lease_ms: int) -> bool:
    """Promise not to leave this view for so long, bounded by what a restart would wait for; False: we cannot promise yet."""
    if state.durable_log_view != state.view:
        return False
    lease_s = min(lease_ms, state.configuration.lease_ms) / 1000
    state.bound_until = max(state.bound_until, state.now + lease_s)
    return True


def wait_after_boot(state: ReplicaState) -> None:
    """We may have promised something just before we fell: keep it."""
    state.bound_until = state.now + state.configuration.lease_ms / 1000


def is_bound(state: ReplicaState, view: ViewNumber) -> bool:
    """Does a promise keep us from leaving for `view`?"""
    return view > state.view and state.now < state.bound_until and state.primary != state.index
