"""Mutants of the view change and of the log that it puts together. See `vr.simulator.mutants`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from vr import nacks, normal, repair, replica, view_change
from vr.configuration import Configuration
from vr.log import Entry
from vr.messages import DoViewChange, StartView, decode
from vr.simulator.mutation import Mutant, Patch, Rule, always, by_scenario, mutant
from vr.simulator.worlds import late_replay, rotten_tails
from vr.state import Install, Peer, ReplicaState, Status
from vr.types import OpNumber


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
            view_change.adopt(state, message)
        else:
            original(state, message)

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


def _floor_is_local(_: Rule) -> Rule:
    def learn_commit_floor(state: ReplicaState) -> None:
        state.raise_commit(OpNumber(max(state.head_op - 1, 0)))
        normal.apply_committed(state)

    return learn_commit_floor


def _take_anything(_: Rule) -> Rule:
    def take_body(_state: ReplicaState, install: Install, entry: Entry, _commit: OpNumber) -> bool:
        is_new = install.keep_op < entry.op <= install.head_op and entry.op not in install.bodies
        if is_new:
            install.bodies[entry.op] = entry
        return is_new

    return take_body


def _unclosed_chain(_: Rule) -> Rule:
    return lambda state, install: not repair.missing_ops(install)


def _own_log_is_right(_: Rule) -> Rule:
    def trusted_prefix(state: ReplicaState, install: Install) -> OpNumber:
        return OpNumber(min(state.head_op, install.head_op))

    return trusted_prefix


def _serve_anything(_: Rule) -> Rule:
    return lambda state, _message, op, _checksum: state.log.get(op)


def _tick_without_vote(original: Rule) -> Rule:
    def tick(state: ReplicaState) -> None:
        if state.status is not Status.VIEW_CHANGE:
            original(state)

    return tick


VIEW_CHANGE_MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "view_change_quorum_f",
        "a view starts on f votes",
        80,
        Patch(view_change, "is_view_change_quorum", _view_quorum_minority),
        Patch(nacks, "is_last_log_view", always(True)),
        Patch(nacks, "is_end", always(True)),
        bend=rotten_tails,
    ),
    mutant(
        "votes_not_distinct",
        "one DoViewChange counts twice",
        50,
        Patch(view_change, "collect", _votes_not_distinct),
        bend=rotten_tails,
    ),
    mutant(
        "choose_by_log_view",
        "the newest log view wins, the shortest of them",
        300,
        Patch(nacks, "candidate_logs", _choose_by(lambda vote: (vote.log_view, -vote.head_op))),
        Patch(nacks, "is_end", always(True)),
    ),
    by_scenario(
        "choose_by_op",
        "the longest log wins, whatever its view",
        "longest_log_of_an_old_view",
        Patch(nacks, "candidate_logs", _choose_by(lambda vote: vote.head_op)),
        Patch(nacks, "is_last_log_view", always(True)),
        Patch(nacks, "is_end", always(True)),
    ),
    mutant(
        "drop_uncommitted",
        "the new view keeps only what is known committed",
        100,
        Patch(view_change, "choose_log", _drop_uncommitted),
    ),
    mutant(
        "vote_before_durable",
        "DoViewChange leaves before its view is durable",
        20,
        Patch(view_change, "enter_view_change", _vote_before_durable),
    ),
    by_scenario(
        "vote_of_other_view",
        "a DoViewChange of an older view counts",
        "late_vote_of_an_old_view",
        Patch(view_change, "on_do_view_change", _vote_of_other_view),
    ),
    by_scenario(
        "vote_not_sent_again",
        "a lost DoViewChange is not repeated",
        "straggler_one_view_ahead",
        Patch(replica, "_tick", _tick_without_vote),
    ),
    by_scenario(
        "one_vote_is_enough",
        "whoever takes the primary for dead leaves alone",
        "deaf_replica",
        Patch(view_change, "count_vote", _leave_alone),
    ),
    mutant("old_start_view", "an old StartView is taken", 300, Patch(view_change, "on_start_view", _old_start_view)),
    mutant(
        "reinstall_start_view",
        "a StartView is installed twice",
        50,
        Patch(view_change, "on_start_view", _reinstall_start_view),
    ),
    mutant(
        "truncate_on_later_view",
        "VRR 5.2: truncate to the commit number on hearing of a later view",
        150,
        Patch(view_change, "ask_view", _truncate_on_later_view),
        bend=late_replay,
    ),
    mutant(
        "pipeline_depth_local",
        "a depth that is not the group's bounds what is committed",
        50,
        Patch(view_change, "learn_commit_floor", _floor_is_local),
    ),
    mutant(
        "suspicion_ignored",
        "nobody leaves a primary that is dead",
        60,
        Patch(view_change, "wants_to_leave", always(False)),
        bend=late_replay,
    ),
    mutant(
        "own_log_is_right",
        "a new view keeps what the own log has",
        300,
        Patch(view_change, "trusted_prefix", _own_log_is_right),
    ),
    mutant(
        "match_kept_over_views",
        "acknowledgements of an old view count in the new one",
        50,
        Patch(view_change, "_enter_normal", _keep_match_over_views),
    ),
    by_scenario(
        "fetched_run_unproven",
        "any entry is given as committed, and the run is not closed by its checksum",
        "uncommitted_entry_for_a_committed_one",
        Patch(view_change, "is_complete", _unclosed_chain),
        Patch(repair, "_servable", _serve_anything),
        Patch(repair, "_take_body", _take_anything),
    ),
)
"""Each must die within its budget."""
