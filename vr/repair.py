"""Fetching operations: bodies of a log that is being installed, and whatever somebody else misses (VRR 5.2).

An operation is wanted by its identity (op, checksum) where that is known. Below the committed point of the log that is being
installed it is not: then whatever a peer holds as *committed* at that op is wanted, must chain on to our own committed
prefix, and joins it at once. Unlike VRR 5.2, nothing that may be committed is given up before its replacement is here.
"""

from __future__ import annotations

from collections.abc import Sequence

from vr import limits
from vr.errors import DecodeError
from vr.log import Entry, decode_entry
from vr.messages import Entries, GetEntries
from vr.normal import NO_CHECKSUM, apply_committed, learn_commit, take_entry
from vr.ready import HistoryRead
from vr.state import Install, ReplicaState, Status
from vr.types import Checksum, OpNumber

ANSWER_BYTES_MAX = 512 * 1024
INSTALL_WINDOW_OPS = limits.HEADERS_PER_MESSAGE_MAX + limits.ENTRIES_PER_MESSAGE_MAX


# --- what we want ---


def trusted_prefix(state: ReplicaState, install: Install) -> OpNumber:
    """Through which op our own log is certainly the canonical one."""
    keep = OpNumber(min(state.commit_number, state.head_op))
    if install.commit > keep and state.log.checksum(install.commit) == install.commit_checksum:
        keep = install.commit
    while keep >= install.commit and (header := install.headers.get(OpNumber(keep + 1))) is not None:
        if state.log.checksum(header.op) != header.checksum:
            break
        keep = header.op
    return keep


def missing_ops(install: Install) -> list[tuple[OpNumber, Checksum]]:
    """Identities of the next bodies that are not here yet, in order: as many as one message may ask for."""
    wanted: list[tuple[OpNumber, Checksum]] = []
    for number in range(install.keep_op + 1, install.head_op + 1):
        op = OpNumber(number)
        if op not in install.bodies:
            wanted.append((op, identity_of(install, op)))
            if len(wanted) == limits.ENTRIES_PER_MESSAGE_MAX:
                break
    return wanted


def identity_of(install: Install, op: OpNumber) -> Checksum:
    """The checksum that an operation of the log must have, as far as we know it; others may have it without knowing it committed."""
    if op == install.commit:
        return install.commit_checksum
    header = install.headers.get(op)
    if header is not None:
        return header.checksum
    following = install.bodies.get(OpNumber(op + 1))
    return NO_CHECKSUM if following is None else following.header.parent


def is_complete(state: ReplicaState, install: Install) -> bool:
    """Is every body here? Bodies above the committed point have the identities of a chained suffix, closed below."""
    return install.keep_op >= install.commit and not missing_ops(install)


def extend_committed(state: ReplicaState, install: Install) -> None:
    """Take committed operations into our log as they come: the chain from our committed prefix proves them ours.

    What of our log differs from them was never committed. This also bounds memory when we are far behind.
    """
    while install.keep_op < install.commit:
        entry = install.bodies.pop(OpNumber(install.keep_op + 1), None)
        if entry is None:
            break
        wrong_end = entry.op == install.commit and entry.checksum != install.commit_checksum
        if wrong_end or entry.header.parent != state.log.checksum(install.keep_op):
            state.drop("committed_run_does_not_chain")
            break
        if state.log.checksum(entry.op) != entry.checksum:
            state.log.truncate_above(install.keep_op)
            state.forget_writes_above(install.keep_op)
            state.log.append(entry)
        install.keep_op = entry.op
        state.raise_commit(entry.op)
    apply_committed(state)
    install.keep_op = max(install.keep_op, trusted_prefix(state, install))


def ask_for_bodies(state: ReplicaState, install: Install) -> None:
    """Ask the next likely peer for what is missing."""
    wanted = missing_ops(install)
    if wanted and install.sources:
        source = install.sources[install.turn % len(install.sources)]
        install.turn += 1
        state.send(source, GetEntries(view=state.view, replica=state.index, wanted=tuple(wanted)))


