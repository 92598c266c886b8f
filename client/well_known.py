"""A room's record from a web server: the same signed bytes that the DHT would give, for those whom UDP does not reach.

    GET https://host/.well-known/samtala/<target, 40 hex digits>  ──▶  200, one encoded signed item

Any web server does, with a static file that `samtala room publish` writes. It learns an address that asked and a target that
names no room, and it can hide a record but not forge one: who serves it needs no trust, TLS keeps the question from others.
"""

from __future__ import annotations

import ssl
from pathlib import PurePosixPath
from typing import Final

import trio

from client import limits
from client.errors import UnavailableError, UsageError

HTTPS_PORT: Final = 443
_FOLDER: Final = PurePosixPath("/.well-known/samtala")
_OK: Final = 200
_READ_BYTES: Final = 4096


def record_path(target: bytes) -> str:
    """The path of a record on a web server, from its root."""
    return str(_FOLDER / target.hex())


def parse_web_host(text: str) -> tuple[str, int]:
    """Read `HOST` or `HOST:PORT`.

    Raises:
        UsageError: it is neither.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        host, port = port, str(HTTPS_PORT)
    if not host or set(host) & set("/:@ ") or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{text!r} is not HOST or HOST:PORT of a web server")
    return host, int(port)


async def fetch_record(host: str, port: int, target: bytes, *, context: ssl.SSLContext) -> bytes:
    """Return what a web server has for a target, at most `limits.WEB_BYTES_MAX` and unverified.

    Raises:
        UnavailableError: not reached, no TLS that we trust, or no record; the text says which. Time is the caller's.
    """
    import h11  # the last resort of a search that has mostly ended before it

    try:
        stream = await trio.open_ssl_over_tcp_stream(host, port, https_compatible=True, ssl_context=context)
        async with stream:
            return await _get(stream, host, record_path(target))
    except (OSError, trio.BrokenResourceError, h11.ProtocolError) as error:
        cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) and error.__cause__ else error
        raise UnavailableError(str(cause) or type(cause).__name__) from error


async def _get(stream: trio.SSLStream[trio.SocketStream], host: str, path: str) -> bytes:
    import h11  # as above

    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.WEB_BYTES_MAX)
    headers = [("host", host), ("connection", "close"), ("user-agent", "samtala")]
    request = connection.send(h11.Request(method="GET", target=path, headers=headers))
    end = connection.send(h11.EndOfMessage())
    assert request is not None, "a request has bytes"
    await stream.send_all(request + (end or b""))
    body = b""
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
            case h11.Response() if event.status_code != _OK:
                raise UnavailableError(f"not known there: status {event.status_code}")
            case h11.Data():
                body += event.data
                if len(body) > limits.WEB_BYTES_MAX:
                    raise UnavailableError(f"more than {limits.WEB_BYTES_MAX} bytes are no record")
            case h11.EndOfMessage():
                return body
            case h11.ConnectionClosed():
                raise UnavailableError("the server closed the connection")
            case _:
                continue
