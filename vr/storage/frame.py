"""The log's unit of writing: one batch of records, described twice, aligned to pages. Pure.

```
 page boundary                                                                            page boundary
 ├ magic │ fields │ crc │ directory │ metas ├ entries … ┊ zeros ┊ directory │ metas │ magic' │ fields │ crc ┤
   head, 72 bytes          60 bytes a record               tail: the same, its own head last
```

One damaged page costs at most the entries in it: directory and metas are readable from either end. A frame that holds
metas spans at least two pages, so that their two copies never share one. `salt` is random per use of a segment and never
leaves the disk: what an earlier use left behind, or a client planted in its bytes, is not taken for a frame.

A batch too big for one frame is several with MORE set on all but the last; they count together or not at all.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from zlib import crc32

import msgspec

from vr.storage.limits import PAGE_BYTES
from vr.types import Checksum, GroupId

HEAD_MAGIC = b"SmtFrmH1"
TAIL_MAGIC = b"SmtFrmT1"
SALT_BYTES = 8

_FIELDS = struct.Struct("<8s6Q4I")
"""salt, lsn, synced_lsn, meta_lsn, segment, oldest_segment, offset | frame_bytes, description_bytes, count, flags."""
_CRC = struct.Struct("<I4x")
_RECORD = struct.Struct("<16sB3xQQ16sII")
"""group, kind, view, op, checksum, payload bytes, payload crc32."""

HEAD_BYTES = len(HEAD_MAGIC) + _FIELDS.size + _CRC.size
RECORD_BYTES = _RECORD.size
FLAG_MORE = 1


class RecordKind(enum.IntEnum):
    """What a record is."""

    ENTRY = 1
    META = 2
    BIRTH = 3
    """The group exists here and has promised nothing yet; no payload."""


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing to make durable. `checksum` is 16 bytes; for metas `view` and `op` only inform inspection."""

    group: GroupId
    kind: RecordKind
    view: int
    op: int
    checksum: Checksum
    payload: bytes


class FrameHeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a frame says about itself and the log. Sequence numbers (lsn) start at 1 and have no gaps."""

    salt: bytes
    lsn: int
    synced_lsn: int
    """Every frame up to this one was on the platter before this one was written."""
    meta_lsn: int
    """The last frame before this one that holds a meta or a birth; 0 = none."""
    segment: int
    oldest_segment: int
    offset: int
    """Where in its segment the frame begins: what a misdirected write put elsewhere is not taken for a frame."""
    more: bool = False


class RecordSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A directory line as read back. `payload` is set for metas; entries stay on disk at `offset` within the frame."""

    group: GroupId
    kind: RecordKind
    view: int
    op: int
    checksum: Checksum
    payload: bytes | None
    offset: int
    payload_bytes: int
    payload_crc: int


class FrameDescription(msgspec.Struct, frozen=True, kw_only=True):
    """Head or tail of a frame, verified."""

    header: FrameHeader
    frame_bytes: int
    records: list[RecordSummary]


def encode_frame(header: FrameHeader, records: Sequence[Record]) -> bytes:
    """The frame's bytes, a multiple of the page."""
    directory: list[bytes] = []
    metas: list[bytes] = []
    entries: list[bytes] = []
    for record in records:
        payload = record.payload
        size = len(payload)
        (entries if record.kind is RecordKind.ENTRY else metas).append(payload)
        directory.append(
            _RECORD.pack(record.group, record.kind, record.view, record.op, record.checksum, size, crc32(payload))
        )
    holds_meta = len(entries) < len(records)
    description = b"".join(directory + metas)
    entries_bytes = sum(map(len, entries))
    used_bytes = 2 * (HEAD_BYTES + len(description)) + entries_bytes
    frame_bytes = _aligned(max(used_bytes, 2 * PAGE_BYTES if holds_meta else PAGE_BYTES))
    fields = _FIELDS.pack(
        header.salt,
        header.lsn,
        header.synced_lsn,
        header.meta_lsn,
        header.segment,
        header.oldest_segment,
        header.offset,
        frame_bytes,
        len(description),
        len(records),
        FLAG_MORE if header.more else 0,
    )
    crc = _CRC.pack(crc32(description, crc32(fields)))
    padding = bytes(frame_bytes - used_bytes)
    return b"".join(
        (HEAD_MAGIC, fields, crc, description, *entries, padding, description, TAIL_MAGIC, fields, crc),
    )


def frame_bytes_of(records: Sequence[Record]) -> int:
    """How long the frame of these records will be."""
    description_bytes = sum(
        RECORD_BYTES + (0 if record.kind is RecordKind.ENTRY else len(record.payload)) for record in records
    )
    entries_bytes = sum(len(record.payload) for record in records if record.kind is RecordKind.ENTRY)
    holds_meta = any(record.kind is not RecordKind.ENTRY for record in records)
    used_bytes = 2 * (HEAD_BYTES + description_bytes) + entries_bytes
    return _aligned(max(used_bytes, 2 * PAGE_BYTES if holds_meta else PAGE_BYTES))


