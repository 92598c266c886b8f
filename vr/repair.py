"""Fetching operations: bodies of a log that is being installed, and whatever somebody else misses (VRR 5.2).

An operation is wanted by its identity (op, checksum) where that is known. Below the committed point of the log that is being
installed only the last checksum is known: then whatever a peer holds as *committed* at that op is wanted, and the hash
chain, closed at the committed point, proves the whole run. Unlike VRR 5.2, nothing of our own log is given up before all of
its replacement is here.
"""

from __future__ import annotations

from vr import limits
from vr.errors import DecodeError
from vr.log import Entry, decode_entry
from vr.messages import Entries, GetEntries
from vr.normal import NO_CHECKSUM, learn_commit, take_entry
from vr.ready import HistoryRead
from vr.state import Install, ReplicaState, Status
from vr.types import Checksum, OpNumber

ANSWER_BYTES_MAX = 512 * 1024


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
    """Identities of the bodies that are not here yet, in order."""
    wanted = []
    for op in range(install.keep_op + 1, install.head_op + 1):
        if op not in install.bodies:
            header = install.headers.get(OpNumber(op))
            wanted.append((OpNumber(op), NO_CHECKSUM if header is None else header.checksum))
    return wanted


def is_complete(state: ReplicaState, install: Install) -> bool:
    """Is every body here, and does the whole run chain? A run that does not is thrown away."""
    if missing_ops(install):
        return False
    parent = state.log.checksum(install.keep_op)
    for op in range(install.keep_op + 1, install.head_op + 1):
        header = install.bodies[OpNumber(op)].header
        if header.parent != parent or (op == install.commit and header.checksum != install.commit_checksum):
            state.drop("installed_run_does_not_chain")
            install.bodies.clear()
            return False
        parent = header.checksum
    return True


def ask_for_bodies(state: ReplicaState, install: Install) -> None:
    """Ask the next likely peer for what is missing."""
    wanted = missing_ops(install)[: limits.ENTRIES_PER_MESSAGE_MAX]
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
    for op, checksum in message.wanted[: limits.ENTRIES_PER_MESSAGE_MAX]:
        if op <= state.log.base_op:
            history.append(op)
            continue
        entry = _servable(state, message, op, checksum)
        if entry is None:
            continue
        size += len(entry.data)
        if data and size > ANSWER_BYTES_MAX:
            break
        data.append(entry.data)
    if history and history[0] >= 1:
        first, last = min(history), max(history)
        if last - first < limits.ENTRIES_PER_MESSAGE_MAX:
            state.effects.history_reads.append(HistoryRead(to=message.replica, first_op=first, last_op=last))
    if data:
        state.send(message.replica, Entries(view=state.view, replica=state.index, data=tuple(data)))


def _servable(state: ReplicaState, message: GetEntries, op: OpNumber, checksum: Checksum) -> Entry | None:
    """An entry we may give: the very one that is wanted, or the only one there can be."""
    entry = state.log.get(op)
    if entry is None:
        return None
    if checksum != NO_CHECKSUM:
        return entry if entry.checksum == checksum else None
    in_view = state.status is Status.NORMAL and message.view == state.view
    return entry if in_view or op <= state.commit_number else None


# --- what we get ---


def on_entries(state: ReplicaState, message: Entries) -> bool:
    """Take entries we asked for; True when they may have completed an install."""
    entries = []
    for data in message.data[: limits.ENTRIES_PER_MESSAGE_MAX]:
        try:
            entries.append(decode_entry(data))
        except DecodeError:
            state.drop("entries_undecodable")
            return False
    if state.install is not None:
        for entry in entries:
            _take_body(state, state.install, entry)
        return True
    if state.status is Status.NORMAL and message.view == state.view and message.replica == state.primary:
        state.entries_asked_at = float("-inf")
        for entry in entries:
            take_entry(state, entry)
        learn_commit(state, state.commit_number)
    return False


def _take_body(state: ReplicaState, install: Install, entry: Entry) -> None:
    if not install.keep_op < entry.op <= install.head_op:
        state.drop("entry_not_wanted")
        return
    header = install.headers.get(entry.op)
    if header is not None and header.checksum != entry.checksum:
        state.drop("entry_of_other_identity")
        return
    install.bodies.setdefault(entry.op, entry)
