from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import open_stream_to_socket_listener

from room_server.health import serve_health


class Source:
    def __init__(self) -> None:
        self.reason: str | None = None

    def not_ready_because(self) -> str | None:
        return self.reason

    async def render_metrics(self) -> bytes:
        return b"samtala_x 1\n"


@asynccontextmanager
async def serving(source: Source) -> AsyncIterator[trio.SocketListener]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_health, listener, source)
        yield listener
        nursery.cancel_scope.cancel()


async def exchange(listener: trio.SocketListener, request: bytes) -> bytes:
    """Everything the server says until it closes the connection."""
    stream = await open_stream_to_socket_listener(listener)
    async with stream:
        await stream.send_all(request)
        return b"".join([data async for data in stream])


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


async def test_metrics_are_served_as_exposition_text() -> None:
    async with serving(Source()) as listener:
        answer = await exchange(listener, get("/metrics?x=1"))

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"version=0.0.4" in answer
    assert answer.endswith(b"\r\n\r\nsamtala_x 1\n")


async def test_live_and_ready_while_all_is_well() -> None:
    async with serving(Source()) as listener:
        assert (await exchange(listener, get("/livez"))).startswith(b"HTTP/1.1 200")
        assert (await exchange(listener, get("/readyz"))).startswith(b"HTTP/1.1 200")


async def test_unready_node_says_why_and_stays_live() -> None:
    source = Source()
    source.reason = "catching up: 3 rooms"

    async with serving(source) as listener:
        answer = await exchange(listener, get("/readyz"))
        assert (await exchange(listener, get("/livez"))).startswith(b"HTTP/1.1 200")

    assert answer.startswith(b"HTTP/1.1 503")
    assert answer.endswith(b"catching up: 3 rooms\n")
