"""Operations: how they are encoded, chained and kept in memory.

An entry is a packed header and a body, encoded once by the primary of its view; the same bytes go to every backup, to the
write-ahead log and to history.

    view 8 | op 8 | commit 8 | timestamp_us 8 | kind 1 | body size 4 | parent 16 | body hash 16 | checksum 16 | body …

The checksum covers the header before it, and through `parent` and `body hash` the body and all history. An entry's
identity is (op, checksum), never op alone.

    base_op ──▶ [ base+1 … applied … commit … head ]      the suffix of the log that is in memory
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Final

import msgspec

from vr import limits
from vr.configuration import Configuration
from vr.errors import DecodeError
from vr.types import (
    CHECKSUM_BYTES,
    IDENTIFIER_BYTES,
    Checksum,
    ClientId,
    OpNumber,
    RequestNumber,
    SessionNumber,
    ViewNumber,
)

_HEAD: Final = struct.Struct(">QQQQBI16s16s")
HEADER_BYTES: Final = _HEAD.size + CHECKSUM_BYTES
NUMBERS_MAX: Final = 2**62
"""Bound of views, operations, sessions and request numbers of a peer: sums of them stay within eight signed bytes."""


class EntryKind(IntEnum):
    """What an entry's body holds."""

    BATCH = 0
    NOOP = 1
    RECONFIGURE = 2


