"""Mutants of what changing the members rests on. See vr.simulator.mutants."""

from __future__ import annotations

from vr import normal, reconfiguration, recovery
from vr.simulator.mutation import Mutant, Patch, Rule, always, mutant, nothing
from vr.simulator.worlds import often_other_members
from vr.state import ReplicaState
from vr.types import OpNumber


def _everybody_counts(_: Rule) -> Rule:
    def quorum_op(state: ReplicaState) -> OpNumber:
        durable = [state.durable_op, *(peer.match_op for peer in state.peers.values())]
        return sorted(durable, reverse=True)[state.configuration.quorum - 1]

    return quorum_op


def _end_before_it_is_durable(_: Rule) -> Rule:
    def take_end(state: ReplicaState) -> None:
        if state.ended is not None and not state.is_end_told:
            state.is_end_told = True
            state.effects.epoch_end = state.ended

    return take_end


def _begin_with_a_damaged_log(original: Rule) -> Rule:
    def begin_epoch(state: ReplicaState, saved: object, *, is_whole: bool) -> None:
        original(state, saved, is_whole=True)

    return begin_epoch


EPOCH_MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "standby_counts",
        "acknowledgements of standbys count for a quorum",
        60,
        Patch(normal, "quorum_op", _everybody_counts),
        bend=often_other_members,
    ),
    mutant(
        "stop_sign_passed",
        "operations follow the stop sign of their epoch",
        60,
        Patch(normal, "is_stopped", always(value=False)),
        bend=often_other_members,
    ),
    mutant(
        "epoch_without_its_log",
        "a replica votes in the next epoch before everything through the stop sign is durable there",
        200,
        Patch(reconfiguration, "take_end", _end_before_it_is_durable),
        bend=often_other_members,
    ),
    mutant(
        "stop_sign_ignored",
        "who executes a stop sign goes on in its epoch",
        60,
        Patch(normal, "note_epoch_end", nothing),
        bend=often_other_members,
    ),
    mutant(
        "epoch_on_a_damaged_log",
        "a restart at the beginning of an epoch takes a damaged log for a whole one",
        2000,
        Patch(recovery, "begin_epoch", _begin_with_a_damaged_log),
        bend=often_other_members,
    ),
)
