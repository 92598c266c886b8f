"""What a restart makes of the disk: a whole log goes on, a damaged one is mended or kept away from votes.

    entries whole, head certain ──▶ NORMAL (backup) │ next view (primary) │ VIEW_CHANGE (had voted)
    holes with known identity   ──▶ RECOVERING_HEAD, fetch them by (op, checksum), then as if nothing had happened
    anything else               ──▶ RECOVERING_HEAD until a fresh StartView replaces the tail

Unlike VRR 4.3 there is no recovery protocol for forgotten state: views are durable. What a disk has lost may have been
acknowledged, so a replica with damage acknowledges nothing, and its vote leaves a view without vouching for a log
(Protocol-Aware Recovery, FAST 2018): it must not deny what it cannot know. A hole's identity comes from the log's directory, or from the parent of the entry after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vr import limits, normal, reads, state_transfer, view_change
from vr.log import Entry, Log
from vr.messages import GetEntries, GetView
from vr.ready import DurableState, EpochEnd, SnapshotPart
from vr.snapshot import Checkpoint
from vr.state import Damage, ReplicaState, Status
from vr.types import Checksum, OpNumber, ViewNumber, view_epoch


class FaultyEntry(msgspec.Struct, frozen=True):
    """An entry that stable storage had and has lost: it may have been acknowledged."""

    op: OpNumber
    checksum: Checksum | None


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What stable storage gives back. `entries` ascend; `head_certain` False: more may have been acknowledged.

    `parts` are of one snapshot that was on its way, any of `Ready.parts`; what has rotted of them is fetched again.
    `began` is the stop sign that our epoch follows (`Ready.epoch_end`), if we saw it: kept beside the configuration, it is
    known even when the log is lost, and others may need to be told.
    """

    state: DurableState | None = None
    entries: Sequence[Entry | FaultyEntry] = ()
    head_certain: bool = True
    checkpoint: Checkpoint | None = None
    parts: Sequence[SnapshotPart] = ()
    began: tuple[OpNumber, Checksum] | None = None

    @classmethod
    def fresh(cls) -> Restored:
        """Of a group that never ran here."""
        return cls()


def restore(state: ReplicaState, restored: Restored) -> None:
    """Begin from what stable storage gave back."""
    if restored.began is not None:
        state.began = EpochEnd(state.configuration, *restored.began)
    checkpoint = restored.checkpoint
    if checkpoint is not None:
        state.log = Log(checkpoint.op, checkpoint.checksum)
        state.applied_op = state.commit_number = checkpoint.op
        state.base_timestamp_us = checkpoint.timestamp_us
        state.sessions.restore(checkpoint.sessions)
        state.service.restore(checkpoint.service)
        for end in checkpoint.epochs:
            normal.note_epoch_end(state, end)
    is_whole = restore_entries(state, restored)
    state.unwritten_op = OpNumber(state.head_op + 1)
    state.durable_op = state.head_op
    saved = restored.state
    if saved is None:
        assert not restored.entries, "the first write of a group carries its state"
        is_newborn = state.configuration.epoch == 0 or not state.is_member
        assert is_newborn, "who votes in a later epoch was a standby first: with an empty disk it has lost its promises"
        return
    if view_epoch(saved.view) < state.configuration.epoch:
        begin_epoch(state, saved, is_whole=is_whole and saved.is_head_certain)
        return
    state.saved = saved
    reads.wait_after_boot(state)
    state.view = state.voted_view = state.durable_view = saved.view
    state.log_view = state.durable_log_view = saved.log_view
    state.frozen_do_view_change = saved.frozen_do_view_change
    learn_commit_from_log(state)
    state.raise_commit(OpNumber(min(saved.commit, state.head_op)))
    if state.is_view_last:
        state.raise_commit(state.head_op)  # Nothing but what is committed is ever installed in it.
    normal.apply_committed(state)
    if state.status is not Status.RETIRED:
        choose_status(state, is_whole=is_whole and saved.is_head_certain)
        state_transfer.resume(state, restored.parts)


def begin_epoch(state: ReplicaState, saved: DurableState, *, is_whole: bool) -> None:
    """The epoch before ours had ended here, and nothing of ours was written yet: begin it.

    Our configuration became durable only after everything through the stop sign was, so a whole log reaches that far.
    """
    state.durable_log_view = state.durable_view = saved.view
    if is_whole:
        state.raise_commit(state.head_op)
        state.view_head_op = state.head_op
        normal.apply_committed(state)
        return
    learn_commit_from_log(state)
    state.raise_commit(OpNumber(min(saved.commit, state.head_op)))
    normal.apply_committed(state)
    state.log_view = saved.view
    state.status = Status.RECOVERING_HEAD


