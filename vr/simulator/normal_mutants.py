"""Mutants of normal operation: quorums, acknowledgements, the pipeline. See `vr.simulator.mutants`."""

from __future__ import annotations

from typing import Any

import msgspec

from vr import normal, replica
from vr.log import Entry
from vr.messages import Prepare, PrepareOk
from vr.simulator.mutation import Mutant, Patch, Rule, always, by_scenario, mutant
from vr.state import ReplicaState, Status
from vr.types import OpNumber


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


NORMAL_MUTANTS: tuple[Mutant, ...] = (
    mutant("commit_quorum_f", "an op is committed on f disks", 20, Patch(normal, "quorum_op", _quorum_minority)),
    mutant(
        "self_vote_undurable",
        "the primary counts itself before its own sync",
        50,
        Patch(normal, "quorum_op", _self_vote_undurable),
    ),
    mutant(
        "acknowledge_before_sync",
        "a backup acknowledges what is only written",
        20,
        Patch(replica, "take_write", _durable_when_written),
    ),
    mutant(
        "acknowledgements_not_distinct",
        "one backup's acknowledgement counts twice",
        200,
        Patch(normal, "on_prepare_ok", _acknowledgements_not_distinct),
    ),
    by_scenario(
        "old_view_prepare",
        "a Prepare of an old view is taken",
        "late_prepare_of_an_old_view",
        Patch(replica, "_step_normal", _old_view_prepare),
    ),
    mutant(
        "pipeline_unbounded",
        "more ops in flight than the group's constant",
        50,
        Patch(normal, "has_room", always(True)),
    ),
    mutant("head_told_as_commit", "Commit names the head", 20, Patch(normal, "tell_commit", _tell_head_as_commit)),
    mutant("clock_straight", "timestamps are the wall clock's", 20, Patch(normal, "make_entry", _clock_straight)),
)
"""Each must die within its budget."""
