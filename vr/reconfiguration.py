"""Changing who replicates a group: the epoch ends with a stop sign, the next one begins behind it (VRR 7).

    reconfigure(next) ─▶ stop sign prepared, nothing after it ─▶ committed, executed: RETIRED ─▶ durable: Ready.epoch_end
                                                                                                     │ embedder: next durable
      laggard ─ any message of the old epoch ─▶ ◀─ NewEpoch(op, checksum)                            ▼
      laggard: installs the log through the stop sign, executes it ────────────────────────▶ Replica.next_epoch()

A `Replica` lives for one epoch; indexes mean nothing beyond it. Log, sessions and service go on: the first operation of an
epoch has the last stop sign as its parent. Because the next replica is made only when everything through the stop sign is
durable here, nobody votes, acknowledges or denies anything in an epoch without the log that it begins with. All of its
members begin it NORMAL in its first view, as if a StartView had told them of a log that is committed to its head.

Any set of members may follow any other in one step: quorums of both need not meet, because the old one decides on the stop
sign alone, and the new one begins with it. So that the room does not stand still in between, enough of the new members
have to be close behind (`gate`); strangers are made standbys first, which is a reconfiguration of its own.

Unlike VRR 7.1 there is no StartEpoch to be answered by EpochStarted: who is behind asks, and who has left answers until the
embedder forgets it. A laggard treats the end of an epoch as a view that nobody leads (`types.LAST_VIEW`), whose log ends
with the stop sign and is committed: so it is installed as any other log is, by entries or by a snapshot. Replicas of other
epochs are known by identity, and get an index behind our standbys for as long as they ask (`guest_index`).
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from vr import forwarding, limits, normal, recovery, repair, state_transfer, view_change
from vr.configuration import Configuration
from vr.messages import (
    Chunk,
    Entries,
    GetChunk,
    GetEntries,
    GetView,
    Message,
    NewEpoch,
    Rejected,
    RejectReason,
    SnapshotOffer,
    StartView,
)
from vr.state import ReplicaState, Status
from vr.types import LAST_VIEW, OpNumber, ReplicaId, ReplicaIndex, make_view, view_epoch


class Refusal(Enum):
    """Why a reconfiguration was not begun. Nothing has changed then."""

    NOT_PRIMARY = auto()
    BUSY = auto()
    """One is under way already."""
    NOT_SUCCESSOR = auto()
    """It is not of the next epoch of this group, or changes a constant of it."""
    STRANGERS = auto()
    """It makes members of replicas that are neither members nor standbys now."""
    NOT_READY = auto()
    """Too few of its members are close behind: wait, or look at what keeps them."""


# --- the primary ---


def propose(state: ReplicaState, configuration: Configuration) -> Refusal | None:
    """Put up the stop sign with the next operation, or say why not."""
    current = state.configuration
    if not state.is_serving:
        return Refusal.NOT_PRIMARY
    if state.reconfiguration is not None or normal.is_stopped(state):
        return Refusal.BUSY
    expected = current.successor(
        configuration.members, configuration.standbys, first_primary=configuration.first_primary
    )
    if configuration != expected:
        return Refusal.NOT_SUCCESSOR
    if any(current.index_of(member.replica_id) is None for member in configuration.members):
        return Refusal.STRANGERS
    if not gate(state, configuration):
        return Refusal.NOT_READY
    state.reconfiguration = configuration
    return None


def gate(state: ReplicaState, configuration: Configuration) -> bool:
    """Is a majority of the next members less than a pipeline behind, and the first to lead among them?"""
    ready = [place for place, member in enumerate(configuration.members) if is_close(state, member.replica_id)]
    is_led = configuration.first_primary < 0 or configuration.first_primary in ready
    return is_led and len(ready) >= configuration.quorum


def is_close(state: ReplicaState, replica_id: ReplicaId) -> bool:
    """Has a replica everything but what is in the pipeline on its disk?"""
    index = state.configuration.index_of(replica_id)
    if index is None:
        return False
    have = state.durable_op if index == state.index else state.peers[index].match_op
    return have >= 0 and have + state.configuration.pipeline_ops_max >= state.head_op


def transfer_primary(state: ReplicaState, index: ReplicaIndex) -> bool:
    """Hand over: everybody leaves for the next view that `index` leads. False: it is too far behind, or we do not lead."""
    if not state.is_serving or index == state.index or not state.configuration.is_member(index):
        return False
    if not is_close(state, state.configuration.members[index].replica_id) or state.peers[index].suspected:
        return False
    view = view_change.next_view(state)
    while state.configuration.primary_index(view) != index:
        view = type(view)(view + 1)
    view_change.propose_view_change(state, view)
    return True


# --- everybody: the end ---


def on_new_epoch(state: ReplicaState, message: NewEpoch, source: ReplicaIndex) -> None:
    """Our epoch has ended at `message.op`: what is through there is committed, and nothing above it."""
    if state.status is Status.RETIRED or message.epoch != state.configuration.epoch + 1:
        state.drop("new_epoch_known")
        return
    if state.log.checksum(message.op) == message.checksum and state.damage is None:
        state.raise_commit(message.op)
        normal.apply_committed(state)
        return
    if state.is_view_last and state.install is not None:
        if source not in state.install.sources:
            state.install.sources = [source, *state.install.sources][: limits.MEMBERS_MAX]
        return
    view = make_view(state.configuration.epoch, LAST_VIEW)
    last = StartView(
        view=view, replica=source, head_op=message.op, commit=message.op, commit_checksum=message.checksum, headers=b"",
        nonce=state.nonce,
    )  # fmt: skip
    if view_change.contradicts_commit(state, last, {}):
        state.drop("log_without_what_is_committed")
        return
    state.is_started = True
    view_change.adopt(state, last)
    if state.install is not None:
        # Whoever told us may die, or have lost it: anybody who has it will do, retired or not.
        state.install.sources = list(dict.fromkeys([source, *state.others]))


def take_end(state: ReplicaState) -> None:
    """Tell the embedder once, when all that the next epoch begins with is durable here."""
    is_durable = not state.promises and state.durable_op == state.head_op and state.durable_log_view == state.log_view
    if state.ended is not None and not state.is_end_told and is_durable:
        state.is_end_told = True
        state.effects.epoch_end = state.ended


def begin_next(old: ReplicaState, index: ReplicaIndex, *, seed: int) -> ReplicaState:
    """The state of our next replica: the log, the sessions, the service and who waits for answers go on."""
    end = old.ended
    assert end is not None
    assert old.is_end_told, "not before the stop sign is durable"
    assert old.head_op == old.applied_op, "nothing follows a stop sign"
    state = type(old)(end.configuration, index, old.service, options=old.options, seed=seed)
    state.now = state.progress_at = old.now
    state.nonce = state.jitter.number()
    state.log, state.sessions, state.epochs, state.began = old.log, old.sessions, old.epochs, end
    state.base_timestamp_us = old.base_timestamp_us
    state.commit_number = state.applied_op = state.commit_told = old.applied_op
    state.durable_op = state.view_head_op = state.known_head_op = old.head_op
    state.unwritten_op = OpNumber(old.head_op + 1)
    state.durable_view, state.durable_log_view = old.durable_view, old.durable_log_view
    state.digests = old.digests
    state.is_short_of_space = old.is_short_of_space
    state.reads.fresh = [*old.reads.fresh, *(number for _, number in old.reads.asked)]
    state.reads.settled = old.reads.settled
    state.bound_until = old.bound_until
    for place, member in enumerate(end.configuration.replicas):
        known = old.configuration.index_of(member.replica_id)
        if place != index and known is not None and known != old.index:
            state.peers[ReplicaIndex(place)].suspected = old.peers[known].suspected
    if old.transfer is not None and state.others:
        # What is here of a snapshot need not come again, nor one that is being saved; its source has another place, or none.
        state.transfer = old.transfer
        source = state.configuration.index_of(replica_id_of(old, old.transfer.source))
        state.transfer.source = state.others[0] if source is None or source == index else source
        state.transfer.asked.clear()
    forwarding.submit(state, [item.request for item in old.pending.values()])
    old.pending.clear()
    return state


def refuse_pending(state: ReplicaState) -> None:
    """We are not of the next epoch: whoever waits here, or comes, is told to follow it."""
    state.has_left = True
    for item in list(state.pending.values()):
        forwarding.take_pending(state, item.request)
        state.effects.rejected.append(
            Rejected(
                client=item.request.client, session=item.request.session, number=item.request.number,
                reason=RejectReason.NEW_EPOCH,
            )
        )  # fmt: skip


# --- replicas of other epochs, and what is left to do when ours is over ---


def step_retired(state: ReplicaState, message: Message) -> None:
    """Our epoch is over: help those who do not know it yet."""
    match message:
        case GetEntries():
            repair.on_get_entries(state, message)
        case GetChunk():
            state_transfer.on_get_chunk(state, message)
        case NewEpoch() | Entries() | SnapshotOffer() | Chunk():
            state.drop("message_after_the_end")
        case _:
            tell_epoch(state, message.replica, state.configuration.epoch + 1)


def tell_epoch(state: ReplicaState, other: ReplicaIndex, epoch: int) -> None:
    """Tell a laggard how the epoch before `epoch` ended, not too often.

    Whoever lost its log knows how its own began: perhaps nobody else does, and the others wait for it.
    """
    known = [*state.epochs, state.began] if state.began is not None else state.epochs
    end = next((end for end in known if end.configuration.epoch == epoch), None)
    told_at = state.epoch_told_at.get(other, float("-inf"))
    if end is None or state.now < told_at + state.options.resend_s / 4:
        state.drop("epoch_not_told")
        return
    state.epoch_told_at[other] = state.now
    state.send(other, NewEpoch(view=state.view, replica=state.index, epoch=epoch, op=end.op, checksum=end.checksum))


def replica_id_of(state: ReplicaState, index: ReplicaIndex) -> ReplicaId:
    """Whom an index stands for: a replica of our epoch, or a guest of another one."""
    replicas = state.configuration.replicas
    return replicas[index].replica_id if index < len(replicas) else state.guests[index - len(replicas)]


def guest_index(state: ReplicaState, replica_id: ReplicaId) -> ReplicaIndex:
    """The place of a replica of another epoch, behind our standbys; the longest known makes room."""
    first = len(state.configuration.replicas)
    if replica_id in state.guests:
        return ReplicaIndex(first + state.guests.index(replica_id))
    if len(state.guests) < limits.GUESTS_MAX:
        state.guests.append(replica_id)
        return ReplicaIndex(first + len(state.guests) - 1)
    place = state.guests_seen % limits.GUESTS_MAX
    state.guests_seen += 1
    state.guests[place] = replica_id
    return ReplicaIndex(first + place)


def step_guest(state: ReplicaState, replica_id: ReplicaId, message: Message) -> None:
    """A message from a replica of another epoch: of an earlier one it is helped, of a later one it helps us."""
    guest = guest_index(state, replica_id)
    message = msgspec.structs.replace(message, replica=guest)
    epoch = view_epoch(message.view)
    match message:
        case GetEntries():
            repair.on_get_entries(state, message)
        case GetChunk():
            state_transfer.on_get_chunk(state, message)
        case NewEpoch():
            on_new_epoch(state, message, guest)
        case Entries():
            _take_entries(state, message)
        case SnapshotOffer():
            state_transfer.on_offer(state, message)
        case Chunk():
            state_transfer.on_chunk(state, message)
        case _ if epoch < state.configuration.epoch:
            tell_epoch(state, guest, epoch + 1)
        case _ if epoch > state.configuration.epoch and state.status is not Status.RETIRED:
            ask_guest(state, guest)
        case _:
            state.drop("message_of_other_epoch")


def _take_entries(state: ReplicaState, message: Entries) -> None:
    """What a guest has for us: of the end of our epoch, or of what our disk lost, though it may not know our epoch yet."""
    entries = repair.decode_entries(state, message)
    if state.install is not None:
        if repair.take_bodies(state, state.install, entries, commit=message.commit):
            view_change.finish_install(state)
    elif state.damage is not None:
        recovery.mend(state, entries)
    else:
        state.drop("entries_of_other_epoch")


def ask_guest(state: ReplicaState, guest: ReplicaIndex) -> None:
    """Somebody is in a later epoch: it can tell how ours ended."""
    told_at = state.epoch_told_at.get(guest, float("-inf"))
    if state.now >= told_at + state.options.resend_s / 4:
        state.epoch_told_at[guest] = state.now
        state.send(guest, GetView(view=state.view, replica=state.index, nonce=state.nonce))


def ask_how_it_ended(state: ReplicaState) -> None:
    """While we fetch the end of our epoch: those who have retired know, and may have what we miss."""
    state.broadcast(GetView(view=state.view, replica=state.index, nonce=state.nonce))