# --- what others want ---


def on_get_entries(state: ReplicaState, message: GetEntries) -> None:
    """Answer from memory; what is committed and no longer in memory, the embedder answers from history."""
    data: list[bytes] = []
    size = 0
    history: list[OpNumber] = []
    for op, checksum in message.wanted:
        if op <= state.log.base_op:
            if op > 0:
                history.append(op)
            continue
        entry = _servable(state, message, op, checksum)
        if entry is None:
            continue
        size += len(entry.data)
        if data and size > ANSWER_BYTES_MAX:
            break
        data.append(entry.data)
    if history:
        # What is wanted may have gaps: those who hold some of it ask for the rest. Whatever its span, the first part is read.
        first = min(history)
        last = OpNumber(min(max(history), first + limits.ENTRIES_PER_MESSAGE_MAX - 1))
        state.effects.history_reads.append(HistoryRead(to=message.replica, first_op=first, last_op=last))
    if data:
        commit = OpNumber(min(state.commit_number, state.head_op))
        state.send(message.replica, Entries(view=state.view, replica=state.index, data=tuple(data), commit=commit))


def _servable(state: ReplicaState, message: GetEntries, op: OpNumber, checksum: Checksum) -> Entry | None:
    """An entry we may give: the very one that is wanted, or the only one there can be."""
    entry = state.log.get(op)
    if entry is None and state.damage is not None and checksum != NO_CHECKSUM:
        # What lies above a hole of ours may fill somebody else's.
        entry = state.damage.sound.get(op)
    if entry is None:
        return None
    if checksum != NO_CHECKSUM:
        return entry if entry.checksum == checksum else None
    in_view = state.status is Status.NORMAL and message.view == state.view
    return entry if in_view or op <= state.commit_number else None


# --- what we get ---


def decode_entries(state: ReplicaState, message: Entries) -> list[Entry]:
    """The entries that came in, up to the first that is damaged."""
    entries = []
    for data in message.data:
        try:
            entries.append(decode_entry(data))
        except DecodeError:
            state.drop("entries_undecodable")
            break
    return entries


def take_missing(state: ReplicaState, message: Entries, entries: Sequence[Entry]) -> None:
    """As a backup: the primary of our view sends what we missed of its log."""
    assert state.status is Status.NORMAL
    if message.view != state.view or message.replica != state.primary:
        state.drop("entries_of_other_view")
        return
    state.entries_asked_at = float("-inf")
    for entry in entries:
        take_entry(state, entry)
    learn_commit(state, state.commit_number)


def take_bodies(state: ReplicaState, install: Install, entries: Sequence[Entry], *, commit: OpNumber) -> bool:
    """Take bodies of the log that is being installed; True when there was something new. `commit` is what their sender knew."""
    news = [entry for entry in entries if _take_body(state, install, entry, commit)]
    if not news:
        return False
    extend_committed(state, install)
    if not state.is_next_primary:
        # Whoever gets on has patience. A primary to be does not: others wait for it, and one less behind may lead.
        state.view_change_at = max(state.view_change_at, state.now + state.options.view_change_s)
    return True


def _take_body(state: ReplicaState, install: Install, entry: Entry, commit: OpNumber) -> bool:
    if not install.keep_op < entry.op <= min(install.head_op, install.keep_op + INSTALL_WINDOW_OPS):
        state.drop("entry_not_wanted")
        return False
    identity = identity_of(install, entry.op)
    if identity not in {NO_CHECKSUM, entry.checksum}:
        state.drop("entry_of_other_identity")
        return False
    if identity == NO_CHECKSUM and entry.op > commit:
        # An answer to what we asked in an earlier view, by its primary: in that view's log, but perhaps never committed.
        state.drop("entry_not_known_committed")
        return False
    if entry.op in install.bodies:
        return False
    install.bodies[entry.op] = entry
    return True
