"""The metrics port: `/metrics`, `/livez` and `/readyz` over HTTP/1.1 (h11), for scrapers and orchestrators.

`/livez`: the loop turns. `/readyz`: 200 when the node listens and has caught up, else 503 with the reason; never "has a
quorum", or an orchestrator would kill the survivors. Requests, connections and time are bounded; a request that is no
HTTP gets 400 and the connection ends. Meant for loopback or a management network: no TLS, no secrets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

import h11
import trio

from room_server import limits

_TEXT: Final = "text/plain; charset=utf-8"
_EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
_READ_BYTES: Final = 4096


class HealthSource(Protocol):
    """What the port tells about."""

    def not_ready_because(self) -> str | None:
        """Why this node is not ready; None when it is."""

    async def render_metrics(self) -> bytes:
        """The exposition text."""


_Answer: TypeAlias = tuple[int, str, bytes]
"""Status, content type, body."""


async def _metrics(source: HealthSource) -> _Answer:
    return 200, _EXPOSITION, await source.render_metrics()


async def _livez(_source: HealthSource) -> _Answer:
    return 200, _TEXT, b"ok\n"


async def _readyz(source: HealthSource) -> _Answer:
    reason = source.not_ready_because()
    return (200, _TEXT, b"ok\n") if reason is None else (503, _TEXT, f"{reason}\n".encode())


_ROUTES: Final[dict[bytes, Callable[[HealthSource], Awaitable[_Answer]]]] = {
    b"/metrics": _metrics,
    b"/livez": _livez,
    b"/readyz": _readyz,
}


async def serve_health(listener: trio.SocketListener, source: HealthSource) -> None:
    """Answer on `listener` until cancelled."""
    slots = trio.Semaphore(limits.HTTP_CONNECTIONS_MAX)

    async def handle(stream: trio.SocketStream) -> None:
        async with slots, stream:
            await _serve_connection(stream, source)

    await trio.serve_listeners(handle, [listener])


async def _serve_connection(stream: trio.SocketStream, source: HealthSource) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HTTP_REQUEST_BYTES_MAX)
    while True:
        with trio.move_on_after(limits.HTTP_S_MAX) as scope:
            try:
                again = await _serve_request(connection, stream, source)
            except h11.RemoteProtocolError as error:
                await _refuse(connection, stream, error)
                return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        if scope.cancelled_caught or not again:
            return
        connection.start_next_cycle()


async def _serve_request(connection: h11.Connection, stream: trio.SocketStream, source: HealthSource) -> bool:
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
                await _respond(connection, stream, await _answer(request, source), body=request.method != b"HEAD")
                return connection.our_state is h11.DONE and connection.their_state is h11.DONE
            case h11.ConnectionClosed() | h11.PAUSED:
                return False
            case _:
                raise AssertionError(f"a server receives no {event}")


async def _answer(request: h11.Request, source: HealthSource) -> _Answer:
    if request.method not in {b"GET", b"HEAD"}:
        return 405, _TEXT, b"GET or HEAD\n"
    answer = _ROUTES.get(request.target.partition(b"?")[0])
    return await answer(source) if answer is not None else (404, _TEXT, b"/metrics /livez /readyz\n")


async def _respond(
    connection: h11.Connection, stream: trio.SocketStream, answer: _Answer, *, body: bool = True
) -> None:
    status, content_type, content = answer
    headers = [("content-type", content_type), ("content-length", str(len(content)))]
    parts = [
        connection.send(h11.Response(status_code=status, headers=headers)),
        connection.send(h11.Data(data=content)) if body else None,
        connection.send(h11.EndOfMessage()),
    ]
    await stream.send_all(b"".join(part for part in parts if part))


async def _refuse(connection: h11.Connection, stream: trio.SocketStream, error: h11.RemoteProtocolError) -> None:
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    with trio.move_on_after(limits.HTTP_S_MAX):
        try:
            await _respond(connection, stream, (error.error_status_hint, _TEXT, b"not an acceptable request\n"))
            await stream.send_eof()
            # Closing with unread bytes resets the connection, and the reset may overtake our answer.
            for _ in range(limits.HTTP_REQUEST_BYTES_MAX // _READ_BYTES):
                if not await stream.receive_some(_READ_BYTES):
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
