"""One file of the log: its name, its header page, how it comes into being, and how its frames are found again.

```
 000000000007.seg   ├ header twice, page 0 ├ frame ├ frame ├ frame ├ zeros, or what an earlier use left ┤
```

A segment is made (or a released one made anew) under a temporary name and gets its real one only when its header is on
the platter: a `.seg` file with an unreadable header is damage, never a half-made file. Each use has its own random salt.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from zlib import crc32

import msgspec

from vr.storage.file_system import File, FileSystem
from vr.storage.frame import (
    HEAD_BYTES,
    HEAD_MAGIC,
    TAIL_MAGIC,
    FrameDescription,
    FrameHeader,
    RecordKind,
    RecordSummary,
    decode_head,
    decode_tail,
    salt_of,
)
from vr.storage.limits import PAGE_BYTES

_HEADER = struct.Struct("<8sQ8s")
_CRC = struct.Struct("<I")
_HEADER_MAGIC = b"SmtSeg01"
_COPIES_AT = (0, PAGE_BYTES // 2)
_SUFFIX = ".seg"
TEMPORARY_SUFFIX = ".tmp"


class Segment(msgspec.Struct, kw_only=True):
    """An open segment in use or prepared for it."""

    number: int
    file: File
    salt: bytes
    size: int


class ScannedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame found on disk. `rotten` are the positions in `records` whose bytes do not match their crc."""

    segment: int
    offset: int
    frame_bytes: int
    header: FrameHeader
    records: list[RecordSummary]
    rotten: frozenset[int]

    @property
    def end(self) -> int:
        """Offset after the frame."""
        return self.offset + self.frame_bytes


class ScannedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment's bytes say. `salt` is None when neither header nor first frame can be read."""

    number: int
    salt: bytes | None
    frames: list[ScannedFrame]
    residue_offset: int | None
    """Where something began that carries this use's mark but is no sound frame: a torn or rotted one."""
    is_stale: bool = False
    """The header names another number: a released file whose renaming did not survive."""


def segment_name(number: int) -> str:
    """File name of a segment."""
    return f"{number:012d}{_SUFFIX}"


def segment_number(name: str) -> int | None:
    """The number in a file name, or None when it is no segment's."""
    stem = name.removesuffix(_SUFFIX)
    return int(stem) if stem != name and len(stem) == 12 and stem.isascii() and stem.isdigit() else None


def encode_segment_header(number: int, salt: bytes) -> bytes:
    """Page 0, with two copies of the header in different sectors."""
    fields = _HEADER.pack(_HEADER_MAGIC, number, salt)
    header = fields + _CRC.pack(crc32(fields))
    page = bytearray(PAGE_BYTES)
    for offset in _COPIES_AT:
        page[offset : offset + len(header)] = header
    return bytes(page)


def decode_segment_header(page: bytes) -> tuple[int, bytes] | None:
    """(number, salt) from whichever copy is sound, or None."""
    for offset in _COPIES_AT:
        fields = page[offset : offset + _HEADER.size]
        crc = page[offset + _HEADER.size : offset + _HEADER.size + _CRC.size]
        if crc == _CRC.pack(crc32(fields)) and fields.startswith(_HEADER_MAGIC):
            _, number, salt = _HEADER.unpack(fields)
            return number, salt
    return None


def mend_segment_header(file: File, number: int, salt: bytes) -> None:
    """Write the header again if a copy of it has rotted: the second may not be the next. Durable with the next sync."""
    header = encode_segment_header(number, salt)
    if file.read_at(0, PAGE_BYTES) != header:
        file.write_at(0, header)


def make_segment(file_system: FileSystem, directory: str, *, number: int, salt: bytes, temporary: str) -> Segment:
    """Turn the file `temporary` (allocated, synced) into segment `number`; durable when this returns."""
    file = file_system.open(temporary)
    file.write_at(0, encode_segment_header(number, salt))
    file.sync()
    file_system.rename(temporary, f"{directory}/{segment_name(number)}")
    file_system.sync_directory(directory)
    return Segment(number=number, file=file, salt=salt, size=file.size())


def scan_segment(number: int, data: bytes) -> ScannedSegment:
    """Find every frame of this use of the segment, however much lies damaged between them.

    A header of another number is a file whose renaming did not survive: its content was released.
    """
    header = decode_segment_header(data[:PAGE_BYTES])
    if header is not None and header[0] != number:
        return ScannedSegment(number=number, salt=header[1], frames=[], residue_offset=None, is_stale=True)
    salt = header[1] if header is not None else salt_of(data, PAGE_BYTES, number)
    if salt is None:
        return ScannedSegment(number=number, salt=None, frames=[], residue_offset=None)
    frames: list[ScannedFrame] = []
    residue: int | None = None
    for offset, description in _descriptions(data, salt):
        if description is None or description.header.segment != number:
            residue = offset if residue is None else residue
        else:
            frames.append(_scanned(data, number, offset, description))
    return ScannedSegment(number=number, salt=salt, frames=frames, residue_offset=residue)


def _descriptions(data: bytes, salt: bytes) -> Iterator[tuple[int, FrameDescription | None]]:
    """(start, description) of all sound frames in order; (where, None) for marks of unsound ones."""
    floor = position = PAGE_BYTES  # end of the last sound frame; where to look on
    head_at = -1
    while position < len(data):
        description = _in_place(decode_head(data, position, salt), position) if position % PAGE_BYTES == 0 else None
        start = position
        if description is None:
            head_at = data.find(HEAD_MAGIC + salt, position) if head_at < position else head_at
            head_at = head_at if head_at >= 0 else len(data)
            tail_at = data.find(TAIL_MAGIC + salt, position, head_at)
            position = tail_at if tail_at >= 0 else head_at
            if position == len(data):
                return
            start, description = _read_mark(data, position, salt)
        if description is None or start < floor:
            yield position, None
            position += 1
        else:
            yield start, description
            floor = position = start + description.frame_bytes


def _read_mark(data: bytes, at: int, salt: bytes) -> tuple[int, FrameDescription | None]:
    """Start and description of the frame whose head or tail has its magic at `at`."""
    if data.startswith(HEAD_MAGIC, at):
        return at, _in_place(decode_head(data, at, salt), at) if at % PAGE_BYTES == 0 else None
    end = at + HEAD_BYTES
    description = decode_tail(data, end, salt) if end % PAGE_BYTES == 0 else None
    start = at if description is None else end - description.frame_bytes
    return start, _in_place(description, start)


def _in_place(description: FrameDescription | None, start: int) -> FrameDescription | None:
    """Is it of a frame that was written here? A write that went astray is sound, but in the wrong place."""
    return description if description is not None and description.header.offset == start else None


def _scanned(data: bytes, number: int, offset: int, description: FrameDescription) -> ScannedFrame:
    return ScannedFrame(
        segment=number,
        offset=offset,
        frame_bytes=description.frame_bytes,
        header=description.header,
        records=description.records,
        rotten=_rotten(data, offset, description.records),
    )


def _rotten(data: bytes, offset: int, records: Sequence[RecordSummary]) -> frozenset[int]:
    view = memoryview(data)
    return frozenset(
        index
        for index, record in enumerate(records)
        if record.kind is RecordKind.ENTRY
        and crc32(view[offset + record.offset : offset + record.offset + record.payload_bytes]) != record.payload_crc
    )
