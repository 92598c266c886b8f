"""Mutants of what changing the members rests on. See vr.simulator.mutants."""

from __future__ import annotations

import msgspec

from vr import normal, reconfiguration, recovery, replica
from vr.configuration import Configuration
from vr.messages import NewEpoch, Prepare
from vr.ready import Checkpoint, EpochEnd
from vr.simulator.mutation import Mutant, Patch, Rule, always, mutant, nothing
from vr.simulator.worlds import divided_epochs, often_other_members
from vr.state import ReplicaState, Status
from vr.types import OpNumber, ReplicaIndex


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


def _ends_when_prepared(original: Rule) -> Rule:
    def on_prepare(state: ReplicaState, message: Prepare) -> None:
        original(state, message)
        if normal.is_stopped(state):
            state.raise_commit(state.head_op)
            normal.apply_committed(state)

    return on_prepare


def _goes_on_when_over(original: Rule) -> Rule:
    def note_epoch_end(state: ReplicaState, end: EpochEnd) -> None:
        status = state.status
        original(state, end)
        if state.status is Status.RETIRED:
            state.status = status

    return note_epoch_end


def _stops_until_committed(original: Rule) -> Rule:
    def is_stopped(state: ReplicaState) -> bool:
        return state.applied_op < state.head_op and original(state)

    return is_stopped


def _stop_sign_by_number(original: Rule) -> Rule:
    def on_new_epoch(state: ReplicaState, message: NewEpoch, source: ReplicaIndex) -> None:
        checksum = state.log.checksum(message.op)
        if checksum is not None:
            message = msgspec.structs.replace(message, checksum=checksum)
        original(state, message, source)

    return on_new_epoch


def _checkpoint_without_epochs(original: Rule) -> Rule:
    def take_checkpoint(state: ReplicaState) -> Checkpoint:
        checkpoint: Checkpoint = original(state)
        return msgspec.structs.replace(checkpoint, epochs=())

    return take_checkpoint


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
    mutant(
        "old_epoch_goes_on",
        "who has executed the stop sign goes on in the epoch that is over",
        20,
        Patch(normal, "note_epoch_end", _goes_on_when_over),
        Patch(normal, "is_stopped", _stops_until_committed),
        bend=divided_epochs,
    ),
    mutant(
        "standby_votes",
        "standbys are members",
        20,
        Patch(Configuration, "is_member", always(True)),
        bend=divided_epochs,
    ),
    mutant(
        "epoch_ends_when_prepared",
        "a backup begins the next epoch when the stop sign comes in, not when it is committed",
        20,
        Patch(normal, "on_prepare", _ends_when_prepared),
        bend=divided_epochs,
    ),
    mutant(
        "stop_sign_by_number",
        "a laggard takes what it has at the stop sign's place for the stop sign",
        400,
        Patch(reconfiguration, "on_new_epoch", _stop_sign_by_number),
        bend=divided_epochs,
    ),
    mutant(
        "gate_open",
        "the office goes to members of whom most are far behind",
        100,
        Patch(reconfiguration, "gate", always(True)),
        bend=divided_epochs,
    ),
    mutant(
        "laggards_left_behind",
        "nobody tells a laggard how its epoch ended",
        60,
        Patch(reconfiguration, "tell_epoch", nothing),
        bend=divided_epochs,
    ),
    mutant(
        "epochs_not_in_snapshots",
        "a snapshot does not say which epochs ended before it",
        60,
        Patch(replica, "take_checkpoint", _checkpoint_without_epochs),
        bend=divided_epochs,
    ),
)
"""Each must die within its budget."""
