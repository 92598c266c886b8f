"""Changing the view: choosing, without losing anything committed, the log that goes on (VRR 4.2).

    NORMAL: somebody is suspected, or nothing is committed for long
      │  StartViewChange(v) to all: advice; its sender stays NORMAL
      ▼  a quorum of them, or a DoViewChange of a higher view
    VIEW_CHANGE: (v, our header suffix) made durable ─▶ DoViewChange(v) to all, the same bytes until v is over
      │  primary of v: a quorum of DoViewChange; the log of the highest log view, the longest, goes on; bodies fetched
      ▼  log view v made durable
    NORMAL: StartView(v) to all; each installs it once, when every body is here, and acknowledges when durable

Unlike VRR 4.2: views are durable, so there is no recovery protocol (4.3); a quorum must want to leave before anybody does,
so that one deaf replica disturbs nobody; DoViewChange goes to all, which lifts stragglers; and a primary that restarts
never resumes its view, or it might give one viewstamp to two operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vr import limits
from vr.configuration import Configuration
from vr.errors import DecodeError
from vr.forwarding import reset_queue, send_pending, waits_in_vain
from vr.log import HEADER_BYTES, EntryHeader, decode_header
from vr.messages import DoViewChange, GetView, StartView, StartViewChange, decode, encode
from vr.nacks import NACKS_NOTHING, Undecided, by_completeness, choose_log
from vr.normal import apply_committed, ask_for_missing, learn_commit, misses_entries
from vr.reads import is_bound
from vr.repair import ask_for_bodies, is_complete, trusted_prefix
from vr.state import Install, Peer, ReplicaState, Status
from vr.types import Checksum, OpNumber, ReplicaIndex, ViewNumber

VOTE_FRESH_S = 1.0
VOTED_VIEWS_MAX = 16


# --- wanting to leave ---


def wants_to_leave(state: ReplicaState) -> bool:
    """Is our view, or the one that we have left for, no good any more, as far as we can tell?"""
    if state.status in {Status.RECOVERING_HEAD, Status.RETIRED} or not state.is_member or state.is_view_last:
        return False
    if state.primary != state.index and state.peers[state.primary].suspected:
        return True
    if state.status is Status.VIEW_CHANGE:
        return state.now >= state.view_change_at
    return state.now >= state.challenged_at + state.options.patience_s or is_stuck(state)


def is_stuck(state: ReplicaState) -> bool:
    """Has something waited for longer than our patience that a working view would have committed?

    A primary looks at its operations and at its own disk as well: one that cannot write must not lead, even while a
    majority of others still lets it commit.
    """
    patience_s = state.options.patience_s
    if state.is_primary:
        if state.promises and state.promises[0].asked_at + patience_s <= state.now:
            return True
        if state.head_op > state.commit_number and state.now >= state.progress_at + patience_s:
            return True
    return waits_in_vain(state)


def propose_view_change(state: ReplicaState, view: ViewNumber) -> None:
    """Advise everybody to leave for `view`; we stay until a quorum says the same."""
    assert view > state.view
    state.broadcast(StartViewChange(view=view, replica=state.index))
    count_vote(state, view, state.index)


def next_view(state: ReplicaState) -> ViewNumber:
    """Which view to leave for: the highest that somebody advises now, because one who is past our next view never joins it.

    Without this a replica two views ahead, and others that together lack one vote, advise past each other for ever.
    """
    fresh_since = state.now - VOTE_FRESH_S
    advised = [
        view
        for view, votes in state.votes.items()
        if any(voter != state.index and at >= fresh_since for voter, at in votes.items())
    ]
    return max([ViewNumber(state.view + 1), *advised])


def on_start_view_change(state: ReplicaState, message: StartViewChange) -> None:
    """Somebody wants to leave for `message.view` (VRR 4.2 step 1)."""
    if message.view <= state.view:
        help_straggler(state, message.replica)
        return
    abdicates = state.status is Status.NORMAL and message.replica == state.primary
    voted_at = state.votes.get(message.view, {}).get(state.index, float("-inf"))
    known = voted_at + VOTE_FRESH_S / 2 >= state.now
    follows = abdicates or proves_later_view(state, message) or state.status is Status.RECOVERING_HEAD
    if (wants_to_leave(state) or follows) and not known:
        propose_view_change(state, message.view)
    elif not known:
        challenge_primary(state)
    if message.view > state.view:
        count_vote(state, message.view, message.replica)


def challenge_primary(state: ReplicaState) -> None:
    """Somebody is not served: ask the primary for a sign that it leads. Without one, within our patience, we leave too.

    A node may be alive and its replica of this group stuck; and a single backup with clients must find followers.
    """
    if state.status is Status.NORMAL and state.primary != state.index and state.challenged_at == float("inf"):
        state.challenged_at = state.now
        state.send(state.primary, GetView(view=state.view, replica=state.index, nonce=state.nonce))


def note_primary_leads(state: ReplicaState) -> None:
    """The primary of our view has shown that it leads."""
    state.is_started = True
    state.challenged_at = float("inf")


def proves_later_view(state: ReplicaState, message: StartViewChange) -> bool:
    """Who proposes a view beyond our next one is past our view: a quorum has left it, nothing more can be committed there."""
    return message.view > state.view + 1


def count_vote(state: ReplicaState, view: ViewNumber, voter: ReplicaIndex) -> None:
    """Count advice to leave for `view`; with a quorum of fresh advice, ours among it, we go."""
    votes = state.votes.setdefault(view, {})
    votes[voter] = state.now
    fresh = [other for other, at in votes.items() if at + VOTE_FRESH_S >= state.now]
    if state.index in fresh and len(fresh) >= state.configuration.quorum and not is_bound(state, view):
        enter_view_change(state, view)
    for old in sorted(state.votes)[:-VOTED_VIEWS_MAX]:
        del state.votes[old]


# --- leaving ---


def enter_view_change(state: ReplicaState, view: ViewNumber) -> None:
    """Leave for `view`: from here on we acknowledge nothing older. DoViewChange follows when this is durable.

    With an uncertain head we leave as well, and say so: our vote ends the old view, but vouches for no log.
    """
    assert view > state.voted_view, "a vote is given once"
    assert state.install is None or state.install.view < view
    learn_commit_floor(state)
    if state.status is not Status.RECOVERING_HEAD:
        state.status = Status.VIEW_CHANGE
    state.view = state.voted_view = view
    state.install = None
    state.early.clear()
    state.do_view_changes.clear()
    state.challenged_at = float("inf")
    state.votes = {key: votes for key, votes in state.votes.items() if key > view}
    state.frozen_do_view_change = encode(make_do_view_change(state))
    state.attempts += 1
    state.view_changes += 1
    wait_s = state.options.view_change_s * 1.5 ** min(state.attempts - 1, 16)
    state.view_change_at = state.now + min(wait_s, state.options.view_change_s_max) * state.jitter.between(0.9, 1.1)
    reset_queue(state)
    assert state.view > state.log_view, "between views"


def learn_commit_floor(state: ReplicaState) -> None:
    """The pipeline has one depth in the whole group: what lies deeper below our head is committed. Bounds our message."""
    state.raise_commit(OpNumber(max(state.head_op - state.configuration.pipeline_ops_max, 0)))
    apply_committed(state)


def make_do_view_change(state: ReplicaState) -> DoViewChange:
    """Our log, as headers: what is committed needs none (VRR 4.2 step 2)."""
    commit, checksum, headers = _suffix(state)
    return DoViewChange(
        view=state.view, replica=state.index, log_view=state.log_view, head_op=state.head_op, commit=commit,
        commit_checksum=checksum, headers=headers, nacks_above=nacks_above(state),
    )  # fmt: skip


def nacks_above(state: ReplicaState) -> OpNumber:
    """What we certainly never had lies above this: never a corrupt entry, never a tail of unknown length."""
    if state.damage is not None:
        return state.damage.head_op
    return NACKS_NOTHING if state.status is Status.RECOVERING_HEAD else state.head_op


def _suffix(state: ReplicaState) -> tuple[OpNumber, Checksum, bytes]:
    commit = OpNumber(min(state.commit_number, state.head_op))
    checksum = state.log.checksum(commit)
    assert checksum is not None, "what is committed is in memory, or the base"
    entries = state.log.slice(OpNumber(commit + 1), state.head_op)
    return commit, checksum, b"".join(entry.data[:HEADER_BYTES] for entry in entries)


def may_vote(state: ReplicaState) -> bool:
    """Is our vote for the view we are changing to, with everything it promises, on stable storage?

    Who vouches for no log promises nothing of it: what it fetched on top of a damaged one is not written before all is whole.
    """
    return (
        state.status is not Status.NORMAL
        and state.frozen_do_view_change is not None
        and state.view == state.voted_view == state.durable_view
        and (state.durable_op == state.head_op or state.status is Status.RECOVERING_HEAD)
    )


def send_do_view_change(state: ReplicaState) -> None:
    """Send the frozen message to all, if it is durable; the new primary counts its own."""
    if not may_vote(state):
        return
    assert state.frozen_do_view_change is not None
    message = decode(state.frozen_do_view_change)
    assert isinstance(message, DoViewChange)
    assert message.view == state.view
    state.broadcast(message)
    if state.is_next_primary:
        collect(state, message)


def on_do_view_change(state: ReplicaState, message: DoViewChange) -> None:
    """A replica has left for `message.view` (VRR 4.2 step 2): follow it, or count it."""
    if message.view < state.view:
        help_straggler(state, message.replica)
        return
    if message.view > state.view and message.view > state.voted_view:
        if is_bound(state, message.view):
            state.drop("bound_by_lease")
            return
        enter_view_change(state, message.view)
    if state.status is Status.NORMAL:
        help_straggler(state, message.replica)
    elif state.is_next_primary and state.view == state.voted_view == message.view:
        collect(state, message)
    else:
        state.drop("vote_for_another")


# --- the new primary ---


def collect(state: ReplicaState, message: DoViewChange) -> None:
    """Keep a DoViewChange; with a quorum of distinct replicas, ours among them, choose the log."""
    try:
        unpack_headers(message)
    except DecodeError:
        state.drop("do_view_change_malformed")
        return
    state.do_view_changes[message.replica] = message
    is_quorum = is_view_change_quorum(state.configuration, state.index, state.do_view_changes)
    if state.install is None and is_quorum:
        decide(state)


def decide(state: ReplicaState) -> None:
    """Choose the log that goes on; if nobody can tell, wait for more votes, or for ever: never guess."""
    votes = state.do_view_changes
    chosen = choose_log(state.configuration, votes)
    state.undecided = chosen if isinstance(chosen, Undecided) else None
    if isinstance(chosen, Undecided):
        return
    commit = max(vote.commit for vote in votes.values())
    sources = [vote.replica for vote in by_completeness(votes.values()) if vote.replica != state.index]
    begin_install(state, chosen, sources, known_commit=commit)
    finish_install(state)


def is_view_change_quorum(configuration: Configuration, own: ReplicaIndex, voters: Iterable[ReplicaIndex]) -> bool:
    """A quorum of distinct replicas, ourselves included, have left for the view."""
    distinct = set(voters)
    return own in distinct and len(distinct) >= configuration.quorum


def unpack_headers(message: DoViewChange | StartView) -> dict[OpNumber, EntryHeader]:
    """The headers of a suffix, by op: consecutive, chained, from commit + 1 through head_op.

    Raises:
        DecodeError: they are not.
    """
    data = message.headers
    count = message.head_op - message.commit
    if count < 0 or count > limits.HEADERS_PER_MESSAGE_MAX or len(data) != count * HEADER_BYTES:
        raise DecodeError("header suffix of a wrong length")
    headers: dict[OpNumber, EntryHeader] = {}
    parent = message.commit_checksum
    for place in range(count):
        header = decode_header(memoryview(data)[place * HEADER_BYTES : (place + 1) * HEADER_BYTES])
        if header.op != message.commit + 1 + place or header.parent != parent:
            raise DecodeError("headers do not chain")
        headers[header.op] = header
        parent = header.checksum
    return headers


def begin_install(
    state: ReplicaState, message: DoViewChange | StartView, sources: list[ReplicaIndex], *, known_commit: OpNumber
) -> None:
    """Start putting the canonical log together, beside ours. What is known committed in it says nothing of ours yet."""
    headers = unpack_headers(message)
    assert state.log_view < state.view or state.status is Status.RECOVERING_HEAD, "a view's log is installed once"
    if contradicts_commit(state, message, headers):
        state.drop("log_without_what_is_committed")
        return
    state.damage = None
    state.undecided = None
    state.install = Install(
        view=state.view, head_op=message.head_op, commit=message.commit, commit_checksum=message.commit_checksum,
        headers=headers, keep_op=OpNumber(0), bodies={}, sources=sources, known_commit=known_commit,
    )  # fmt: skip
    state.install.keep_op = trusted_prefix(state, state.install)


def contradicts_commit(
    state: ReplicaState, message: DoViewChange | StartView, headers: Mapping[OpNumber, EntryHeader]
) -> bool:
    """Does a log lack what we know to be committed? Then its sender, or we, are broken; better to stand still."""
    kept = OpNumber(min(state.commit_number, state.head_op))
    if message.head_op < kept:
        return True
    if kept < message.commit:
        return False
    expected = message.commit_checksum if kept == message.commit else headers[kept].checksum
    return state.log.checksum(kept) != expected


def finish_install(state: ReplicaState) -> None:
    """Replace our log by the canonical one, if every body is here; ask for the others if not."""
    install = state.install
    if install is None:
        return
    if not is_complete(state, install):
        ask_for_bodies(state, install)
        return
    assert install.keep_op >= min(state.commit_number, state.head_op), "what is committed stays"
    assert install.commit <= install.keep_op <= install.head_op
    if install.keep_op < state.head_op:
        state.log.truncate_above(install.keep_op)
        state.forget_writes_above(install.keep_op)
    state.truncate_above = install.keep_op
    for op in range(install.keep_op + 1, install.head_op + 1):
        state.log.append(install.bodies[OpNumber(op)])
    _enter_normal(state, install)


def _enter_normal(state: ReplicaState, install: Install) -> None:
    state.status = Status.NORMAL
    state.log_view = state.voted_view = state.view
    state.install = None
    state.frozen_do_view_change = None
    state.do_view_changes.clear()
    state.attempts = 0
    state.view_change_at = state.challenged_at = float("inf")
    state.progress_at = state.now
    state.known_head_op = state.head_op
    state.entries_asked_at = float("-inf")
    for other, peer in state.peers.items():
        state.peers[other] = Peer(suspected=peer.suspected)
    state.raise_commit(install.known_commit)
    apply_committed(state)
    reset_queue(state)
    state.commit_told = state.commit_number
    state.view_head_op = state.head_op
    assert state.log_view == state.view == install.view


def announce_view(state: ReplicaState) -> None:
    """As the new primary, once our log view is durable: tell everybody, and take up work (VRR 4.2 step 4)."""
    assert state.is_serving
    if state.view_announced == state.view:
        return
    state.view_announced = state.view
    state.is_started = True
    state.broadcast(make_start_view(state, nonce=0))
    send_pending(state)


def make_start_view(state: ReplicaState, *, nonce: int) -> StartView:
    """The view's log as it is now."""
    commit, checksum, headers = _suffix(state)
    return StartView(
        view=state.view, replica=state.index, head_op=state.head_op, commit=commit, commit_checksum=checksum,
        headers=headers, nonce=nonce,
    )  # fmt: skip


