"""Catching up when the operations are gone everywhere: by a snapshot, in chunks that each prove themselves (VRR 5.3).

    GetEntries for what nobody keeps ─▶ SnapshotOffer(op, checksum, size, hash of each chunk)
    GetChunk ⇄ Chunk (two under way, a budget of bytes) ─▶ whole ─▶ made durable ─▶ our log begins after it
                        └─▶ each is kept as it comes: another source, or a restart, goes on where the last one ended

Until the snapshot is durable here, nothing changes: we acknowledge what we had. Then it replaces our log through its
operation, and what conflicts with it above as well (hashicorp/raft #697: whoever keeps that never gets on). Peers take
their checkpoints at operations of their own, so a transfer stays with one source until it stalls. A primary to be that
needs a snapshot forfeits its view: the others would have to wait for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from vr import limits
from vr.errors import DecodeError
from vr.forwarding import submit
from vr.log import Log
from vr.messages import Chunk, GetChunk, GetView, SnapshotOffer, decode, encode
from vr.normal import apply_committed, misses_entries, note_epoch_end, take_early
from vr.ready import SnapshotPart, SnapshotRead
from vr.repair import extend_committed
from vr.sessions import SessionTable
from vr.snapshot import Checkpoint
from vr.state import ReplicaState, Status, Transfer
from vr.types import CHECKSUM_BYTES, Checksum, OpNumber, ReplicaIndex, ViewNumber
from vr.view_change import enter_view_change

# --- the side that has it ---


def make_offer(
    view: ViewNumber,
    replica: ReplicaIndex,
    checkpoint: Checkpoint,
    *,
    chunk_bytes: int = limits.SNAPSHOT_CHUNK_BYTES,
) -> SnapshotOffer:
    """The offer of a checkpoint that is durable here."""
    data = msgspec.msgpack.encode(checkpoint)
    hashes = b"".join(chunk_hash(data[start : start + chunk_bytes]) for start in range(0, len(data), chunk_bytes))
    return SnapshotOffer(
        view=view, replica=replica, op=checkpoint.op, checksum=checkpoint.checksum, size=len(data),
        chunk_bytes=chunk_bytes, hashes=hashes,
    )  # fmt: skip


def make_chunk(view: ViewNumber, replica: ReplicaIndex, checkpoint: Checkpoint, wanted: SnapshotRead) -> Chunk:
    """A chunk of a checkpoint that was offered; empty beyond its end."""
    number, start = wanted.chunk, wanted.chunk * wanted.chunk_bytes
    data = msgspec.msgpack.encode(checkpoint)[start : start + wanted.chunk_bytes]
    return Chunk(view=view, replica=replica, op=checkpoint.op, number=number, data=data)


def on_get_chunk(state: ReplicaState, message: GetChunk) -> None:
    """The embedder has the snapshots: it answers, if it still has this one."""
    state.effects.snapshot_reads.append(
        SnapshotRead(to=message.replica, op=message.op, chunk=message.number, chunk_bytes=message.chunk_bytes)
    )


# --- the side that lacks it ---


def chunk_hash(data: bytes) -> bytes:
    """Of one chunk: a bad one is found at once, and fetched alone again."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES, person=b"vr-chunk").digest()


def on_offer(state: ReplicaState, message: SnapshotOffer) -> None:
    """A peer no longer has the operations that we asked for, but the state after them."""
    if not wants_snapshot(state, message):
        state.drop("snapshot_not_wanted")
        return
    if not is_well_formed(message):
        state.drop("snapshot_offer_malformed")
        return
    if state.transfer is None or has_stalled(state, state.transfer):
        known = () if state.transfer is None else tuple(state.transfer.chunks.values())
        state.transfer = begin_transfer(state, message, known)
        _keep_parts(state, state.transfer, state.transfer.chunks)
        if is_whole(state.transfer):
            _hand_over(state, state.transfer)
    if state.is_next_primary:
        # Whoever is next may be less far behind.
        enter_view_change(state, ViewNumber(state.view + 1))
    ask_for_chunks(state)


