"""What goes to stable storage, and what may be said once it is there.

A Ready hands the log's unwritten entries and, where the view or the base changed, the durable state to the embedder, under
a token. A `Promise` remembers what will be true when the token is done. The log may change above some operation in the
meantime (a new view): then the promise shrinks with it.
"""

from __future__ import annotations

from vr.log import Entry
from vr.ready import DurableState
from vr.state import Promise, ReplicaState, Status
from vr.types import OpNumber


def unwritten_entries(state: ReplicaState) -> list[Entry]:
    """The run of entries that storage has not been asked to keep yet.

    Writing the first of them gives up what the disk holds above it. While a damaged tail is being replaced that may be the
    only copy of something committed: then its replacement is written whole, with the view that makes it ours, or not at all.
    """
    if state.status is Status.RECOVERING_HEAD or state.unwritten_op > state.log.head_op:
        return []
    return state.log.slice(state.unwritten_op, state.head_op)


def durable_state(state: ReplicaState) -> DurableState:
    """What must survive a crash, as of now."""
    return DurableState(
        view=state.voted_view,
        log_view=state.log_view,
        commit=OpNumber(min(state.commit_number, state.head_op)),
        base_op=state.log.base_op,
        base_checksum=state.log.base_checksum,
        frozen_do_view_change=state.frozen_do_view_change,
        truncate_above=state.truncate_above,
        is_head_certain=is_head_certain(state),
    )


def is_head_certain(state: ReplicaState) -> bool:
    """Would a restart find out from the log alone what we may have acknowledged?"""
    return state.status is not Status.RECOVERING_HEAD or state.is_damage_known


def is_state_dirty(state: ReplicaState) -> bool:
    """Does storage hold another state than `durable_state`? The commit number alone is not worth a write."""
    saved = state.saved
    return (
        saved is None
        or state.truncate_above is not None
        or state.voted_view != saved.view
        or state.log_view != saved.log_view
        or state.log.base_op != saved.base_op
        or is_head_certain(state) != saved.is_head_certain
        or state.frozen_do_view_change != saved.frozen_do_view_change
    )


def take_write(state: ReplicaState) -> tuple[int | None, list[Entry], DurableState | None]:
    """(token, entries, durable state) of the next write; token None when there is nothing to write."""
    entries = unwritten_entries(state)
    meta = durable_state(state) if is_state_dirty(state) else None
    if not entries and meta is None:
        return None, [], None
    if meta is not None:
        state.saved = meta
        state.truncate_above = None
    if entries:
        state.unwritten_op = OpNumber(state.head_op + 1)
    written_op = OpNumber(min(state.unwritten_op - 1, state.head_op))
    state.tokens += 1
    assert state.saved is not None, "the first write carries the state"
    state.promises.append(Promise(state.tokens, written_op, state.saved.view, state.saved.log_view, state.now))
    return state.tokens, entries, meta


def keep_promise(state: ReplicaState, token: int) -> None:
    """The write of `token` is on stable storage; tokens are done in the order they were given."""
    promise = state.promises.popleft()
    assert promise.token == token, "tokens complete in order"
    state.durable_op = max(state.durable_op, promise.op)
    assert state.durable_op <= state.head_op
    assert state.durable_view <= promise.view, "views never go back"
    assert state.durable_log_view <= promise.log_view, "views never go back"
    state.durable_view = promise.view
    state.durable_log_view = promise.log_view
