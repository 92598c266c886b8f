"""The mutants: each breaks one rule that safety or liveness rests on, in the core or in its log.

A rule is a small function; its mutant is that function, wrong. `seeds_max` is the stated budget, several times the seeds
it took when it was set. Names of rules that the core splits off (`durability.durable_state`) are patched where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from vr import durability, nacks, normal, repair, replica, view_change
from vr import recovery as core_recovery
from vr.configuration import Configuration
from vr.log import Entry
from vr.messages import DoViewChange, Prepare, PrepareOk, StartView, decode
from vr.ready import DurableState
from vr.simulator.client_mutants import CLIENT_MUTANTS, CLIENT_UNKILLED
from vr.simulator.mutation import Mutant, Patch, Rule
from vr.simulator.mutation import always as _always
from vr.simulator.mutation import mutant as _mutant
from vr.simulator.mutation import nothing as _nothing
from vr.simulator.snapshot_mutants import SNAPSHOT_MUTANTS, SNAPSHOT_UNKILLED
from vr.state import Install, Peer, ReplicaState, Status
from vr.storage import log_opening, recovery
from vr.types import OpNumber

# --- normal operation ---


def _quorum_minority(_: Rule) -> Rule:
    def quorum_op(state: ReplicaState) -> OpNumber:
        durable = [state.durable_op, *(peer.match_op for peer in state.peers.values())]
        return sorted(durable, reverse=True)[max(0, state.configuration.quorum - 2)]

    return quorum_op


def _self_vote_undurable(_: Rule) -> Rule:
    def quorum_op(state: ReplicaState) -> OpNumber:
        durable = [state.head_op, *(peer.match_op for peer in state.peers.values())]
        return sorted(durable, reverse=True)[state.configuration.quorum - 1]

    return quorum_op


def _durable_when_written(original: Rule) -> Rule:
    def take_write(state: ReplicaState) -> object:
        taken = original(state)
        if not state.is_primary:
            state.durable_op = state.head_op
        return taken

    return take_write


def _acknowledgements_not_distinct(original: Rule) -> Rule:
    def on_prepare_ok(state: ReplicaState, message: PrepareOk) -> None:
        original(state, message)
        counts = state.__dict__.setdefault("_mutant_acks", {})
        key = (message.view, message.op)
        counts[key] = counts.get(key, 1) + 1
        right = state.is_serving and message.view == state.view and message.op <= state.head_op
        if right and counts[key] >= state.configuration.quorum:
            state.raise_commit(message.op)
            normal.apply_committed(state)

    return on_prepare_ok


def _old_view_prepare(original: Rule) -> Rule:
    def step_normal(state: ReplicaState, message: Any) -> None:
        if isinstance(message, Prepare) and message.view < state.view and state.status is Status.NORMAL:
            message = msgspec.structs.replace(message, view=state.view, replica=state.primary)
        original(state, message)

    return step_normal


def _tell_head_as_commit(original: Rule) -> Rule:
    def tell_commit(state: ReplicaState) -> None:
        commit = state.commit_number
        state.commit_number = state.head_op
        original(state)
        state.commit_number = commit

    return tell_commit


def _clock_straight(original: Rule) -> Rule:
    def make_entry(**fields: Any) -> Entry:
        fields["timestamp_us"] -= fields["timestamp_us"] % 1_000_000
        entry: Entry = original(**fields)
        return entry

    return make_entry


# --- view change ---


def _view_quorum_minority(_: Rule) -> Rule:
    def is_view_change_quorum(configuration: Configuration, own: int, voters: Sequence[int]) -> bool:
        return own in voters and len(set(voters)) >= configuration.quorum - 1

    return is_view_change_quorum


def _votes_not_distinct(original: Rule) -> Rule:
    def collect(state: ReplicaState, message: DoViewChange) -> None:
        votes = state.__dict__.setdefault("_mutant_votes", {})
        votes[message.view] = votes.get(message.view, 0) + 1
        original(state, message)
        undecided = state.install is None and state.status is Status.VIEW_CHANGE
        if undecided and state.index in state.do_view_changes and votes[message.view] >= state.configuration.quorum:
            chosen = nacks.by_completeness(state.do_view_changes.values())[0]
            view_change.begin_install(state, chosen, list(state.others), known_commit=chosen.commit)
            view_change.finish_install(state)

    return collect


def _choose_by(key: Callable[[DoViewChange], Any]) -> Callable[[Rule], Rule]:
    return lambda _: lambda messages: sorted(messages, key=key, reverse=True)


def _one_nack_less(_: Rule) -> Rule:
    return lambda configuration, found: len(found) >= configuration.nack_quorum - 1


def _drop_uncommitted(original: Rule) -> Rule:
    def choose(configuration: Configuration, votes: Any) -> object:
        chosen = original(configuration, votes)
        if not isinstance(chosen, DoViewChange):
            return chosen
        return msgspec.structs.replace(chosen, head_op=chosen.commit, headers=b"")

    return choose


def _vote_of_other_view(original: Rule) -> Rule:
    def on_do_view_change(state: ReplicaState, message: DoViewChange) -> None:
        if message.view < state.view and state.status is Status.VIEW_CHANGE and state.primary == state.index:
            message = msgspec.structs.replace(message, view=state.view)
        original(state, message)

    return on_do_view_change


def _vote_before_durable(original: Rule) -> Rule:
    def enter_view_change(state: ReplicaState, view: Any) -> None:
        original(state, view)
        message = decode(state.frozen_do_view_change or b"")
        state.broadcast(message)

    return enter_view_change


def _leave_alone(original: Rule) -> Rule:
    def count_vote(state: ReplicaState, view: Any, voter: Any) -> None:
        original(state, view, voter)
        if voter == state.index and view > state.voted_view:
            view_change.enter_view_change(state, view)

    return count_vote


def _keep_match_over_views(original: Rule) -> Rule:
    def enter_normal(state: ReplicaState, install: Install) -> None:
        kept = {other: peer.match_op for other, peer in state.peers.items()}
        original(state, install)
        for other, peer in state.peers.items():
            state.peers[other] = Peer(match_op=kept[other], suspected=peer.suspected)

    return enter_normal


def _old_start_view(original: Rule) -> Rule:
    def on_start_view(state: ReplicaState, message: StartView) -> None:
        if message.view < state.view and state.status is Status.VIEW_CHANGE and message.view > state.log_view:
            state.view = message.view
        original(state, message)

    return on_start_view


def _reinstall_start_view(original: Rule) -> Rule:
    def on_start_view(state: ReplicaState, message: StartView) -> None:
        again = message.view == state.view == state.log_view and state.status is Status.NORMAL
        if again and message.replica == state.primary:
            view_change._adopt(state, message)  # noqa: SLF001 - a mutant is made of the core's insides
        else:
            original(state, message)

    return on_start_view


def _stale_start_view_while_recovering(original: Rule) -> Rule:
    def on_start_view(state: ReplicaState, message: StartView) -> None:
        original(state, msgspec.structs.replace(message, nonce=state.nonce))

    return on_start_view


def _truncate_on_later_view(original: Rule) -> Rule:
    def ask_view(state: ReplicaState, other: Any) -> None:
        floor = OpNumber(max(min(state.commit_number, state.head_op), state.log.base_op))
        if state.status is Status.NORMAL and floor < state.head_op:
            state.log.truncate_above(floor)
            state.forget_writes_above(floor)
            state.truncate_above = floor
            state.early.clear()
        original(state, other)

    return ask_view


# --- durability and restart ---


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


def _tick_without_vote(original: Rule) -> Rule:
    def tick(state: ReplicaState) -> None:
        if state.status is not Status.VIEW_CHANGE:
            original(state)

    return tick


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


def _floor_is_local(_: Rule) -> Rule:
    def learn_commit_floor(state: ReplicaState) -> None:
        state.raise_commit(OpNumber(max(state.head_op - 1, 0)))
        normal.apply_committed(state)

    return learn_commit_floor


def _unclosed_chain(_: Rule) -> Rule:
    return lambda state, install: not repair.missing_ops(install)


def _own_log_is_right(_: Rule) -> Rule:
    def trusted_prefix(state: ReplicaState, install: Install) -> OpNumber:
        return OpNumber(min(state.head_op, install.head_op))

    return trusted_prefix


def _serve_anything(_: Rule) -> Rule:
    return lambda state, _message, op, _checksum: state.log.get(op)


def _tail_cut(_: Rule) -> Rule:
    def is_torn(*, first_missing: int, frame: Any, synced_lsn: int) -> bool:
        return first_missing < frame.header.lsn or bool(frame.rotten)

    return is_torn


def _clear_nothing(original: Rule) -> Rule:
    def settle_tail(segments: Any, settled: Any) -> None:
        settled.must_clear = False
        original(segments, settled)

    return settle_tail


def _by_scenario(name: str, breaks: str, scenario: str, *patches: Patch) -> Mutant:
    return Mutant(name=name, breaks=breaks, seeds_max=1, patches=patches, scenario=scenario)


MUTANTS: tuple[Mutant, ...] = (
    _mutant("commit_quorum_f", "an op is committed on f disks", 20, Patch(normal, "quorum_op", _quorum_minority)),
    _mutant(
        "self_vote_undurable",
        "the primary counts itself before its own sync",
        50,
        Patch(normal, "quorum_op", _self_vote_undurable),
    ),
    _mutant(
        "acknowledge_before_sync",
        "a backup acknowledges what is only written",
        20,
        Patch(replica, "take_write", _durable_when_written),
    ),
    _mutant(
        "acknowledgements_not_distinct",
        "one backup's acknowledgement counts twice",
        200,
        Patch(normal, "on_prepare_ok", _acknowledgements_not_distinct),
    ),
    _mutant(
        "old_view_prepare", "a Prepare of an old view is taken", 400, Patch(replica, "_step_normal", _old_view_prepare)
    ),
    _mutant(
        "pipeline_unbounded",
        "more ops in flight than the group's constant",
        50,
        Patch(normal, "has_room", _always(True)),
    ),
    _mutant("head_told_as_commit", "Commit names the head", 20, Patch(normal, "tell_commit", _tell_head_as_commit)),
    _mutant("clock_straight", "timestamps are the wall clock's", 20, Patch(normal, "make_entry", _clock_straight)),
    _mutant(
        "view_change_quorum_f",
        "a view starts on f votes",
        300,
        Patch(view_change, "is_view_change_quorum", _view_quorum_minority),
        Patch(nacks, "is_last_log_view", _always(True)),
        Patch(nacks, "is_end", _always(True)),
    ),
    _mutant(
        "votes_not_distinct", "one DoViewChange counts twice", 400, Patch(view_change, "collect", _votes_not_distinct)
    ),
    _mutant(
        "choose_by_log_view",
        "the newest log view wins, the shortest of them",
        300,
        Patch(nacks, "candidate_logs", _choose_by(lambda vote: (vote.log_view, -vote.head_op))),
        Patch(nacks, "is_end", _always(True)),
    ),
    _mutant(
        "drop_uncommitted",
        "the new view keeps only what is known committed",
        100,
        Patch(view_change, "choose_log", _drop_uncommitted),
    ),
    _mutant(
        "vote_before_durable",
        "DoViewChange leaves before its view is durable",
        20,
        Patch(view_change, "enter_view_change", _vote_before_durable),
    ),
    _mutant("old_start_view", "an old StartView is taken", 300, Patch(view_change, "on_start_view", _old_start_view)),
    _mutant(
        "reinstall_start_view",
        "a StartView is installed twice",
        50,
        Patch(view_change, "on_start_view", _reinstall_start_view),
    ),
    _mutant(
        "truncate_on_later_view",
        "VRR 5.2: truncate to the commit number on hearing of a later view",
        300,
        Patch(view_change, "ask_view", _truncate_on_later_view),
    ),
    _mutant(
        "view_not_persisted",
        "the view is not written",
        20,
        Patch(durability, "durable_state", _with_state(view=lambda _, right: right.log_view)),
    ),
    _mutant(
        "log_view_not_persisted",
        "the log view is not written",
        50,
        Patch(
            durability,
            "durable_state",
            _with_state(log_view=lambda state, right: right.log_view if state.saved is None else state.saved.log_view),
        ),
    ),
    _mutant(
        "truncation_not_persisted",
        "a replaced tail stays on the disk",
        1500,
        Patch(durability, "durable_state", _with_state(truncate_above=lambda _state, _right: None)),
    ),
    _mutant(
        "promises_not_shrunk",
        "a write under way still counts after its entries were replaced",
        50,
        Patch(ReplicaState, "forget_writes_above", _nothing),
    ),
    _mutant(
        "primary_resumes",
        "a restarted primary goes on in its view",
        50,
        Patch(core_recovery, "choose_status", _choose_status_resuming),
    ),
    _mutant(
        "corrupt_entry_nacked",
        "a lost tail is taken for one that never was",
        300,
        Patch(core_recovery, "restore_entries", _damage_denied),
    ),
    _mutant(
        "uncertain_votes_vouch",
        "whoever lost its tail vouches for a log",
        2000,
        Patch(nacks, "is_end", _always(True)),
    ),
    _mutant(
        "corrupt_tail_nacked",
        "a vote nacks what its disk has lost",
        2000,
        Patch(view_change, "nacks_above", lambda _: lambda state: state.head_op),
    ),
    _mutant("too_few_nacks", "a log is cut with one nack too few", 2000, Patch(nacks, "enough_nacks", _one_nack_less)),
    _mutant(
        "pipeline_depth_local",
        "a depth that is not the group's bounds what is committed",
        50,
        Patch(view_change, "learn_commit_floor", _floor_is_local),
    ),
    _mutant(
        "suspicion_ignored",
        "nobody leaves a primary that is dead",
        200,
        Patch(view_change, "wants_to_leave", _always(False)),
    ),
    _mutant(
        "own_log_is_right",
        "a new view keeps what the own log has",
        300,
        Patch(view_change, "trusted_prefix", _own_log_is_right),
    ),
    _mutant("synced_tail_cut", "a rotted frame is taken for a torn one", 300, Patch(recovery, "is_torn", _tail_cut)),
    _mutant(
        "recovered_not_synced",
        "recovery trusts the page cache",
        100,
        Patch(log_opening, "_settle_tail", _nothing),
    ),
    *CLIENT_MUTANTS,
    *SNAPSHOT_MUTANTS,
)
"""Each must die within its budget."""

BY_SCENARIO: tuple[Mutant, ...] = (
    _by_scenario(
        "choose_by_op",
        "the longest log wins, whatever its view",
        "longest_log_of_an_old_view",
        Patch(nacks, "candidate_logs", _choose_by(lambda vote: vote.head_op)),
        Patch(nacks, "is_last_log_view", _always(True)),
        Patch(nacks, "is_end", _always(True)),
    ),
    _by_scenario(
        "vote_of_other_view",
        "a DoViewChange of an older view counts",
        "late_vote_of_an_old_view",
        Patch(view_change, "on_do_view_change", _vote_of_other_view),
    ),
    _by_scenario(
        "stale_start_view_while_recovering",
        "whoever forgot its tail believes an old StartView",
        "late_start_view_while_recovering",
        Patch(view_change, "on_start_view", _stale_start_view_while_recovering),
    ),
    _by_scenario(
        "head_certainty_not_persisted",
        "a damaged tail that is being replaced is forgotten in a crash",
        "lost_tail_twice",
        Patch(durability, "is_head_certain", _always(True)),
    ),
    _by_scenario(
        "one_vote_is_enough",
        "whoever takes the primary for dead leaves alone",
        "deaf_replica",
        Patch(view_change, "count_vote", _leave_alone),
    ),
    _by_scenario(
        "holes_not_mended",
        "what was read back as faulty is never fetched",
        "rotted_entry_mended",
        Patch(core_recovery, "ask_for_help", _nothing),
    ),
    _by_scenario(
        "vote_not_sent_again",
        "a lost DoViewChange is not repeated",
        "straggler_one_view_ahead",
        Patch(replica, "_tick", _tick_without_vote),
    ),
    _by_scenario(
        "acknowledges_while_recovering",
        "a replica that has lost its tail goes on as a backup",
        "rotted_synced_tail",
        Patch(core_recovery, "choose_status", _choose_status_as_if_whole),
    ),
)
"""Seeds hardly ever meet these; a scenario of tests/scenarios/vr shows each at once."""

UNKILLED: tuple[Mutant, ...] = (
    _mutant(
        "start_of_view_unseen",
        "who missed a view nacks also what is older than it",
        2000,
        Patch(nacks, "shows_start_of_view", _always(True)),
    ),
    *CLIENT_UNKILLED,
    *SNAPSHOT_UNKILLED,
    _mutant(
        "match_kept_over_views",
        "acknowledgements of an old view count in the new one",
        200,
        Patch(view_change, "_enter_normal", _keep_match_over_views),
    ),
    _mutant(
        "fetched_run_unproven",
        "any entry is given as committed, and the run is not closed by its checksum",
        2000,
        Patch(view_change, "is_complete", _unclosed_chain),
        Patch(repair, "_servable", _serve_anything),
    ),
    _mutant(
        "mended_with_anything",
        "a hole is filled by op number, not by identity",
        3000,
        Patch(core_recovery, "mend", _mend_with_anything),
    ),
    _mutant(
        "torn_tail_not_cleared",
        "frames behind a cut may come back",
        2000,
        Patch(log_opening, "_settle_tail", _clear_nothing),
    ),
)
"""Hunted for 200 to 1,500 seeds and still alive: either another rule covers for the broken one, or it takes rarer luck.

Nothing requires them to die; `--mutants --only NAME` hunts one. Whoever kills one moves it up.
"""
