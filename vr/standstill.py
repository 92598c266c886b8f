"""Why a replica does not get on: one sentence for people, one word for machines."""

from __future__ import annotations

from enum import Enum
from typing import assert_never

import msgspec

from vr.nacks import Undecided
from vr.state import ReplicaState, Status


class StandstillReason(Enum):
    """What is missing. The values are for logs and metrics."""

    DIVERGED = "diverged"
    NO_MAJORITY = "no_majority"
    DAMAGED_LOG = "damaged_log"
    FETCHING = "fetching"
    UNDECIDED = "undecided"
    VIEW_CHANGE = "view_change"
    DISK_STALL = "disk_stall"
    NO_ACKNOWLEDGEMENTS = "no_acknowledgements"
    PRIMARY_SILENT = "primary_silent"
    RETIRED = "retired"


class Standstill(msgspec.Struct, frozen=True, kw_only=True):
    """A reason and its sentence."""

    reason: StandstillReason
    sentence: str


def why_not_progressing(state: ReplicaState) -> Standstill | None:
    """What keeps this replica from executing new requests, as far as it can tell; None when all is well."""
    if state.divergence is not None:
        where = state.divergence
        return _standstill(
            StandstillReason.DIVERGED,
            f"after operation {where.op} the state here was another than at replica {where.other}: one of them is wrong",
        )
    if state.status is Status.RETIRED:
        return _standstill(StandstillReason.RETIRED, "this replica's epoch is over: others replicate the group now")
    suspected = [other for other in state.other_members if state.peers[other].suspected]
    alive = state.configuration.size - len(suspected)
    if alive < state.configuration.quorum:
        return _standstill(
            StandstillReason.NO_MAJORITY,
            f"{alive} of {state.configuration.size} replicas are up; {state.configuration.quorum} are needed",
        )
    match state.status:
        case Status.RECOVERING_HEAD:
            return _why_damaged(state)
        case Status.VIEW_CHANGE:
            return _why_between_views(state)
        case Status.NORMAL:
            return _why_slow(state)
        case _:
            assert_never(state.status)


def _standstill(reason: StandstillReason, sentence: str) -> Standstill:
    return Standstill(reason=reason, sentence=sentence)


def _why_damaged(state: ReplicaState) -> Standstill:
    if state.damage is not None:
        sentence = f"{len(state.damage.missing)} damaged operations of this replica's log are being fetched"
    else:
        sentence = "this replica's log is damaged; it waits for a primary to tell it the current log"
    return _standstill(StandstillReason.DAMAGED_LOG, sentence)


def _why_between_views(state: ReplicaState) -> Standstill:
    if state.install is not None:
        missing = state.install.head_op - state.install.keep_op
        return _standstill(StandstillReason.FETCHING, f"{missing} operations of the new view are being fetched")
    if state.undecided is not None:
        return _standstill(StandstillReason.UNDECIDED, _why_undecided(state.undecided))
    return _standstill(StandstillReason.VIEW_CHANGE, f"waiting for a majority to enter view {state.view}")


def _why_undecided(undecided: Undecided) -> str:
    needed = f"{undecided.nacks} of {undecided.needed} replicas deny operation {undecided.op}, which may be committed"
    if undecided.is_final:
        return f"{needed}, and the other disks have lost it: restore one of them"
    return f"{needed}; waiting for replica {', '.join(map(str, undecided.missing))}"


def _why_slow(state: ReplicaState) -> Standstill | None:
    since = state.now - state.options.patience_s
    if state.promises and state.promises[0].asked_at <= since:
        waited_s = state.now - state.promises[0].asked_at
        return _standstill(
            StandstillReason.DISK_STALL, f"a write to this replica's disk has taken {waited_s:.0f} s so far"
        )
    if state.head_op > state.commit_number and state.progress_at <= since:
        return _standstill(StandstillReason.NO_ACKNOWLEDGEMENTS, "operations wait for acknowledgement by a majority")
    if not state.is_primary and state.peers[state.primary].suspected:
        return _standstill(
            StandstillReason.PRIMARY_SILENT,
            f"the primary, replica {state.primary}, is silent; the others still follow it",
        )
    return None
