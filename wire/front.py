"""What somebody who connects wants, found out from their first bytes, before any of ours leave.

    TLS ClientHello, server name ours or none ─▶ us                       (RFC 6066 §3, RFC 8446 §4.1.2)
    TLS ClientHello, another server's name ────▶ that server, if we relay for it
    RELAY_MARK ‖ token 16 ─────────────────────▶ a server that we asked to come for somebody who wants it

A server's name is a hash of its key: whoever knows the key can ask for it, and nobody learns the key from the name. OpenSSL
reads the ClientHello for us, on a connection of its own that ends there; what was read is handed on unchanged.
"""

from __future__ import annotations

import functools
import hashlib
import ssl
from typing import Final

import msgspec
import trio

from wire import limits
from wire.errors import ClosedError, HandshakeError
from wire.ids import NodeKey

RELAY_MARK: Final = b"samtala relay\x01"
"""No TLS record begins so: their first byte is 22."""
TOKEN_BYTES: Final = 16
NOT_HERE: Final = bytes((21, 3, 3, 0, 2, 2, 112))
"""A TLS alert (RFC 8446 6.2), fatal: unrecognized_name. The server that is meant is another one, which we do not carry for."""
AWAY: Final = bytes((21, 3, 3, 0, 2, 2, 80))
"""The same: internal_error. We carry for it, and it does not come."""
_NAME_BYTES: Final = 16


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: all of it, and what it means. `server_name` is empty where none was given; `token` for who was asked."""

    received: bytes
    server_name: str = ""
    token: bytes = b""


class Reader:
    """Reads first bytes as they come."""

    def __init__(self) -> None:
        self._received = b""
        self._read_bytes = 0
        self._incoming = ssl.MemoryBIO()
        self._probe = _probe_context().wrap_bio(self._incoming, ssl.MemoryBIO(), server_side=True)

    def feed(self, data: bytes) -> Arrival | None:
        """What the bytes so far mean; None while there are too few to tell.

        Raises:
            HandshakeError: neither a ClientHello nor our mark, or no end of it.
        """
        self._received += data
        received = self._received
        if len(received) > limits.HANDSHAKE_BYTES_MAX:
            raise HandshakeError("the TLS handshake is too long")
        if RELAY_MARK.startswith(received[: len(RELAY_MARK)]):
            size = len(RELAY_MARK) + TOKEN_BYTES
            return None if len(received) < size else Arrival(received=received, token=received[len(RELAY_MARK) : size])
        # Until it was clear that this is not our mark, nothing was given to OpenSSL.
        self._incoming.write(received[self._read_bytes :])
        self._read_bytes = len(received)
        return self._read()

    def _read(self) -> Arrival | None:
        _FOUND.clear()
        try:
            self._probe.do_handshake()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as error:
            if _FOUND:
                return Arrival(received=self._received, server_name=_FOUND[0])
            raise HandshakeError(f"TLS failed: {error.reason}") from error
        raise HandshakeError("TLS without a ClientHello")


_FOUND: Final[list[str]] = []
"""The name in the ClientHello that is being read: OpenSSL calls back while it reads, and in no other way."""


def _note(_connection: object, name: str | None, _context: object) -> int:
    _FOUND.append(name or "")
    return int(ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)


@functools.cache
def _probe_context() -> ssl.SSLContext:
    """Without a certificate: every handshake ends where the server name has been read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.sni_callback = _note
    return context


@functools.lru_cache(maxsize=limits.SERVER_NAMES_CACHED_MAX)
def server_name(node_key: NodeKey) -> str:
    """What a server is called in a ClientHello."""
    digest = hashlib.blake2b(node_key, digest_size=_NAME_BYTES, person=b"samtala-name").hexdigest()
    return f"{digest}.samtala"


def relay_leg(token: bytes) -> bytes:
    """The first bytes of a server that comes because it was asked to."""
    assert len(token) == TOKEN_BYTES
    return RELAY_MARK + token


async def look(stream: trio.abc.ReceiveStream) -> Arrival:
    """Read until it is clear what is wanted. Bounded by HANDSHAKE_S_MAX and HANDSHAKE_BYTES_MAX.

    Raises:
        ClosedError: the other side went away.
        HandshakeError: it is neither, or too slow.
    """
    reader = Reader()
    with trio.move_on_after(limits.HANDSHAKE_S_MAX):
        while True:
            arrival = reader.feed(await _more(stream))
            if arrival is not None:
                return arrival
    raise HandshakeError("the TLS handshake took too long")


async def _more(stream: trio.abc.ReceiveStream) -> bytes:
    try:
        data = bytes(await stream.receive_some(limits.RECEIVE_BYTES))
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise ClosedError("the connection broke") from error
    if not data:
        raise HandshakeError("the TLS handshake was cut off")
    return data
