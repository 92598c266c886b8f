"""A room as a replicated state machine: blind to content, strict about epochs and order. Pure.

    epoch n, write key, read keys ──▶ apply(block) ──▶ ACCEPTED(sequence) | STALE(n) | CONFLICT(sequence) | MALFORMED
    next sequence, chain hash

| rule (e2ee.md §3.1) | |
|---|---|
| R1 | an APP block is accepted if it is of epoch n |
| R2 | a COMMIT of epoch n is stored whole (GroupInfo, Welcomes, next keys) and begins n+1; who loses that race gets CONFLICT with the sequence of the winner |
| R3 | servers cannot tell a commit from garbage. Any block accepted in n+1 shows that somebody could apply it: it is acknowledged. Without that for 30 s of agreed time, another COMMIT of n is accepted in its place |
| R4 | an admin may send the room back to an epoch whose keys honest members hold |
| R5 | a KNOCK of an epoch not long over is accepted, so many between two commits: it changes nothing, and shows nothing of R3 |
| R6 | in a room by approval no external COMMIT is accepted: the link lets people knock, and nothing else |
| Move | an admin says which servers come next: kept here, carried out by the servers (`room_server.moving`) |
| Place | so do the servers themselves, where the genesis lets them (`room_server.placing`) |

That the author *may* write (the proof of the epoch's write key, or the admin's) is checked where the client is attached,
before the block enters the log; every replica then applies the same bytes with the same result, in the order that VR
fixed. `generation` counts what R3 and R4 undid: a WRITE proof of an earlier generation is of keys that are no more.

The state is small and goes whole into each checkpoint: keys, the sealed GroupInfo of epoch n, Welcomes not yet dropped.
Blocks are not part of it; they are in the log and in history.

A stored result is a `BlockResult` followed by the request's session and number (readers of `BlockResult` ignore what
follows): an operation in history also holds requests that were repeats and not applied, and this tells which were.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Final, assert_never

import msgspec

from room_server import limits
from room_server.errors import HistoryGapError, SnapshotError
from vr.errors import DecodeError as VrDecodeError
from vr.log import Request, decode_entry
from vr.types import OpNumber, RequestNumber, SessionNumber
from wire.errors import DecodeError
from wire.ids import NODE_KEY_BYTES, RoomEpoch, RoomId, Sequence
from wire.room import (
    CHAIN_BYTES,
    BlockHeader,
    BlockKind,
    BlockResult,
    Delivery,
    Genesis,
    Move,
    Override,
    Place,
    ResultKind,
    chain_next,
    chain_start,
    decode_block_header,
    decode_commit,
    decode_control,
    decode_entries,
    decode_result,
    move_of,
)

_FIRST_EPOCH: Final = RoomEpoch(0)


class KeptWelcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A Welcome waiting for its readers; `sequence` and `chain` are those of the commit that carried it."""

    references: tuple[bytes, ...]
    welcome: bytes
    sequence: Sequence
    chain: bytes


