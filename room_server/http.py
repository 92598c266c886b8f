"""A small HTTP/1.1 server over h11: fixed paths, everything bounded. For the metrics port and the admin socket.

GET and HEAD look; POST, where a listener has such paths, does something: all that it says is in its query.
Requests, connections and time are bounded; a request that is no HTTP gets 400 and the connection ends. Handlers take the
query as it came and return a whole body. No TLS and no secrets: who may connect is decided by where the listener is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import h11
import msgspec
import trio

from room_server import limits

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"
_READ_BYTES: Final = 4096


class Answer(msgspec.Struct, frozen=True):
    """What a handler says."""

    body: bytes
    content_type: str = TEXT
    status: int = 200


Handler: TypeAlias = Callable[[bytes], Awaitable[Answer]]
"""Takes the query, the bytes behind `?`, as it came."""

Routes: TypeAlias = Mapping[bytes, Handler]
"""By path."""


class _Served(msgspec.Struct, frozen=True):
    looks: Routes
    actions: Routes


async def serve_http(listener: trio.SocketListener, routes: Routes, actions: Routes | None = None) -> None:
    """Answer on `listener` until cancelled: GET by `routes`, POST by `actions`."""
    served = _Served(routes, actions or {})
    slots = trio.Semaphore(limits.HTTP_CONNECTIONS_MAX)

    async def handle(stream: trio.SocketStream) -> None:
        async with slots, stream:
            await _serve_connection(stream, served)

    await trio.serve_listeners(handle, [listener])


async def _serve_connection(stream: trio.SocketStream, served: _Served) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HTTP_REQUEST_BYTES_MAX)
    while True:
        with trio.move_on_after(limits.HTTP_S_MAX) as scope:
            try:
                again = await _serve_request(connection, stream, served)
            except h11.RemoteProtocolError as error:
                await _refuse(connection, stream, error)
                return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        if scope.cancelled_caught or not again:
            return
        connection.start_next_cycle()


async def _serve_request(connection: h11.Connection, stream: trio.SocketStream, served: _Served) -> bool:
    """Answer one request; True if the connection may carry another."""
    request: h11.Request | None = None
    body_bytes = 0
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(_READ_BYTES))
            case h11.Request():
                request = event
            case h11.Data():
                body_bytes += len(event.data)
                if body_bytes > limits.HTTP_REQUEST_BYTES_MAX:
                    raise h11.RemoteProtocolError("body too large", error_status_hint=413)
            case h11.EndOfMessage():
                assert request is not None, "h11 orders events"
                await _respond(connection, stream, await _answer(request, served), body=request.method != b"HEAD")
                return connection.our_state is h11.DONE and connection.their_state is h11.DONE
            case h11.ConnectionClosed() | h11.PAUSED:
                return False
            case _:
                raise AssertionError(f"a server receives no {event}")


async def _answer(request: h11.Request, served: _Served) -> Answer:
    match request.method:
        case b"GET" | b"HEAD":
            routes = served.looks
        case b"POST" if served.actions:
            routes = served.actions
        case _:
            return Answer(b"GET or HEAD\n", status=405)
    path, _, query = request.target.partition(b"?")
    handler = routes.get(path)
    return await handler(query) if handler is not None else Answer(b" ".join(routes) + b"\n", status=404)


async def _respond(connection: h11.Connection, stream: trio.SocketStream, answer: Answer, *, body: bool = True) -> None:
    headers = [("content-type", answer.content_type), ("content-length", str(len(answer.body)))]
    parts = [
        connection.send(h11.Response(status_code=answer.status, headers=headers)),
        connection.send(h11.Data(data=answer.body)) if body else None,
        connection.send(h11.EndOfMessage()),
    ]
    await stream.send_all(b"".join(part for part in parts if part))


async def _refuse(connection: h11.Connection, stream: trio.SocketStream, error: h11.RemoteProtocolError) -> None:
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    with trio.move_on_after(limits.HTTP_S_MAX):
        try:
            await _respond(connection, stream, Answer(b"not an acceptable request\n", status=error.error_status_hint))
            await stream.send_eof()
            # Closing with unread bytes resets the connection, and the reset may overtake our answer.
            for _ in range(limits.HTTP_REQUEST_BYTES_MAX // _READ_BYTES):
                if not await stream.receive_some(_READ_BYTES):
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
