"""TLS 1.3 over a trio stream: our own pump between OpenSSL's memory buffers and the socket.

    send(frames) ─▶ one SSL write ─▶ outgoing buffer ─▶ one socket send
    receive_some() ◀─ all records of one read ◀─ incoming buffer ◀─ one socket receive

Certificates are self-signed; the client compares the server's key with the pinned one after the server has proven it and
before anything of ours beyond the ClientHello leaves. Clients show no certificate: members prove what they may do above
TLS (`wire.messages.proof_message`), servers who they are (`wire.peering`).

One task sends and one receives; each call is one chunk, nothing is queued here. A connection whose `send` was cancelled
is broken, since half a record may have left. Unlike trio.SSLStream there is no lock and no second read per record: about
half its cost (e2ee.md §4).
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import trio

from wire import limits
from wire.errors import ClosedError, HandshakeError
from wire.front import server_name
from wire.identity import NodeIdentity, ServerAddress, key_from_certificate, key_text
from wire.ids import NodeKey

_RECORD_BYTES: Final = 16 * 1024
_RTT: Final = struct.Struct("=I")
_RTT_OFFSET: Final = 68
"""Where struct tcp_info of Linux has tcpi_rtt, microseconds: behind 8 bytes and 15 words."""
_SLICE_BYTES: Final = 2 * _RECORD_BYTES
"""Goes through OpenSSL's memory buffers at a time: they never give back what they once held, on each connection."""


_REFUSALS: Final = {
    "TLSV1_UNRECOGNIZED_NAME": "the server there has another key, and carries for none with this one",
    "TLSV1_ALERT_INTERNAL_ERROR": "the server is reached through another one, and does not come",
}
"""What the other side's alerts mean (`wire.front`)."""


@functools.cache
def _shared_client_context() -> ssl.SSLContext:
    """One for all connections of the program: it holds nothing of any of them, and takes 0.1 ms and 40 KiB."""
    return client_context()


