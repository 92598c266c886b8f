"""Mutants of what survives: durable state, restarts, damaged logs. See `vr.simulator.mutants`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from vr import durability, forwarding, nacks, repair, view_change
from vr import recovery as core_recovery
from vr.log import Entry
from vr.messages import StartView
from vr.ready import DurableState
from vr.replica import Replica
from vr.simulator.mutation import Mutant, Patch, Rule, always, by_scenario, mutant, nothing
from vr.simulator.worlds import full_disks, rotten_tails, torn_tails
from vr.state import ReplicaState, Status
from vr.storage import log_opening, recovery, segment


def _with_state(**changes: Callable[[ReplicaState, DurableState], object]) -> Callable[[Rule], Rule]:
    def make(original: Rule) -> Rule:
        def durable_state(state: ReplicaState) -> DurableState:
            right: DurableState = original(state)
            return msgspec.structs.replace(right, **{name: change(state, right) for name, change in changes.items()})

        return durable_state

    return make


def _choose_status_resuming(original: Rule) -> Rule:
    def choose_status(state: ReplicaState, *, is_whole: bool) -> None:
        if is_whole and state.view == state.log_view and state.primary == state.index:
            state.status = Status.NORMAL
        else:
            original(state, is_whole=is_whole)

    return choose_status


def _choose_status_as_if_whole(original: Rule) -> Rule:
    def choose_status(state: ReplicaState, *, is_whole: bool) -> None:
        state.damage = None
        original(state, is_whole=True)

    return choose_status


def _damage_denied(original: Rule) -> Rule:
    def restore_entries(state: ReplicaState, restored: Any) -> bool:
        original(state, restored)
        state.damage = None
        return True

    return restore_entries


def _mend_with_anything(original: Rule) -> Rule:
    def mend(state: ReplicaState, entries: Sequence[Entry]) -> None:
        if state.damage is not None:
            state.damage.missing.update({entry.op: entry.checksum for entry in entries if entry.op > state.head_op})
        original(state, entries)

    return mend


def _tail_cut(_: Rule) -> Rule:
    def is_torn(*, first_missing: int, frame: Any, synced_lsn: int) -> bool:
        return first_missing < frame.header.lsn or bool(frame.rotten)

    return is_torn


def _clear_nothing(original: Rule) -> Rule:
    def settle_tail(segments: Any, settled: Any) -> None:
        settled.must_clear = False
        original(segments, settled)

    return settle_tail


def _one_nack_less(_: Rule) -> Rule:
    return lambda configuration, found: len(found) >= configuration.nack_quorum - 1


def _stale_start_view_while_recovering(original: Rule) -> Rule:
    def on_start_view(state: ReplicaState, message: StartView) -> None:
        original(state, msgspec.structs.replace(message, nonce=state.nonce))

    return on_start_view


def _serve_by_number(_: Rule) -> Rule:
    return lambda state, _message, op, _checksum: state.log.get(op)


def _never_freed(original: Rule) -> Rule:
    def note_space(replica: Replica, *, is_short: bool) -> None:
        if is_short:
            original(replica, is_short=True)

    return note_space


RECOVERY_MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "view_not_persisted",
        "the view is not written",
        20,
        Patch(durability, "durable_state", _with_state(view=lambda _, right: right.log_view)),
    ),
    mutant(
        "log_view_not_persisted",
        "the log view is not written",
        50,
        Patch(
            durability,
            "durable_state",
            _with_state(log_view=lambda state, right: right.log_view if state.saved is None else state.saved.log_view),
        ),
    ),
    mutant(
        "truncation_not_persisted",
        "a replaced tail stays on the disk",
        300,
        Patch(durability, "durable_state", _with_state(truncate_above=lambda _state, _right: None)),
        bend=rotten_tails,
    ),
    mutant(
        "promises_not_shrunk",
        "a write under way still counts after its entries were replaced",
        50,
        Patch(ReplicaState, "forget_writes_above", nothing),
    ),
    mutant(
        "primary_resumes",
        "a restarted primary goes on in its view",
        50,
        Patch(core_recovery, "choose_status", _choose_status_resuming),
    ),
    mutant(
        "corrupt_entry_nacked",
        "a lost tail is taken for one that never was",
        100,
        Patch(core_recovery, "restore_entries", _damage_denied),
        bend=rotten_tails,
    ),
    mutant(
        "uncertain_votes_vouch",
        "whoever lost its tail vouches for a log",
        150,
        Patch(nacks, "is_end", always(True)),
        bend=rotten_tails,
    ),
    mutant(
        "corrupt_tail_nacked",
        "a vote nacks what its disk has lost",
        150,
        Patch(view_change, "nacks_above", lambda _: lambda state: state.head_op),
        bend=rotten_tails,
    ),
    mutant(
        "too_few_nacks",
        "a log is cut with one nack too few",
        150,
        Patch(nacks, "enough_nacks", _one_nack_less),
        bend=rotten_tails,
    ),
    by_scenario(
        "start_of_view_unseen",
        "who missed a view nacks also what is older than it",
        "lost_start_of_view",
        Patch(nacks, "shows_start_of_view", always(True)),
    ),
    by_scenario(
        "stale_start_view_while_recovering",
        "whoever forgot its tail believes an old StartView",
        "late_start_view_while_recovering",
        Patch(view_change, "on_start_view", _stale_start_view_while_recovering),
    ),
    by_scenario(
        "head_certainty_not_persisted",
        "a damaged tail that is being replaced is forgotten in a crash",
        "lost_tail_twice",
        Patch(durability, "is_head_certain", always(True)),
    ),
    by_scenario(
        "holes_not_mended",
        "what was read back as faulty is never fetched",
        "rotted_entry_mended",
        Patch(core_recovery, "ask_for_help", nothing),
    ),
    by_scenario(
        "acknowledges_while_recovering",
        "a replica that has lost its tail goes on as a backup",
        "rotted_synced_tail",
        Patch(core_recovery, "choose_status", _choose_status_as_if_whole),
    ),
    by_scenario(
        "mended_with_anything",
        "a hole is asked for, and filled, by op number, not by identity",
        "other_entry_for_a_hole",
        Patch(repair, "_servable", _serve_by_number),
        Patch(core_recovery, "mend", _mend_with_anything),
    ),
    mutant("synced_tail_cut", "a rotted frame is taken for a torn one", 300, Patch(recovery, "is_torn", _tail_cut)),
    mutant(
        "recovered_not_synced",
        "recovery trusts the page cache",
        60,
        Patch(log_opening, "_settle_tail", nothing),
        bend=rotten_tails,
    ),
    mutant(
        "torn_tail_not_cleared",
        "frames behind a cut may come back",
        300,
        Patch(log_opening, "_settle_tail", _clear_nothing),
        bend=torn_tails,
    ),
    mutant(
        "page_astray_believed",
        "a frame that was written to another place is taken for one",
        100,
        Patch(segment, "_in_place", lambda _: lambda description, _start: description),
        bend=full_disks,
    ),
    mutant(
        "full_primary_takes_forwards",
        "a primary whose disk is nearly full goes on taking requests",
        50,
        Patch(forwarding, "is_short_of_space", always(False)),
        bend=full_disks,
    ),
    mutant(
        "full_disk_stays_shut",
        "who refused for want of space refuses for ever",
        50,
        Patch(Replica, "note_space", _never_freed),
        bend=full_disks,
    ),
)
"""Each must die within its budget."""