def decode_head(data: bytes | memoryview, offset: int, salt: bytes) -> FrameDescription | None:
    """The description at the front of a frame that begins at `offset` of `data`, or None when it is not sound."""
    return _decode(data, offset, HEAD_MAGIC, salt)


def decode_tail(data: bytes | memoryview, end: int, salt: bytes) -> FrameDescription | None:
    """The description at the back of a frame that ends at `end` of `data`, or None when it is not sound."""
    return _decode(data, end - HEAD_BYTES, TAIL_MAGIC, salt)


def lost_copy(frame: bytes, salt: bytes) -> tuple[int, bytes] | None:
    """Where in a whole frame one of its two descriptions is damaged, and what belongs there; None: both are sound, or none.

    A torn write may leave the front alone, and rot takes one page: whoever finds that writes the other one again, before
    the one that is left is lost too.
    """
    head, tail = decode_head(frame, 0, salt), decode_tail(frame, len(frame), salt)
    if (head is None) == (tail is None):
        return None
    fields_at = len(HEAD_MAGIC) if tail is None else len(frame) - HEAD_BYTES + len(TAIL_MAGIC)
    fields = frame[fields_at : fields_at + HEAD_BYTES - len(HEAD_MAGIC)]
    description_bytes = _FIELDS.unpack_from(fields)[8]
    if tail is None:
        description = frame[HEAD_BYTES : HEAD_BYTES + description_bytes]
        return len(frame) - HEAD_BYTES - description_bytes, description + TAIL_MAGIC + fields
    end = len(frame) - HEAD_BYTES
    return 0, HEAD_MAGIC + fields + frame[end - description_bytes : end]


def salt_of(data: bytes | memoryview, offset: int, segment: int) -> bytes | None:
    """The salt of a sound head at `offset` that says it belongs to `segment`; for a segment with a damaged header."""
    salt = bytes(data[offset + len(HEAD_MAGIC) : offset + len(HEAD_MAGIC) + SALT_BYTES])
    description = decode_head(data, offset, salt) if len(salt) == SALT_BYTES else None
    return salt if description is not None and description.header.segment == segment else None


def _decode(data: bytes | memoryview, offset: int, magic: bytes, salt: bytes) -> FrameDescription | None:
    fields_at = offset + len(magic)
    crc_at = fields_at + _FIELDS.size
    if offset < 0 or offset + HEAD_BYTES > len(data) or data[offset:fields_at] != magic:
        return None
    fields = _FIELDS.unpack_from(data, fields_at)
    if fields[0] != salt:
        return None
    header = FrameHeader(
        salt=salt,
        lsn=fields[1],
        synced_lsn=fields[2],
        meta_lsn=fields[3],
        segment=fields[4],
        oldest_segment=fields[5],
        offset=fields[6],
        more=bool(fields[10] & FLAG_MORE),
    )
    frame_bytes, description_bytes, count = fields[7:10]
    is_tail = magic is TAIL_MAGIC
    start = offset + HEAD_BYTES - frame_bytes if is_tail else offset
    description_at = offset - description_bytes if is_tail else offset + HEAD_BYTES
    if not _is_plausible(frame_bytes, description_bytes, count) or start < 0 or start + frame_bytes > len(data):
        return None
    description = bytes(data[description_at : description_at + description_bytes])
    if crc32(description, crc32(data[fields_at:crc_at])) != _CRC.unpack_from(data, crc_at)[0]:
        return None
    records = _decode_directory(description, count, frame_bytes)
    return None if records is None else FrameDescription(header=header, frame_bytes=frame_bytes, records=records)


def _is_plausible(frame_bytes: int, description_bytes: int, count: int) -> bool:
    return (
        frame_bytes % PAGE_BYTES == 0
        and 2 * (HEAD_BYTES + description_bytes) <= frame_bytes
        and count * RECORD_BYTES <= description_bytes
    )


def _decode_directory(description: bytes, count: int, frame_bytes: int) -> list[RecordSummary] | None:
    """The records, or None when lengths do not add up."""
    records: list[RecordSummary] = []
    meta_at = count * RECORD_BYTES
    entry_at = HEAD_BYTES + len(description)
    entries_end = frame_bytes - HEAD_BYTES - len(description)
    for group, kind, view, op, checksum, size, crc in _RECORD.iter_unpack(description[:meta_at]):
        if kind not in _KINDS:
            return None
        if kind == RecordKind.ENTRY:
            offset, entry_at, payload = entry_at, entry_at + size, None
        else:
            offset, meta_at, payload = HEAD_BYTES + meta_at, meta_at + size, description[meta_at : meta_at + size]
        records.append(
            RecordSummary(
                group=group,
                kind=RecordKind(kind),
                view=view,
                op=op,
                checksum=checksum,
                payload=payload,
                offset=offset,
                payload_bytes=size,
                payload_crc=crc,
            )
        )
    return records if meta_at == len(description) and entry_at <= entries_end else None


_KINDS = frozenset(RecordKind)


def _aligned(size: int) -> int:
    return -(-size // PAGE_BYTES) * PAGE_BYTES