def client_context() -> ssl.SSLContext:
    """TLS 1.3 only. OpenSSL checks no certificate: `connect_over` compares the key, which says more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def server_context(identity: NodeIdentity) -> ssl.SSLContext:
    """TLS 1.3 only, with the identity's certificate; one context serves all connections, of clients and peers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Sessions are not resumed: a full handshake costs 0.5 ms, tickets would be one more secret to rotate.
    context.num_tickets = 0
    with _as_file(identity.certificate_pem) as certificate, _as_file(identity.private_key_pem) as key:
        context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A path that reads as `text` once. OpenSSL takes keys from files only; a pipe keeps ours off the disk."""
    reader, writer = os.pipe()
    try:
        # A pipe holds at least 4 KiB unread (POSIX 512); our PEM texts are below 1 KiB.
        os.write(writer, text.encode())
        os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


async def connect(address: ServerAddress, context: ssl.SSLContext | None = None) -> TlsConnection:
    """Connect to a server and check its key. Bounded by HANDSHAKE_S_MAX.

    Raises:
        ClosedError: nobody there, or gone during the handshake.
        HandshakeError: it speaks no TLS 1.3 or has another key; nothing but a ClientHello was sent.
    """
    with trio.move_on_after(limits.HANDSHAKE_S_MAX):
        try:
            stream = await trio.open_tcp_stream(address.host, address.port)
        except OSError as error:
            raise ClosedError(f"cannot connect to {address.host}:{address.port}: {_reason(error)}") from error
        return await connect_over(stream, address.node_key, context)
    raise ClosedError(f"{address.host}:{address.port} does not answer")


async def connect_over(
    stream: trio.abc.Stream, node_key: NodeKey, context: ssl.SSLContext | None = None
) -> TlsConnection:
    """Do the client's side of the handshake on a stream, which is closed on failure.

    Raises:
        ClosedError: the other side went away.
        HandshakeError: no TLS 1.3, another key, or too slow.
    """
    connection = TlsConnection(stream, context or _shared_client_context(), name=server_name(node_key))
    return await _establish(connection, node_key)


async def accept(stream: trio.abc.Stream, context: ssl.SSLContext, received: bytes = b"") -> TlsConnection:
    """Do the server's side of the handshake on a stream, which is closed on failure; `received` was read from it already.

    Raises:
        ClosedError: the other side went away.
        HandshakeError: no TLS 1.3, or too slow.
    """
    return await _establish(TlsConnection(stream, context, received=received), None)


async def _establish(connection: TlsConnection, node_key: NodeKey | None) -> TlsConnection:
    is_done = False
    try:
        with trio.move_on_after(limits.HANDSHAKE_S_MAX):
            await connection.handshake(node_key)
            is_done = True
            return connection
        raise HandshakeError("the TLS handshake took too long")
    finally:
        if not is_done:
            connection.is_broken = True
            await connection.aclose()


class TlsConnection:
    """An encrypted connection. Made by `connect` and `accept`.

    Attributes:
        peer_key: the server's key, on the client's side; None on the server's.
        is_broken: nothing can be sent any more, not even a goodbye.
    """

    def __init__(
        self, stream: trio.abc.Stream, context: ssl.SSLContext, *, name: str | None = None, received: bytes = b""
    ) -> None:
        """The client's end says whom it wants by `name` (`wire.front`); without one, it is a server's."""
        self.peer_key: NodeKey | None = None
        self.is_broken = False
        self._is_ended = False
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._incoming.write(received)
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=name is None, server_hostname=name)

    @property
    def round_trip_s(self) -> float | None:
        """Smoothed round-trip time of the TCP connection, seconds (Linux, TCP_INFO); None where nobody knows."""
        if self.is_broken or not isinstance(self._stream, trio.SocketStream) or not hasattr(socket, "TCP_INFO"):
            return None
        with suppress(OSError):
            info = self._stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT_OFFSET + _RTT.size)
            if len(info) == _RTT_OFFSET + _RTT.size:
                return float(_RTT.unpack_from(info, _RTT_OFFSET)[0]) / 1e6
        return None

    @property
    def peer_host(self) -> str:
        """The numeric address of the other side; empty where there is none, or no more."""
        with suppress(OSError):
            if isinstance(self._stream, trio.SocketStream):
                return str(self._stream.socket.getpeername()[0])
        return ""

    async def handshake(self, node_key: NodeKey | None) -> None:
        """Run the handshake; with `node_key`, the other side must prove that key before our last flight leaves."""
        received_bytes = 0
        while not self._handshake_step():
            await self._flush()
            data = await self._receive_raw()
            received_bytes += len(data)
            if not data or received_bytes > limits.HANDSHAKE_BYTES_MAX:
                raise HandshakeError("the TLS handshake was cut off" if not data else "the TLS handshake is too long")
            self._incoming.write(data)
        if node_key is not None:
            self.peer_key = key_from_certificate(self._ssl.getpeercert(binary_form=True) or b"")
            if self.peer_key != node_key:
                raise HandshakeError(f"the server has another key: {key_text(self.peer_key)}")
        await self._flush()

    def _handshake_step(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise HandshakeError(_REFUSALS.get(error.reason, f"TLS failed: {error.reason}")) from error
        return True

    async def send(self, data: bytes | Sequence[bytes]) -> None:
        """Send bytes, or many pieces as one: one TLS write, one socket send. One task at a time.

        Raises:
            ClosedError: the connection is gone; how much arrived is unknown.
        """
        whole = data if isinstance(data, bytes) else b"".join(data)
        try:
            if len(whole) <= _SLICE_BYTES:
                self._ssl.write(whole)
                await self._send_raw(self._outgoing.read())
            else:
                await self._send_raw(self._encrypt(memoryview(whole)))
        except ssl.SSLError as error:
            raise ClosedError(f"TLS failed: {error.reason}") from error

    def _encrypt(self, data: memoryview) -> bytes:
        records: list[bytes] = []
        start = 0
        while start < len(data):
            start += self._ssl.write(data[start : start + _SLICE_BYTES])
            records.append(self._outgoing.read())
        return b"".join(records)

    async def receive_some(self) -> bytes:
        """Receive what is there, at least one byte; empty when the other side has ended the connection.

        Raises:
            ClosedError: the connection broke.
            HandshakeError: what came is not TLS, or was tampered with.
        """
        pieces = self._read_records()
        while not pieces and not self._is_ended:
            data = await self._receive_raw()
            if not data:
                self._is_ended = True
                return b""
            pieces = self._decrypt(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _decrypt(self, data: bytes) -> list[bytes]:
        if len(data) <= _SLICE_BYTES:
            self._incoming.write(data)
            return self._read_records()
        pieces: list[bytes] = []
        view = memoryview(data)
        for start in range(0, len(data), _SLICE_BYTES):
            self._incoming.write(view[start : start + _SLICE_BYTES])
            pieces += self._read_records()
        return pieces

    def _read_records(self) -> list[bytes]:
        """Decrypt the whole records that came in."""
        pieces: list[bytes] = []
        read, incoming = self._ssl.read, self._incoming
        try:
            while incoming.pending and not self._is_ended:
                piece = read(_RECORD_BYTES)
                if piece:
                    pieces.append(piece)
                else:
                    self._is_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._is_ended = True
        except ssl.SSLError as error:
            raise HandshakeError(f"TLS failed: {error.reason}") from error
        return pieces

    async def _receive_raw(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(limits.RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClosedError("the connection broke") from error

    async def _flush(self) -> None:
        """Hand what the handshake produced to the socket."""
        data = self._outgoing.read()
        if data:
            await self._send_raw(data)

    async def _send_raw(self, data: bytes) -> None:
        if self.is_broken:
            raise ClosedError("the connection is broken")
        self.is_broken = True
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClosedError("the connection broke") from error
        self.is_broken = False

    async def aclose(self) -> None:
        """Say goodbye if that is possible at once, and close; takes CLOSE_S_MAX at most, whatever the other side does."""
        with trio.move_on_after(limits.CLOSE_S_MAX, shield=True):
            if not self.is_broken:
                self.is_broken = True
                with suppress(ssl.SSLError):  # "Want read": the other side's goodbye is not waited for.
                    self._ssl.unwrap()
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # It closed first.
                    await self._stream.send_all(self._outgoing.read())
            await trio.aclose_forcefully(self._stream)


def _reason(error: OSError) -> str:
    """What happened, in one line; trio groups the failures of several addresses."""
    causes = error.__cause__.exceptions if isinstance(error.__cause__, BaseExceptionGroup) else (error,)
    return "; ".join(sorted({getattr(cause, "strerror", None) or str(cause) for cause in causes}))