def is_well_formed(offer: SnapshotOffer) -> bool:
    """Is there one hash for each chunk?"""
    return len(offer.hashes) == -(-offer.size // offer.chunk_bytes) * CHECKSUM_BYTES


def begin_transfer(state: ReplicaState, offer: SnapshotOffer, known: Iterable[bytes]) -> Transfer:
    """Fetch what is offered. Of the chunks `known` from before, those that it names need not come again."""
    transfer = Transfer(
        op=offer.op, checksum=offer.checksum, chunk_bytes=offer.chunk_bytes, hashes=offer.hashes, source=offer.replica,
        offer=encode(offer), progress_at=state.now,
    )  # fmt: skip
    numbers: dict[bytes, list[int]] = {}
    for start in range(0, len(offer.hashes), CHECKSUM_BYTES):
        numbers.setdefault(offer.hashes[start : start + CHECKSUM_BYTES], []).append(start // CHECKSUM_BYTES)
    for data in known:
        transfer.chunks.update(dict.fromkeys(numbers.get(chunk_hash(data), ()), data))
    return transfer


def resume(state: ReplicaState, parts: Sequence[SnapshotPart]) -> None:
    """After a restart: go on with the snapshot that was on its way, if we still lack it."""
    if not parts:
        return
    try:
        offer = decode(parts[-1].offer)
    except DecodeError:
        state.drop("snapshot_parts_of_nothing")
        return
    if not isinstance(offer, SnapshotOffer) or not is_well_formed(offer) or not state.others:
        state.drop("snapshot_parts_of_nothing")
        return
    if offer.replica not in state.others:
        # It was offered in another epoch, where places were others: anybody may have the rest, or offer anew.
        offer = msgspec.structs.replace(offer, replica=state.others[0])
    if offer.op <= state.applied_op:
        return
    state.transfer = begin_transfer(state, offer, [part.data for part in parts])
    if is_whole(state.transfer):
        _hand_over(state, state.transfer)


def _keep_parts(state: ReplicaState, transfer: Transfer, numbers: Iterable[int]) -> None:
    state.effects.parts += [
        SnapshotPart(offer=transfer.offer, number=number, data=transfer.chunks[number]) for number in numbers
    ]


def wants_snapshot(state: ReplicaState, message: SnapshotOffer) -> bool:
    """Do we lack operations that the snapshot covers, in the view that we are in or come into?"""
    if message.op <= max(state.applied_op, min(state.commit_number, state.head_op)):
        return False
    if state.status is Status.NORMAL:
        in_view = message.view == state.view and message.replica == state.primary
        return in_view and misses_entries(state)
    return state.install is not None and state.install.keep_op < message.op


def has_stalled(state: ReplicaState, transfer: Transfer) -> bool:
    """Has the source said nothing for long? Then any other snapshot is better."""
    return not transfer.is_saving and state.now >= transfer.progress_at + state.options.patience_s


def ask_for_chunks(state: ReplicaState) -> None:
    """Ask for what is missing: two chunks under way, as many as the budget allows; those that stay away again."""
    transfer = state.transfer
    if transfer is None or transfer.is_saving:
        return
    if transfer.op <= state.applied_op:
        state.transfer = None
        return
    refill_budget(state)
    again_before = state.now - state.options.resend_s * 2
    transfer.asked = {number: at for number, at in transfer.asked.items() if at > again_before}
    for number in range(len(transfer.hashes) // CHECKSUM_BYTES):
        if len(transfer.asked) >= limits.SNAPSHOT_CHUNKS_ASKED_MAX or state.snapshot_budget < transfer.chunk_bytes:
            return
        if number not in transfer.chunks and number not in transfer.asked:
            transfer.asked[number] = state.now
            state.snapshot_budget -= transfer.chunk_bytes
            state.send(
                transfer.source,
                GetChunk(
                    view=state.view,
                    replica=state.index,
                    op=transfer.op,
                    number=number,
                    chunk_bytes=transfer.chunk_bytes,
                ),
            )


def refill_budget(state: ReplicaState) -> None:
    """A bucket of bytes, so that live traffic is not starved."""
    rate = limits.SNAPSHOT_BYTES_PER_S
    gained = int((state.now - state.snapshot_budget_at) * rate)
    if gained > 0:
        state.snapshot_budget = min(state.snapshot_budget + gained, rate)
        state.snapshot_budget_at = state.now


def on_chunk(state: ReplicaState, message: Chunk) -> None:
    """Take a chunk if it is the one that was promised."""
    transfer = state.transfer
    if transfer is None or (transfer.op, transfer.source) != (message.op, message.replica):
        state.drop("chunk_not_wanted")
        return
    if message.number not in transfer.asked:
        state.drop("chunk_not_wanted")
        return
    del transfer.asked[message.number]
    if is_sound(transfer, message):
        transfer.chunks[message.number] = message.data
        _keep_parts(state, transfer, [message.number])
        transfer.progress_at = state.now
        if not state.is_next_primary:
            state.view_change_at = max(state.view_change_at, state.now + state.options.view_change_s)
    else:
        state.drop("chunk_unsound")
    if is_whole(transfer):
        _hand_over(state, transfer)
    else:
        ask_for_chunks(state)


def is_sound(transfer: Transfer, message: Chunk) -> bool:
    """Does a chunk have the hash that its offer gave?"""
    start = message.number * CHECKSUM_BYTES
    return chunk_hash(message.data) == transfer.hashes[start : start + CHECKSUM_BYTES]


def is_whole(transfer: Transfer) -> bool:
    """Is every chunk here?"""
    return len(transfer.chunks) * CHECKSUM_BYTES == len(transfer.hashes)


def _hand_over(state: ReplicaState, transfer: Transfer) -> None:
    """The snapshot is whole: it becomes ours when it is durable."""
    try:
        checkpoint = msgspec.msgpack.decode(join_chunks(transfer), type=Checkpoint)
        SessionTable().restore(checkpoint.sessions)
    except (msgspec.MsgspecError, DecodeError):
        state.drop("snapshot_malformed")
        state.transfer = None
        return
    if (checkpoint.op, checkpoint.checksum) != (transfer.op, transfer.checksum):
        state.drop("snapshot_of_other_operation")
        state.transfer = None
        return
    transfer.is_saving = True
    state.effects.snapshots.append(checkpoint)


def join_chunks(transfer: Transfer) -> bytes:
    """The bytes of the snapshot."""
    return b"".join(transfer.chunks[number] for number in sorted(transfer.chunks))


def on_saved(state: ReplicaState, checkpoint: Checkpoint) -> None:
    """The snapshot is on stable storage: begin from it, unless the operations came by themselves in the meantime."""
    state.transfer = None
    if checkpoint.op <= state.applied_op or state.status is Status.RETIRED:
        return
    if state.log.checksum(checkpoint.op) == checkpoint.checksum:
        state.raise_commit(checkpoint.op)
        apply_committed(state)
        _go_on_installing(state, checkpoint)
        return
    state.service.restore(checkpoint.service)
    restore_sessions(state, checkpoint)
    replace_log(state, checkpoint)
    state.early = {op: entry for op, entry in state.early.items() if op > checkpoint.op}
    state.applied_op = checkpoint.op
    state.base_timestamp_us = checkpoint.timestamp_us
    state.raise_commit(checkpoint.op)
    state.progress_at = state.now
    for end in checkpoint.epochs:
        note_epoch_end(state, end)
    if state.ended is not None:
        return
    if state.status is Status.NORMAL:
        # What came while the snapshot was fetched follows it now; nobody sends it again.
        take_early(state)
        apply_committed(state)
    _go_on_installing(state, checkpoint)
    _settle_pending(state)


def restore_sessions(state: ReplicaState, checkpoint: Checkpoint) -> None:
    """What was executed stays executed."""
    state.sessions.restore(checkpoint.sessions)


def replace_log(state: ReplicaState, checkpoint: Checkpoint) -> None:
    """Our log has another operation there, or none: nothing in it that is not in the snapshot was ever committed."""
    state.log = Log(checkpoint.op, checkpoint.checksum)
    state.forget_writes_above(checkpoint.op)
    state.unwritten_op = OpNumber(checkpoint.op + 1)
    state.durable_op = checkpoint.op
    if state.status is not Status.RECOVERING_HEAD:
        # A damaged tail stays on the disk until its replacement is written with the view that makes it ours.
        state.truncate_above = checkpoint.op


def _go_on_installing(state: ReplicaState, checkpoint: Checkpoint) -> None:
    install = state.install
    if install is None:
        return
    if not fits(checkpoint, install.commit, install.commit_checksum, _checksum_in(state, checkpoint.op)):
        # The view went on while we fetched: its log is to be had anew.
        state.install = None
        state.broadcast(GetView(view=state.view, replica=state.index, nonce=state.nonce))
        return
    install.keep_op = checkpoint.op
    install.bodies = {op: entry for op, entry in install.bodies.items() if op > checkpoint.op}
    extend_committed(state, install)  # what came in before chains on now


def _checksum_in(state: ReplicaState, op: OpNumber) -> Checksum | None:
    header = None if state.install is None else state.install.headers.get(op)
    return None if header is None else header.checksum


def fits(checkpoint: Checkpoint, commit: OpNumber, commit_checksum: Checksum, in_suffix: Checksum | None) -> bool:
    """Does the log of a view, committed through `commit`, contain the operation of the snapshot?"""
    if checkpoint.op < commit:
        return True
    return checkpoint.checksum == (commit_checksum if checkpoint.op == commit else in_suffix)


def _settle_pending(state: ReplicaState) -> None:
    """Requests of our clients may have been executed within the snapshot: look at each anew."""
    requests = [pending.request for pending in state.pending.values()]
    state.pending.clear()
    state.pending_of_session.clear()
    submit(state, requests)