class Overridden(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An override: what was written above `epoch` up to `sequence` is dead, and readable to all members of `epoch`."""

    sequence: Sequence
    epoch: RoomEpoch


class _State(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a checkpoint holds. `read_keys` are those of the epochs that end with `epoch`, joined."""

    version: int
    room_id: RoomId
    epoch: RoomEpoch
    write_key: bytes
    read_keys: bytes
    group_info: bytes
    next_sequence: Sequence
    chain: bytes
    commit_sequence: Sequence
    commit_chain: bytes
    commit_us: int
    ended_write_key: bytes
    generation: int
    overrides: tuple[Overridden, ...]
    join_key: bytes
    descriptor: bytes
    move: bytes
    knocks: int
    welcomes: tuple[KeptWelcome, ...]
    stored_bytes: int = 0


class _StoredResult(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Begins like `BlockResult`, and decodes as one."""

    kind: ResultKind
    sequence: Sequence
    epoch: RoomEpoch
    session: SessionNumber
    number: RequestNumber


_STATE_VERSION: Final = 4
_STORED_RESULT_DECODER: Final[msgspec.msgpack.Decoder[_StoredResult]] = msgspec.msgpack.Decoder(_StoredResult)
_STATE_DECODER: Final[msgspec.msgpack.Decoder[_State]] = msgspec.msgpack.Decoder(_State)
_MOVE_DECODER: Final[msgspec.msgpack.Decoder[Move]] = msgspec.msgpack.Decoder(Move)
_ENCODER: Final = msgspec.msgpack.Encoder()


class RoomService:
    """One room at one replica; implements `vr.service.Service`.

    Readable by the host's edge at any time: `epoch`, `write_key`, `join_key`, `admin_key`, `descriptor`, `read_key(epoch)`,
    `next_sequence`, `chain` (hash through `next_sequence - 1`), `group_info` of `epoch` with the sequence and chain of
    the commit that began it, `welcome(reference)`.
    """

    def __init__(self, genesis: Genesis) -> None:
        self.room_id: RoomId = genesis.room_id
        self.join_key = genesis.join_key
        self.descriptor = genesis.descriptor
        self.admin_key = genesis.admin_key
        self.by_approval = genesis.by_approval
        self.by_quorum = genesis.by_quorum
        self.epoch = _FIRST_EPOCH
        self.write_key = genesis.write_key
        self.group_info = genesis.group_info
        self.next_sequence = Sequence(1)
        self.chain = chain_start(genesis.room_id)
        self.commit_sequence = Sequence(0)
        self.commit_chain = self.chain
        self.generation = 0
        self.move: Move | None = None
        """The newest wish for other servers, carried out or not: the owner's, or the servers' own."""
        self._commit_us = 0
        self._ended_write_key = b""
        """Write key of the epoch before, as long as nothing shows that the commit which ended it works (R3)."""
        self._overrides: list[Overridden] = []
        self._read_keys: dict[RoomEpoch, bytes] = {_FIRST_EPOCH: genesis.read_key}
        self._knocks = 0
        """Since the last commit."""
        self._welcomes: list[KeptWelcome] = []
        """Oldest first."""
        self.stored_bytes = 0
        """Of all blocks that were accepted."""

    def apply(self, op: OpNumber, timestamp_us: int, requests: Many[Request]) -> list[bytes]:
        """Apply one committed operation: one encoded result per block, in order."""
        del op
        return [_encode_result(self._apply_block(request, timestamp_us), request) for request in requests]

    def mark(self) -> int:
        """The next sequence number: stored beside each operation in history, to find entries by sequence."""
        return self.next_sequence

    def write_key_of(self, epoch: RoomEpoch) -> bytes | None:
        """Public key that writers of `epoch` prove: of the present one, or of the one before while R3 may reopen it."""
        if epoch == self.epoch:
            return self.write_key
        return self._ended_write_key or None if epoch == self.epoch - 1 else None

    def reading_epoch(self, sequence: Sequence, epoch: RoomEpoch) -> RoomEpoch:
        """The epoch whose read key opens an entry of `epoch` at `sequence`: a lower one, if it was undone (R4)."""
        for undone in self._overrides:
            if sequence <= undone.sequence:
                epoch = min(epoch, undone.epoch)
        return epoch

    def read_key(self, epoch: RoomEpoch) -> bytes | None:
        """Public key that readers of `epoch` prove; None for an epoch unknown here or long over."""
        return self._read_keys.get(epoch)

    def welcome(self, reference: bytes) -> KeptWelcome | None:
        """The Welcome kept under a KeyPackage reference."""
        return next((kept for kept in reversed(self._welcomes) if reference in kept.references), None)

    def _apply_block(self, request: Request, timestamp_us: int) -> BlockResult:
        try:
            header = decode_block_header(request.body)
            match header.kind:
                case BlockKind.APP:
                    return self._apply_entries(header, request, timestamp_us)
                case BlockKind.COMMIT:
                    return self._apply_commit(header, request, timestamp_us)
                case BlockKind.CONTROL:
                    return self._apply_control(header, request, timestamp_us)
                case BlockKind.KNOCK:
                    return self._apply_knock(header, request, timestamp_us)
                case _:
                    assert_never(header.kind)
        except DecodeError:
            return BlockResult(ResultKind.MALFORMED, Sequence(0), self.epoch)

    def _apply_entries(self, header: BlockHeader, request: Request, timestamp_us: int) -> BlockResult:
        if header.epoch != self.epoch:
            return BlockResult(ResultKind.STALE, Sequence(0), self.epoch)
        decode_entries(request.body)
        self._ended_write_key = b""
        return BlockResult(ResultKind.ACCEPTED, self._accept(header, request, timestamp_us), self.epoch)

    def _apply_knock(self, header: BlockHeader, request: Request, timestamp_us: int) -> BlockResult:
        if not self.epoch - limits.KNOCK_EPOCHS_MAX <= header.epoch <= self.epoch:
            return BlockResult(ResultKind.STALE, Sequence(0), self.epoch)
        if self._knocks >= limits.KNOCKS_MAX:
            return BlockResult(ResultKind.CONFLICT, self.commit_sequence, self.epoch)
        self._knocks += 1
        return BlockResult(ResultKind.ACCEPTED, self._accept(header, request, timestamp_us), self.epoch)

    def _apply_commit(self, header: BlockHeader, request: Request, timestamp_us: int) -> BlockResult:
        reopens = header.epoch == self.epoch - 1 and self._is_stalled(timestamp_us)
        if header.epoch != self.epoch and not reopens:
            return BlockResult(ResultKind.CONFLICT, self.commit_sequence, self.epoch)
        body = decode_commit(request.body)
        if body.external and self.by_approval:
            return BlockResult(ResultKind.FORBIDDEN, Sequence(0), self.epoch)
        sequence = self._accept(header, request, timestamp_us)
        if reopens:
            self._forget_welcomes_of(self.commit_sequence)
            self.generation += 1
        else:
            self._ended_write_key = self.write_key
        if body.join_key:
            self.join_key, self.descriptor = body.join_key, body.descriptor
            if self.move is not None:
                self.move = msgspec.structs.replace(self.move, descriptor=b"")  # It opens with the old link only.
        self._commit_us = timestamp_us
        self._begin(RoomEpoch(header.epoch + 1), body.next_write_key, body.next_read_key)
        self._place(sequence, body.group_info)
        for stored in body.welcomes:
            self._keep_welcome(KeptWelcome(stored.references, stored.welcome, sequence, self.chain))
        return BlockResult(ResultKind.ACCEPTED, sequence, self.epoch)

    def _is_stalled(self, timestamp_us: int) -> bool:
        return bool(self._ended_write_key) and timestamp_us - self._commit_us >= limits.STALL_US_MAX

    def _begin(self, epoch: RoomEpoch, write_key: bytes, read_key: bytes) -> None:
        self.epoch = epoch
        self.write_key = write_key
        self._read_keys[epoch] = read_key
        if len(self._read_keys) > limits.READ_KEYS_MAX:
            del self._read_keys[next(iter(self._read_keys))]

    def _place(self, sequence: Sequence, group_info: bytes) -> None:
        """Newcomers follow the log from here on."""
        self._knocks = 0
        self.group_info = group_info
        self.commit_sequence = sequence
        self.commit_chain = self.chain

    def _apply_control(self, header: BlockHeader, request: Request, timestamp_us: int) -> BlockResult:
        body = decode_control(request.body)
        if isinstance(body, Override):
            return self._apply_override(header, body, request, timestamp_us)
        if isinstance(body, Place) and not self.by_quorum:
            return BlockResult(ResultKind.FORBIDDEN, Sequence(0), self.epoch)
        if isinstance(body, Move | Place):
            move = body if isinstance(body, Move) else move_of(body)
            return self._apply_move(header, move, request, timestamp_us)
        if header.epoch != self.epoch:
            return BlockResult(ResultKind.STALE, Sequence(0), self.epoch)
        if not self._ended_write_key:
            return BlockResult(ResultKind.CONFLICT, self.commit_sequence, self.epoch)
        self._ended_write_key = b""
        return BlockResult(ResultKind.ACCEPTED, self._accept(header, request, timestamp_us), self.epoch)

    def _apply_override(self, header: BlockHeader, body: Override, request: Request, timestamp_us: int) -> BlockResult:
        if not min(self._read_keys) <= header.epoch <= self.epoch:
            return BlockResult(ResultKind.STALE, Sequence(0), self.epoch)
        sequence = self._accept(header, request, timestamp_us)
        for epoch in [epoch for epoch in self._read_keys if epoch > header.epoch]:
            del self._read_keys[epoch]
        self._begin(header.epoch, body.write_key, body.read_key)
        self._place(sequence, body.group_info)
        self._ended_write_key = b""
        self.generation += 1
        self._overrides = [*self._overrides, Overridden(sequence, header.epoch)][-limits.OVERRIDES_MAX :]
        return BlockResult(ResultKind.ACCEPTED, sequence, self.epoch)

    def _apply_move(self, header: BlockHeader, body: Move, request: Request, timestamp_us: int) -> BlockResult:
        if header.epoch != self.epoch:
            return BlockResult(ResultKind.STALE, Sequence(0), self.epoch)
        last = 0 if self.move is None else self.move.epoch
        if not max(last, 1) <= body.epoch <= last + 1:
            return BlockResult(ResultKind.CONFLICT, Sequence(0), self.epoch)
        self.move = body
        return BlockResult(ResultKind.ACCEPTED, self._accept(header, request, timestamp_us), self.epoch)

    def _forget_welcomes_of(self, sequence: Sequence) -> None:
        self._welcomes = [kept for kept in self._welcomes if kept.sequence != sequence]

    def _accept(self, header: BlockHeader, request: Request, timestamp_us: int) -> Sequence:
        first = self.next_sequence
        self.chain = chain_next(
            self.chain, Delivery(first, timestamp_us, request.session, request.number, request.body)
        )
        self.next_sequence = Sequence(first + header.count)
        self.stored_bytes += len(request.body)
        return first

    def _keep_welcome(self, kept: KeptWelcome) -> None:
        renewed = frozenset(kept.references)
        self._welcomes = [old for old in self._welcomes if not renewed.issuperset(old.references)]
        self._welcomes.append(kept)
        while (
            sum(len(old.references) for old in self._welcomes) > limits.WELCOMES_MAX
            or sum(len(old.welcome) for old in self._welcomes) > limits.WELCOME_BYTES_MAX
        ):
            del self._welcomes[0]

    def snapshot(self) -> bytes:
        """The whole state as deterministic bytes: equal states give equal bytes at every replica."""
        state = _State(
            version=_STATE_VERSION,
            room_id=self.room_id,
            epoch=self.epoch,
            write_key=self.write_key,
            read_keys=b"".join(self._read_keys.values()),
            group_info=self.group_info,
            next_sequence=self.next_sequence,
            chain=self.chain,
            commit_sequence=self.commit_sequence,
            commit_chain=self.commit_chain,
            commit_us=self._commit_us,
            ended_write_key=self._ended_write_key,
            generation=self.generation,
            overrides=tuple(self._overrides),
            join_key=self.join_key,
            descriptor=self.descriptor,
            move=b"" if self.move is None else _ENCODER.encode(self.move),
            knocks=self._knocks,
            welcomes=tuple(self._welcomes),
            stored_bytes=self.stored_bytes,
        )
        return _ENCODER.encode(state)

    def restore(self, snapshot: bytes) -> None:
        """Take over the state of a snapshot.

        Raises:
            SnapshotError: the bytes are no state of this room; nothing changed.
        """
        state = _decode_state(snapshot, self.room_id)
        move = _decode_move(state.move)
        keys = [
            state.read_keys[start : start + NODE_KEY_BYTES] for start in range(0, len(state.read_keys), NODE_KEY_BYTES)
        ]
        first = state.epoch - len(keys) + 1
        self.epoch = state.epoch
        self.write_key = state.write_key
        self.group_info = state.group_info
        self.next_sequence = state.next_sequence
        self.chain = state.chain
        self.commit_sequence = state.commit_sequence
        self.commit_chain = state.commit_chain
        self.generation = state.generation
        self._commit_us = state.commit_us
        self._ended_write_key = state.ended_write_key
        self._overrides = list(state.overrides)
        self.join_key = state.join_key
        self.descriptor = state.descriptor
        self.move = move
        self._read_keys = {RoomEpoch(epoch): key for epoch, key in enumerate(keys, first)}
        self._knocks = state.knocks
        self._welcomes = list(state.welcomes)
        self.stored_bytes = state.stored_bytes


def _decode_state(snapshot: bytes, room_id: RoomId) -> _State:
    try:
        state = _STATE_DECODER.decode(snapshot)
    except msgspec.MsgspecError as error:
        raise SnapshotError("checkpoint does not decode to a room") from error
    keys, rest = divmod(len(state.read_keys), NODE_KEY_BYTES)
    sizes_fit = (
        len(state.join_key) == NODE_KEY_BYTES
        and rest == 0
        and 0 < keys <= state.epoch + 1
        and len(state.write_key) == NODE_KEY_BYTES
    )
    if state.version != _STATE_VERSION or state.room_id != room_id or not sizes_fit or len(state.chain) != CHAIN_BYTES:
        raise SnapshotError("checkpoint is of another room or version")
    return state


def _decode_move(data: bytes) -> Move | None:
    try:
        return _MOVE_DECODER.decode(data) if data else None
    except msgspec.MsgspecError as error:
        raise SnapshotError("checkpoint holds a move that does not decode") from error


def _encode_result(result: BlockResult, request: Request) -> bytes:
    return _ENCODER.encode(_StoredResult(result.kind, result.sequence, result.epoch, request.session, request.number))


def deliveries(timestamp_us: int, requests: Many[Request], results: Many[bytes]) -> list[Delivery]:
    """What subscribers get of one committed operation: its accepted blocks, in order.

    Args:
        timestamp_us: the operation's, unix microseconds.
        requests: those that were applied.
        results: the encoded result of each.
    """
    delivered = []
    for request, encoded in zip(requests, results, strict=True):
        result = decode_result(encoded)
        if result.kind is ResultKind.ACCEPTED:
            delivered.append(Delivery(result.sequence, timestamp_us, request.session, request.number, request.body))
    return delivered


def stored_deliveries(entry: bytes, results: Many[bytes]) -> list[Delivery]:
    """The same from history: an encoded entry, and the results of those of its requests that were applied.

    Raises:
        HistoryGapError: the bytes are not what was stored.
    """
    try:
        decoded = decode_entry(entry)
        stored = [_STORED_RESULT_DECODER.decode(result) for result in results]
    except (VrDecodeError, msgspec.MsgspecError) as error:
        raise HistoryGapError("an operation in history has rotted") from error
    requests: dict[tuple[SessionNumber, RequestNumber], Request] = {}
    for request in decoded.requests():
        requests.setdefault((request.session, request.number), request)
    applied = [requests.get((result.session, result.number)) for result in stored]
    present = [request for request in applied if request is not None]
    if len(present) != len(results):
        raise HistoryGapError("an operation in history does not hold the requests of its results")
    return deliveries(decoded.header.timestamp_us, present, results)
