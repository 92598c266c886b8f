"""The presentation language of RFC 9420 2.1: big-endian integers and vectors with a variable-size length.

A vector's length takes 1, 2 or 4 bytes, told by the two top bits of the first (QUIC's integers without the 8-byte form),
and must be encoded in the fewest bytes. So every object has exactly one encoding: what was decoded may be kept as raw
bytes and hashed, signed or sent again without encoding it anew.

`Reader` walks over bytes from peers. It raises only `DecodeError` and `LimitExceeded` and never reads past its end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

from mls.errors import DecodeError, LimitExceeded
from mls.limits import MESSAGE_BYTES_MAX

__all__ = ["Reader", "decode", "optional", "u8", "u16", "u16_list", "u32", "u64", "vector", "vector_length"]

T = TypeVar("T")

_ONE_BYTE_MAX = 63
_TWO_BYTES_MAX = 16_383
_FOUR_BYTES_MAX = (1 << 30) - 1
_SHORT = tuple(bytes([length]) for length in range(_ONE_BYTE_MAX + 1))


def u8(value: int) -> bytes:
    """Encode a uint8."""
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    """Encode a uint16."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """Encode a uint32."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """Encode a uint64."""
    return value.to_bytes(8, "big")


def vector_length(length: int) -> bytes:
    """Encode the length of a vector, in bytes (RFC 9420 2.1.2)."""
    if length <= _ONE_BYTE_MAX:
        return _SHORT[length]
    if length <= _TWO_BYTES_MAX:
        return (length | 0x4000).to_bytes(2, "big")
    assert length <= _FOUR_BYTES_MAX, "callers bound what they encode"
    return (length | 0x8000_0000).to_bytes(4, "big")


def vector(content: bytes) -> bytes:
    """Encode `opaque content<V>`."""
    return vector_length(len(content)) + content


def u16_list(values: tuple[int, ...]) -> bytes:
    """Encode `uint16 values<V>`."""
    return vector(struct.pack(f">{len(values)}H", *values))


def optional(content: bytes | None) -> bytes:
    """Encode `optional<T>` from an encoded T."""
    return b"\x00" if content is None else b"\x01" + content


class Reader:
    """A cursor over bytes from a peer; sub-readers of vectors share the bytes and have their own end."""

    __slots__ = ("data", "end", "offset")

    def __init__(self, data: bytes, offset: int = 0, end: int | None = None) -> None:
        self.data = data
        self.offset = offset
        self.end = len(data) if end is None else end

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        start = self.offset
        stop = start + size
        if stop > self.end:
            raise DecodeError(f"{size} bytes wanted, {self.end - start} left")
        self.offset = stop
        return self.data[start:stop]

    def u8(self) -> int:
        """Read a uint8."""
        start = self.offset
        if start >= self.end:
            raise DecodeError("one byte wanted, none left")
        self.offset = start + 1
        return self.data[start]

    def u16(self) -> int:
        """Read a uint16."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Read a uint32."""
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        """Read a uint64."""
        return int.from_bytes(self.take(8), "big")

    def length(self) -> int:
        """Read a vector's length in bytes; encodings longer than needed are refused (RFC 9420 2.1.2)."""
        start = self.offset
        if start >= self.end:
            raise DecodeError("a vector length wanted, nothing left")
        self.offset = start + 1
        first = self.data[start]
        if first <= _ONE_BYTE_MAX:
            return first
        match first >> 6:
            case 1:
                length = (first & 0x3F) << 8 | self.u8()
                least = _ONE_BYTE_MAX
            case 2:
                length = (first & 0x3F) << 24 | int.from_bytes(self.take(3), "big")
                least = _TWO_BYTES_MAX
            case _:
                raise DecodeError("a vector length with the reserved prefix")
        if length <= least:
            raise DecodeError("a vector length that is not in its shortest form")
        return length

    def opaque(self) -> bytes:
        """Read `opaque x<V>`."""
        size = self.length()
        start = self.offset
        stop = start + size
        if stop > self.end:
            raise DecodeError(f"a vector of {size} bytes, {self.end - start} left")
        self.offset = stop
        return self.data[start:stop]

    def fixed(self, size: int, what: str) -> bytes:
        """Read `opaque x<V>` that must hold exactly `size` bytes."""
        content = self.opaque()
        if len(content) != size:
            raise DecodeError(f"{what} has {len(content)} bytes instead of {size}")
        return content

    def u16_list(self) -> tuple[int, ...]:
        """Read `uint16 x<V>`."""
        content = self.opaque()
        if len(content) % 2:
            raise DecodeError("a list of 16-bit numbers of odd length")
        return struct.unpack(f">{len(content) // 2}H", content)

    def u32_list(self) -> tuple[int, ...]:
        """Read `uint32 x<V>`."""
        content = self.opaque()
        if len(content) % 4:
            raise DecodeError("a list of 32-bit numbers with a remainder")
        return struct.unpack(f">{len(content) // 4}I", content)

    def present(self) -> bool:
        """Read the presence byte of `optional<T>`."""
        flag = self.u8()
        if flag > 1:
            raise DecodeError(f"presence byte {flag}")
        return flag == 1

    def section(self) -> Reader:
        """Read a vector's length and return a reader over its content, skipping the content here."""
        length = self.length()
        start = self.offset
        stop = start + length
        if stop > self.end:
            raise DecodeError(f"a vector of {length} bytes, {self.end - start} left")
        self.offset = stop
        return Reader(self.data, start, stop)

    def items(self, decode_one: Callable[[Reader], T], *, count_max: int) -> tuple[T, ...]:
        """Read `T x<V>`, at most `count_max` of them."""
        section = self.section()
        found: list[T] = []
        while section.offset < section.end:
            if len(found) == count_max:
                raise LimitExceeded(f"more than {count_max} entries in one vector")
            found.append(decode_one(section))
        return tuple(found)

    def finish(self) -> None:
        """Refuse bytes after the end of what was decoded."""
        if self.offset != self.end:
            raise DecodeError(f"{self.end - self.offset} bytes after the end")


def decode(data: bytes, decode_one: Callable[[Reader], T]) -> T:
    """Decode a whole object from `data`.

    Raises:
        DecodeError: the bytes are no such object, or more bytes follow it.
        LimitExceeded: the bytes are more than a message may have.
    """
    if len(data) > MESSAGE_BYTES_MAX:
        raise LimitExceeded(f"{len(data)} bytes; at most {MESSAGE_BYTES_MAX}")
    reader = Reader(data)
    value = decode_one(reader)
    reader.finish()
    return value
