"""Frames: a stream cut into messages. Sans-IO.

    length 4 (big endian, not counting itself) | payload 1..FRAME_BYTES_MAX

A length is judged before a single byte behind it is kept, so nobody makes us hold more than one frame and one read.
Frames that arrive whole in one read are views of it: no copy between the TLS record and the decoder.
"""

from __future__ import annotations

import struct
from typing import Final

from wire import limits
from wire.errors import FrameError

_LENGTH: Final = struct.Struct(">I")
LENGTH_BYTES: Final = _LENGTH.size


def encode_frame(payload: bytes) -> bytes:
    """Put the length in front of a payload of 1 to FRAME_BYTES_MAX bytes."""
    size = len(payload)
    assert 0 < size <= limits.FRAME_BYTES_MAX
    return _LENGTH.pack(size) + payload


class FrameDecoder:
    """Turns received bytes, however cut, into payloads. After an error it is dead, as is the connection."""

    __slots__ = ("_pending", "_wanted")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._wanted = LENGTH_BYTES

    @property
    def pending_bytes(self) -> int:
        """Bytes of an unfinished frame; not 0 at the end of the stream means that it was cut."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[memoryview]:
        """Take received bytes; returns the payloads that are complete now, in order.

        Raises:
            FrameError: a frame of no length or longer than the limit.
        """
        pending = self._pending
        if pending:
            pending += data
            if len(pending) < self._wanted:
                return []
            data = bytes(pending)
            pending.clear()
        return self._split(data)

    def _split(self, data: bytes) -> list[memoryview]:
        view = memoryview(data)
        end = len(data)
        frames: list[memoryview] = []
        start, wanted = 0, LENGTH_BYTES
        while end - start >= LENGTH_BYTES:
            (size,) = _LENGTH.unpack_from(data, start)
            if not 0 < size <= limits.FRAME_BYTES_MAX:
                raise FrameError(f"frame of {size} bytes")
            wanted = LENGTH_BYTES + size
            if end - start < wanted:
                break
            frames.append(view[start + LENGTH_BYTES : start + wanted])
            start += wanted
            wanted = LENGTH_BYTES
        self._pending += view[start:]
        self._wanted = wanted
        return frames
