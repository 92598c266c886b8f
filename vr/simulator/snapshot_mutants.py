"""Mutants of snapshots and their transfer; see `vr.simulator.mutants`."""

from __future__ import annotations

from collections.abc import Sequence

from vr import state_transfer
from vr.log import Log
from vr.messages import PrepareOk, SnapshotOffer
from vr.ready import Checkpoint
from vr.simulator.mutation import Mutant, Patch, Rule, always, mutant, nothing
from vr.simulator.worlds import deposed_with_a_tail, interrupted_transfers
from vr.state import ReplicaState, Status, Transfer
from vr.types import OpNumber


def _acknowledge_offer(original: Rule) -> Rule:
    def on_offer(state: ReplicaState, message: SnapshotOffer) -> None:
        original(state, message)
        if state.transfer is not None and state.status is Status.NORMAL:
            acknowledgement = PrepareOk(
                view=state.view, replica=state.index, op=message.op, checksum=message.checksum, commit=OpNumber(0)
            )
            state.send(message.replica, acknowledgement)

    return on_offer


def _anchor_stays(original: Rule) -> Rule:
    def replace_log(state: ReplicaState, checkpoint: Checkpoint) -> None:
        parent = state.log.head_checksum
        original(state, checkpoint)
        state.log = Log(checkpoint.op, parent)

    return replace_log


def _begin_undurable(original: Rule) -> Rule:
    def hand_over(state: ReplicaState, transfer: Transfer) -> None:
        original(state, transfer)
        while state.effects.snapshots:
            state_transfer.on_saved(state, state.effects.snapshots.pop())

    return hand_over


def _order_believed(original: Rule) -> Rule:
    def begin_transfer(state: ReplicaState, offer: SnapshotOffer, known: Sequence[bytes]) -> Transfer:
        transfer: Transfer = original(state, offer, known)
        for number, data in enumerate(known):
            transfer.chunks.setdefault(number, data)
        return transfer

    return begin_transfer


def _conflict_kept(original: Rule) -> Rule:
    def replace_log(state: ReplicaState, checkpoint: Checkpoint) -> None:
        if state.head_op < checkpoint.op:
            original(state, checkpoint)
        else:
            state.log.trim(checkpoint.op)

    return replace_log


SNAPSHOT_MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "acknowledged_while_syncing",
        "a snapshot counts as durable when it is offered",
        60,
        Patch(state_transfer, "on_offer", _acknowledge_offer),
    ),
    mutant(
        "snapshot_not_durable",
        "a replica begins from a snapshot that is not on its disk",
        60,
        Patch(state_transfer, "_hand_over", _begin_undurable),
    ),
    mutant(
        "chunk_unproven",
        "a chunk is taken whatever its hash",
        100,
        Patch(state_transfer, "is_sound", always(True)),
    ),
    mutant(
        "partial_snapshot",
        "a snapshot is used before its last chunk",
        60,
        Patch(state_transfer, "is_whole", always(True)),
    ),
    mutant(
        "parent_not_anchored",
        "the log goes on from its old head's checksum",
        60,
        Patch(state_transfer, "replace_log", _anchor_stays),
    ),
    mutant(
        "sessions_not_restored",
        "a snapshot brings the service and not the sessions",
        60,
        Patch(state_transfer, "restore_sessions", nothing),
    ),
    mutant(
        "parts_forgotten",
        "a restart fetches a snapshot anew from its first chunk",
        30,
        Patch(state_transfer, "resume", nothing),
        bend=interrupted_transfers,
    ),
    mutant(
        "part_unproven",
        "what a restart finds of a snapshot is taken whatever it has become",
        300,
        Patch(state_transfer, "begin_transfer", _order_believed),
        bend=interrupted_transfers,
    ),
    mutant(
        "conflict_kept",
        "what conflicts with a snapshot stays above it",
        100,
        Patch(state_transfer, "replace_log", _conflict_kept),
        bend=deposed_with_a_tail,
    ),
)
"""Each must die within its budget."""
