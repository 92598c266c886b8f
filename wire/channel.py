"""Messages over an encrypted connection: the client's end, from the first hello on.

    open_channel(address) ─▶ TLS, key checked ─▶ Hello / ServerHello ─▶ send(messages), receive() -> messages of one chunk

Servers use `TlsConnection` and `FrameDecoder` themselves, because their frames are encoded once for many.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import nacl.signing
import trio

from wire import limits
from wire.errors import ClosedError, HandshakeError
from wire.frames import FrameDecoder, encode_frame
from wire.identity import ServerAddress
from wire.ids import NodeKey, RoomEpoch, RoomId
from wire.messages import (
    NONCE_BYTES,
    Hello,
    Message,
    Prove,
    Refused,
    ServerHello,
    decode,
    encode,
    proof_message,
)
from wire.room import Purpose
from wire.tls import TlsConnection, connect
from wire.versions import PROTOCOL_OLDEST, PROTOCOL_VERSION

_CALLS_AWAITED_MAX: Final = 10_000
"""Messages that `call` passes over before it gives up on an answer."""


class MessageChannel:
    """Messages both ways. One task sends, one receives."""

    def __init__(self, connection: TlsConnection) -> None:
        self._connection = connection
        self._decoder = FrameDecoder()

    async def send(self, *messages: Message) -> None:
        """Send messages as one write.

        Raises:
            ClosedError: the connection is gone; how much arrived is unknown.
        """
        await self.send_encoded(b"".join([encode_frame(encode(message)) for message in messages]))

    async def send_encoded(self, frames: bytes) -> None:
        """Send frames that are encoded already as one write.

        Raises:
            ClosedError: the connection is gone; how much arrived is unknown.
        """
        await self._connection.send(frames)

    async def receive(self) -> list[Message]:
        """Receive the messages of one chunk, at least one.

        Raises:
            ClosedError: the other side ended the connection, or it broke.
            PeerError: what came is no message, or too long.
        """
        while True:
            data = await self._connection.receive_some()
            if not data:
                raise ClosedError("the other side ended the connection")
            frames = self._decoder.feed(data)
            if frames:
                return [decode(frame) for frame in frames]

    async def aclose(self) -> None:
        """Close; takes CLOSE_S_MAX at most."""
        await self._connection.aclose()


class ClientChannel(MessageChannel):
    """A channel to a server that has said hello.

    Attributes:
        hello: the server's.
        early: messages that came in one chunk with its hello.
    """

    hello: ServerHello

    def __init__(self, connection: TlsConnection) -> None:
        super().__init__(connection)
        self.early: list[Message] = []
        self._nonce = secrets.token_bytes(NONCE_BYTES)

    async def say_hello(self, node_key: NodeKey, *, agent: str) -> None:
        """Exchange hellos with the server that TLS has shown to own `node_key`.

        Raises:
            HandshakeError: it answers something else, another version or another key.
            ClosedError: it ended the connection.
        """
        await self.send(Hello(PROTOCOL_VERSION, self._nonce, agent, PROTOCOL_OLDEST))
        hello, *self.early = await self.receive()
        if isinstance(hello, Refused):
            raise HandshakeError(f"refused: {hello.text}")
        if not isinstance(hello, ServerHello) or not PROTOCOL_OLDEST <= hello.version <= PROTOCOL_VERSION:
            raise HandshakeError("no server of this protocol version")
        if hello.node_key != node_key or len(hello.nonce) != NONCE_BYTES:
            raise HandshakeError("the server's hello names another key than its certificate, or has no nonce")
        self.hello = hello

    def proof(self, purpose: Purpose, seed: bytes, *, id: int, room_id: RoomId, epoch: RoomEpoch) -> Prove:  # noqa: A002 (the wire's name)
        """Make a proof for this connection with the 32-byte Ed25519 seed of that purpose and epoch."""
        signed = proof_message(
            purpose=purpose,
            node_key=self.hello.node_key,
            server_nonce=self.hello.nonce,
            client_nonce=self._nonce,
            room_id=room_id,
            epoch=epoch,
        )
        return Prove(id, room_id, purpose, epoch, nacl.signing.SigningKey(seed).sign(signed).signature)

    async def call(self, message: Message) -> Message:
        """Send a message that has an `id` and wait for its answer, which may be `Refused`; for short conversations.

        Other messages that come meanwhile are dropped.

        Raises:
            PeerError: the connection ended, or the server broke the protocol.
        """
        await self.send(message)
        wanted = getattr(message, "id")  # noqa: B009 (not every Message has one)
        passed = 0
        while passed < _CALLS_AWAITED_MAX:
            for answer in await self.receive():
                if getattr(answer, "id", None) == wanted:
                    return answer
                passed += 1
        raise HandshakeError("the server talks of other things")


async def connect_channel(
    address: ServerAddress, *, agent: str = "", context: ssl.SSLContext | None = None
) -> ClientChannel:
    """Connect and exchange hellos; the caller closes the channel. Bounded by twice HANDSHAKE_S_MAX.

    Raises:
        ClosedError: nobody there, or gone.
        HandshakeError: not the pinned server, or it does not speak this protocol.
    """
    connection = await connect(address, context)
    channel = ClientChannel(connection)
    is_open = False
    try:
        with trio.move_on_after(limits.HANDSHAKE_S_MAX):
            await channel.say_hello(address.node_key, agent=agent)
            is_open = True
            return channel
        raise HandshakeError("the server does not say hello")
    finally:
        if not is_open:
            await connection.aclose()


@asynccontextmanager
async def open_channel(
    address: ServerAddress, *, agent: str = "", context: ssl.SSLContext | None = None
) -> AsyncIterator[ClientChannel]:
    """A channel to a server for the time of the block.

    Raises:
        ClosedError: nobody there, or gone.
        HandshakeError: not the pinned server, or it does not speak this protocol.
    """
    channel = await connect_channel(address, agent=agent, context=context)
    try:
        yield channel
    finally:
        await channel.aclose()
