from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import open_stream_to_socket_listener

from room_server import limits
from room_server.http import JSON, Answer, serve_http


async def say_ok(query: bytes) -> Answer:
    return Answer(b"ok " + query, JSON)


async def hang(_query: bytes) -> Answer:
    await trio.sleep_forever()
    raise AssertionError


@asynccontextmanager
async def serving() -> AsyncIterator[trio.SocketListener]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, listener, {b"/livez": say_ok, b"/hang": hang})
        yield listener
        nursery.cancel_scope.cancel()


async def exchange(listener: trio.SocketListener, request: bytes) -> bytes:
    """Everything the server says until it closes the connection."""
    stream = await open_stream_to_socket_listener(listener)
    async with stream:
        await stream.send_all(request)
        return b"".join([data async for data in stream])


def get(path: str, *, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


async def test_handler_gets_the_query_and_names_its_type() -> None:
    async with serving() as listener:
        answer = await exchange(listener, get("/livez?a=b"))

    assert b"content-type: application/json" in answer
    assert answer.endswith(b"ok a=b")


async def test_two_requests_share_a_connection() -> None:
    async with serving() as listener:
        answer = await exchange(listener, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + get("/livez"))

    assert answer.count(b"HTTP/1.1 200") == 2


async def test_head_has_no_body() -> None:
    async with serving() as listener:
        answer = await exchange(listener, get("/livez", method="HEAD"))

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get("/nothing"), b"404"),
        (get("/livez", method="DELETE"), b"405"),
        (b"\x16\x03\x01 this is no http\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nx: " + b"y" * (limits.HTTP_REQUEST_BYTES_MAX + 1), b"431"),
        (
            b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"
            + b"y" * (limits.HTTP_REQUEST_BYTES_MAX + 1),
            b"413",
        ),
    ],
)
async def test_bad_requests_are_refused_and_the_server_lives_on(request_bytes: bytes, status: bytes) -> None:
    async with serving() as listener:
        stream = await open_stream_to_socket_listener(listener)
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send_ignoring_close, stream, request_bytes)
            answer = await stream.receive_some(100)
            nursery.cancel_scope.cancel()
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert (await exchange(listener, get("/livez"))).startswith(b"HTTP/1.1 200")


async def _send_ignoring_close(stream: trio.SocketStream, data: bytes) -> None:
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return


async def test_silent_and_hanging_connections_end_by_themselves(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as listener:
        assert await exchange(listener, b"") == b""
        assert await exchange(listener, get("/hang")) == b""
        assert autojump_clock.current_time() >= limits.HTTP_S_MAX


async def test_connection_that_vanishes_half_way_harms_nobody() -> None:
    async with serving() as listener:
        stream = await open_stream_to_socket_listener(listener)
        await stream.send_all(b"GET /li")
        await stream.aclose()

        assert (await exchange(listener, get("/livez"))).startswith(b"HTTP/1.1 200")


async def test_post_acts_only_where_there_are_actions() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, listener, {b"/look": say_ok}, {b"/act": say_ok})
        done = await exchange(listener, get("/act?now", method="POST"))
        looked = await exchange(listener, get("/look", method="POST"))
        not_acted = await exchange(listener, get("/act"))
        nursery.cancel_scope.cancel()

    assert done.endswith(b"ok now")
    assert looked.startswith(b"HTTP/1.1 404")
    assert not_acted.startswith(b"HTTP/1.1 404")
    async with serving() as listener:
        assert (await exchange(listener, get("/livez", method="POST"))).startswith(b"HTTP/1.1 405")