class Request(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request of a client (VRR 4.1). Session 0 and number 0 register a session; the body then names the attempt."""

    client: Annotated[ClientId, msgspec.Meta(min_length=IDENTIFIER_BYTES, max_length=IDENTIFIER_BYTES)]
    session: Annotated[SessionNumber, msgspec.Meta(ge=0, lt=NUMBERS_MAX)]
    number: Annotated[RequestNumber, msgspec.Meta(ge=0, lt=NUMBERS_MAX)]
    body: Annotated[bytes, msgspec.Meta(max_length=limits.REQUEST_BYTES_MAX)]


class EntryHeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The fixed part of an entry. `commit` is what its primary had committed when it made it."""

    view: ViewNumber
    op: OpNumber
    commit: OpNumber
    timestamp_us: int
    kind: EntryKind
    size_bytes: int
    parent: Checksum
    body_hash: Checksum
    checksum: Checksum

    def pack(self) -> bytes:
        """The header's bytes, checksum included."""
        return (
            _HEAD.pack(
                self.view, self.op, self.commit, self.timestamp_us, self.kind, self.size_bytes, self.parent, self.body_hash
            )
            + self.checksum
        )  # fmt: skip


_REQUESTS_DECODER: Final[msgspec.msgpack.Decoder[list[Request]]] = msgspec.msgpack.Decoder(list[Request])
_ENCODER: Final = msgspec.msgpack.Encoder()


class Entry:
    """An operation: its header and its encoded bytes."""

    __slots__ = ("_requests", "data", "header")

    def __init__(self, header: EntryHeader, data: bytes, requests: Sequence[Request] | None = None) -> None:
        self.header = header
        self.data = data
        self._requests = requests

    @property
    def op(self) -> OpNumber:
        """Its place in the log."""
        return self.header.op

    @property
    def checksum(self) -> Checksum:
        """Its identity, with `op`."""
        return self.header.checksum

    def requests(self) -> Sequence[Request]:
        """The batch, decoded at first use; empty for a stop sign. The hash was checked when it came in, so it decodes."""
        if self.header.kind is EntryKind.RECONFIGURE:
            return ()
        if self._requests is None:
            self._requests = _REQUESTS_DECODER.decode(memoryview(self.data)[HEADER_BYTES:])
        return self._requests

    def configuration(self) -> Configuration:
        """Of a stop sign: the configuration of the epoch that begins after it."""
        assert self.header.kind is EntryKind.RECONFIGURE
        return Configuration.from_bytes(self.data[HEADER_BYTES:])

    def __repr__(self) -> str:
        return f"Entry(op={self.header.op}, view={self.header.view}, checksum={self.header.checksum.hex()[:8]})"


def _digest(data: bytes | memoryview) -> Checksum:
    return Checksum(hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest())


def make_entry(
    *,
    view: ViewNumber,
    op: OpNumber,
    commit: OpNumber,
    parent: Checksum,
    timestamp_us: int,
    requests: Sequence[Request] = (),
    configuration: Configuration | None = None,
) -> Entry:
    """Encode an operation; only a primary does this, once. With a `configuration` it is the stop sign of an epoch."""
    kind = EntryKind.BATCH if configuration is None else EntryKind.RECONFIGURE
    body = _ENCODER.encode(requests) if configuration is None else configuration.to_bytes()
    body_hash = _digest(body)
    head = _HEAD.pack(view, op, commit, timestamp_us, kind, len(body), parent, body_hash)
    checksum = _digest(head)
    header = EntryHeader(
        view=view, op=op, commit=commit, timestamp_us=timestamp_us, kind=kind, size_bytes=len(body), parent=parent,
        body_hash=body_hash, checksum=checksum,
    )  # fmt: skip
    return Entry(header, b"".join((head, checksum, body)), requests)


def decode_header(data: bytes | memoryview) -> EntryHeader:
    """Unpack a header and check its checksum.

    Raises:
        DecodeError: too short, an unknown kind, or another checksum.
    """
    if len(data) < HEADER_BYTES:
        raise DecodeError("entry shorter than its header")
    view, op, commit, timestamp_us, kind, size_bytes, parent, body_hash = _HEAD.unpack_from(data)
    checksum = Checksum(bytes(data[_HEAD.size : HEADER_BYTES]))
    if _digest(data[: _HEAD.size]) != checksum:
        raise DecodeError("header checksum differs")
    if kind not in EntryKind.__members__.values() or op < 1:
        raise DecodeError("header out of bounds")
    return EntryHeader(
        view=view, op=op, commit=commit, timestamp_us=timestamp_us, kind=EntryKind(kind), size_bytes=size_bytes,
        parent=parent, body_hash=body_hash, checksum=checksum,
    )  # fmt: skip


def decode_entry(data: bytes) -> Entry:
    """Decode an entry and check both hashes and its requests' bounds.

    Raises:
        DecodeError: anything differs from what its primary made.
    """
    if len(data) > limits.ENTRY_BYTES_MAX:
        raise DecodeError("entry too large")
    header = decode_header(data)
    body = memoryview(data)[HEADER_BYTES:]
    if len(body) != header.size_bytes or _digest(body) != header.body_hash:
        raise DecodeError("body differs from its header")
    if header.kind is EntryKind.RECONFIGURE:
        Configuration.from_bytes(bytes(body))
        return Entry(header, bytes(data))
    try:
        requests = _REQUESTS_DECODER.decode(body)
    except msgspec.MsgspecError as error:
        raise DecodeError("malformed requests") from error
    if len(requests) > limits.BATCH_REQUESTS_MAX:
        raise DecodeError("too many requests in an entry")
    return Entry(header, bytes(data), requests)


class Log:
    """The in-memory suffix of a replica's log: entries base_op+1 … head_op, contiguous and chained."""

    def __init__(self, base_op: OpNumber, base_checksum: Checksum) -> None:
        self.base_op = base_op
        self.base_checksum = base_checksum
        self.head_op = base_op
        """The last operation there is; a plain number, because everybody asks for it all the time."""
        self._entries: list[Entry] = []

    @property
    def head_checksum(self) -> Checksum:
        """Its checksum."""
        return self._entries[-1].header.checksum if self._entries else self.base_checksum

    def get(self, op: OpNumber) -> Entry | None:
        """The entry of `op`, or None below the base or above the head."""
        place = op - self.base_op - 1
        return self._entries[place] if 0 <= place < len(self._entries) else None

    def checksum(self, op: OpNumber) -> Checksum | None:
        """The checksum of `op`; known for the base too."""
        if op == self.base_op:
            return self.base_checksum
        entry = self.get(op)
        return None if entry is None else entry.header.checksum

    def slice(self, first_op: OpNumber, last_op: OpNumber) -> list[Entry]:
        """Entries first_op … last_op, as far as they are in memory."""
        start = max(first_op - self.base_op - 1, 0)
        return self._entries[start : max(last_op - self.base_op, start)]

    def append(self, entry: Entry) -> None:
        """Add the next operation. The chain must hold: whoever calls this has checked it."""
        assert entry.header.op == self.head_op + 1, "the log has no gaps"
        assert entry.header.parent == self.head_checksum, "the log is a chain"
        self._entries.append(entry)
        self.head_op = entry.header.op

    def truncate_above(self, op: OpNumber) -> None:
        """Forget everything above `op`."""
        assert op >= self.base_op, "what is below the base is committed"
        del self._entries[op - self.base_op :]
        self.head_op = min(op, self.head_op)

    def trim(self, op: OpNumber) -> None:
        """Make `op` the base: everything through it is kept elsewhere."""
        checksum = self.checksum(op)
        assert checksum is not None, "the base is an operation that is here"
        del self._entries[: op - self.base_op]
        self.base_op, self.base_checksum = op, checksum