def restore_entries(state: ReplicaState, restored: Restored) -> bool:
    """Append what chains on; False when something that may have been acknowledged is missing."""
    entries = [entry for entry in restored.entries if entry.op > state.log.base_op]
    if state.status is Status.RETIRED:
        # Fetched as a snapshot, the end of our epoch is behind us: of our own log nothing above it was committed.
        state.truncate_above = state.log.base_op
        return True
    if entries and is_dead_branch(state.log, entries[0]):
        state.truncate_above = state.log.base_op
        return restored.head_certain
    for place, entry in enumerate(entries):
        if not _chains_on(state.log, entry):
            state.damage = identify_damage(state, entries[place:], restored)
            state.is_damage_known = state.damage is not None
            return False
        assert isinstance(entry, Entry)
        state.log.append(entry)
    return restored.head_certain


def is_dead_branch(log: Log, entry: Entry | FaultyEntry) -> bool:
    """Does the log on disk go on beside the checkpoint? It was fetched from a peer then, and none of these was committed."""
    return isinstance(entry, Entry) and entry.op == log.base_op + 1 and entry.header.parent != log.base_checksum


def _chains_on(log: Log, entry: Entry | FaultyEntry) -> bool:
    return isinstance(entry, Entry) and entry.op == log.head_op + 1 and entry.header.parent == log.head_checksum


def identify_damage(state: ReplicaState, entries: Sequence[Entry | FaultyEntry], restored: Restored) -> Damage | None:
    """What is missing above our head, if it is certain what was there; None when it is not."""
    if not restored.head_certain or restored.state is None or not restored.state.is_head_certain or not entries:
        return None
    sound = {entry.op: entry for entry in entries if isinstance(entry, Entry)}
    named = {entry.op: entry.checksum for entry in entries if isinstance(entry, FaultyEntry)}
    missing: dict[OpNumber, Checksum] = {}
    head_op = entries[-1].op
    for number in range(state.head_op + 1, head_op + 1):
        op = OpNumber(number)
        following = sound.get(OpNumber(op + 1))
        identity = named.get(op) if following is None else following.header.parent
        if op not in sound:
            if identity is None:
                return None
            missing[op] = identity
    return Damage(sound=sound, missing=missing, head_op=head_op)


def learn_commit_from_log(state: ReplicaState) -> None:
    """The last entry says what its primary had committed when it made it: a fact for ever."""
    last = state.log.get(state.head_op)
    if last is not None:
        state.raise_commit(OpNumber(min(last.header.commit, state.head_op)))


def choose_status(state: ReplicaState, *, is_whole: bool) -> None:
    """How to go on from a log that is whole or not."""
    assert state.status is not Status.RETIRED
    if not is_whole:
        state.status = Status.RECOVERING_HEAD
        view_change.send_do_view_change(state)
        return
    assert state.damage is None, "a whole log has no holes"
    state.status = Status.NORMAL
    if state.view > state.log_view:
        state.status = Status.VIEW_CHANGE
        state.view_change_at = state.now + state.options.view_change_s * state.jitter.between(0.5, 1.0)
        view_change.send_do_view_change(state)
    elif state.primary == state.index:
        # Resuming could give one viewstamp to two operations: some we sent may not have reached our disk.
        view_change.enter_view_change(state, ViewNumber(state.view + 1))


def ask_for_help(state: ReplicaState) -> None:
    """While our log is damaged: ask for the holes, and for the view's log, whichever comes first."""
    assert state.status is Status.RECOVERING_HEAD
    state.broadcast(GetView(view=state.view, replica=state.index, nonce=state.nonce))
    if state.install is None and state.damage is not None:
        wanted = tuple(sorted(state.damage.missing.items()))[: limits.ENTRIES_PER_MESSAGE_MAX]
        state.broadcast(GetEntries(view=state.view, replica=state.index, wanted=wanted))


def mend(state: ReplicaState, entries: Sequence[Entry]) -> None:
    """Fill holes by identity; when none is left, the log is what it was before the damage."""
    damage = state.damage
    assert damage is not None
    for entry in entries:
        if damage.missing.get(entry.op) == entry.checksum:
            del damage.missing[entry.op]
            damage.sound[entry.op] = entry
    if damage.missing:
        return
    state.damage = None
    for number in range(state.head_op + 1, damage.head_op + 1):
        entry = damage.sound[OpNumber(number)]
        if not _chains_on(state.log, entry):
            # The disk gave entries that do not belong together: nothing above is certain any more.
            state.drop("mended_run_does_not_chain")
            state.is_damage_known = False
            return
        state.log.append(entry)
    learn_commit_from_log(state)
    normal.apply_committed(state)
    if state.status is not Status.RETIRED:
        choose_status(state, is_whole=True)