# --- the others ---


def help_straggler(state: ReplicaState, other: ReplicaIndex) -> None:
    """Somebody has not heard of our view: its primary tells."""
    if state.is_serving:
        state.send(other, make_start_view(state, nonce=0))


def on_get_view(state: ReplicaState, message: GetView) -> None:
    """Somebody asks what is going on. If it is the primary of our view itself, it does not lead: on to the next."""
    if state.is_serving and message.view <= state.view:
        state.send(message.replica, make_start_view(state, nonce=message.nonce))
    elif state.status is Status.NORMAL and message.view >= state.view and message.replica == state.primary:
        propose_view_change(state, max(message.view, ViewNumber(state.view + 1)))


def on_start_view(state: ReplicaState, message: StartView) -> None:
    """The log of a view (VRR 4.2 step 5): install it once, or learn from it what we miss."""
    if message.replica != state.configuration.primary_index(message.view) or message.view < state.view:
        state.drop("start_view_of_other_view")
        return
    if state.status is Status.RECOVERING_HEAD and message.nonce != state.nonce:
        # A late StartView may be older than what we acknowledged and forgot: only a fresh one tells all.
        state.drop("start_view_not_fresh")
        return
    if message.view == state.view and (state.log_view == state.view and state.status is Status.NORMAL):
        note_primary_leads(state)
        state.known_head_op = max(state.known_head_op, message.head_op)
        learn_commit(state, message.commit)
        return
    if message.view == state.view and state.install is not None:
        return
    try:
        headers = unpack_headers(message)
    except DecodeError:
        state.drop("start_view_malformed")
        return
    if contradicts_commit(state, message, headers):
        state.drop("log_without_what_is_committed")
        return
    state.is_started = True
    adopt(state, message)


def adopt(state: ReplicaState, message: StartView) -> None:
    """Put together the log of a view that has begun, or of an epoch that has ended, beside ours; it replaces ours when whole."""
    was_recovering = state.status is Status.RECOVERING_HEAD
    state.view = message.view
    state.early.clear()
    state.votes = {key: votes for key, votes in state.votes.items() if key > message.view}
    if not was_recovering:
        state.status = Status.VIEW_CHANGE
        state.view_change_at = state.now + state.options.view_change_s * state.jitter.between(1.0, 1.5)
    begin_install(state, message, [message.replica], known_commit=message.commit)
    finish_install(state)
    if state.status is Status.NORMAL:
        after_install(state)


def after_install(state: ReplicaState) -> None:
    """We are at work in a new view: bring our clients' requests to its primary, fetch what came since."""
    if not state.is_primary:
        send_pending(state)
        if misses_entries(state):
            ask_for_missing(state)


def ask_view(state: ReplicaState, other: ReplicaIndex) -> None:
    """We heard of a higher view: ask its primary, not too often."""
    if other != state.index and state.now >= state.view_asked_at + state.options.resend_s:
        state.view_asked_at = state.now
        state.send(other, GetView(view=state.view, replica=state.index, nonce=state.nonce))
