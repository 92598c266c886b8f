"""Gates on the links between the demo's servers, so that a partition can be real without touching the servers.

Every server dials its peers through a gate: a loopback port of ours that forwards to the peer's true port. An open gate
copies bytes both ways. A closed gate accepts nothing new and stops copying: bytes stay unread, exactly as if the network
had swallowed them, until the gate is opened or the connection is cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

COPY_BYTES = 64 * 1024


class Gate:
    """One direction of dialling: from server `source` to server `target` (their places in the demo, 0 to 2)."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.port = 0
        self._open = trio.Event()
        self._open.set()
        self._scopes: set[trio.CancelScope] = set()

    @property
    def is_open(self) -> bool:
        """Does the gate let bytes through?"""
        return self._open.is_set()

    def close(self) -> None:
        """Swallow everything from now on."""
        self._open = trio.Event()

    def open(self) -> None:
        """Let bytes through again. Connections that starved are cut: a peer that waited would dial again."""
        self._open.set()
        for scope in list(self._scopes):
            scope.cancel()

    async def serve(self, port_of_target: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Forward connections until cancelled; reports the gate's own port."""

        async def handle(stream: trio.SocketStream) -> None:
            await self._forward(stream, port_of_target)

        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started(self.port)
        await trio.serve_listeners(handle, listeners)

    async def _forward(self, near: trio.SocketStream, port_of_target: int) -> None:
        await self._open.wait()
        try:
            far = await trio.open_tcp_stream("127.0.0.1", port_of_target)
        except OSError:
            await near.aclose()
            return
        async with near, far:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._copy, near, far, scope)
                        nursery.start_soon(self._copy, far, near, scope)
                finally:
                    self._scopes.discard(scope)

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(COPY_BYTES):
                await self._open.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def open_gates(ports: list[int]) -> AsyncIterator[dict[tuple[int, int], Gate]]:
    """A gate for every ordered pair of servers, whose true ports are `ports`; keyed by (source, target)."""
    pairs = [(source, target) for source in range(len(ports)) for target in range(len(ports)) if source != target]
    gates = {pair: Gate(*pair) for pair in pairs}
    async with trio.open_nursery() as nursery:
        for gate in gates.values():
            await nursery.start(gate.serve, ports[gate.target])
        yield gates
        nursery.cancel_scope.cancel()
