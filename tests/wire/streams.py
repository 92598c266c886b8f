"""Streams for tests of the channel: pairs in memory, one that keeps what passed, one that is never read."""

from __future__ import annotations

import trio
import trio.testing


class RecordingStream(trio.abc.Stream):
    """Passes everything on and remembers what was sent."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.sent: list[bytes] = []
        self._inner = inner

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


def recorded_pair() -> tuple[RecordingStream, RecordingStream]:
    """Two connected streams of unbounded capacity."""
    left, right = trio.testing.memory_stream_pair()
    return RecordingStream(left), RecordingStream(right)
