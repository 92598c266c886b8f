"""A client over TLS for tests: says messages, waits for messages, no logic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from wire.frames import FrameDecoder, encode_frame
from wire.identity import ServerAddress
from wire.messages import Deliver, Hello, Message, RoomCondition, RoomTip, ServerHello, decode, encode
from wire.room import Delivery
from wire.tls import TlsConnection, connect

CLIENT_NONCE = b"c" * 32
Kind = TypeVar("Kind", bound=Message)


class NetworkClient:
    """One connection. What is pushed is set aside: `deliveries`, `conditions`, `tips`; all else comes from `hear`."""

    def __init__(self, tls: TlsConnection) -> None:
        self.tls = tls
        self.deliveries: list[Delivery] = []
        self.conditions: list[int] = []
        self.tips: list[RoomTip] = []
        self.server_nonce = b""
        self._decoder = FrameDecoder()
        self._heard: list[Message] = []

    async def say(self, *messages: Message) -> None:
        await self.tls.send([encode_frame(encode(message)) for message in messages])

    async def say_raw(self, data: bytes) -> None:
        await self.tls.send(data)

    async def _receive(self) -> bool:
        data = await self.tls.receive_some()
        for frame in self._decoder.feed(data):
            message = decode(frame)
            if isinstance(message, Deliver):
                self.deliveries.extend(message.deliveries)
            elif isinstance(message, RoomCondition):
                self.conditions.append(message.spare_failures)
            elif isinstance(message, RoomTip):
                self.tips.append(message)
            else:
                self._heard.append(message)
        return bool(data)

    async def hear(self, kind: type[Kind]) -> Kind:
        """The next message that is no delivery; it must be of `kind`."""
        message = await self.hear_any()
        assert isinstance(message, kind), message
        return message

    async def hear_any(self) -> Message:
        """The next message that is no delivery."""
        with trio.fail_after(20):
            while not self._heard:
                assert await self._receive(), "closed while an answer was awaited"
        return self._heard.pop(0)

    async def call(self, message: Message, kind: type[Kind]) -> Kind:
        await self.say(message)
        return await self.hear(kind)

    async def delivered(self, count: int) -> list[Delivery]:
        """Wait until `count` blocks were delivered on this connection."""
        with trio.fail_after(20):
            while len(self.deliveries) < count:
                assert await self._receive(), "closed while deliveries were awaited"
        return self.deliveries

    async def tip(self) -> RoomTip:
        """Wait until the server has said where the log of a room ended."""
        with trio.fail_after(20):
            while not self.tips:
                assert await self._receive(), "closed while the end of the log was awaited"
        return self.tips[-1]

    async def closed(self) -> list[Message]:
        """Wait until the server closes; what it said until then."""
        with trio.fail_after(20):
            while await self._receive():
                pass
        return self._heard

    async def greet(self) -> ServerHello:
        hello = await self.call(Hello(1, CLIENT_NONCE), ServerHello)
        self.server_nonce = hello.nonce
        return hello


@asynccontextmanager
async def network_client(address: ServerAddress, *, hello: bool = True) -> AsyncIterator[NetworkClient]:
    tls = await connect(address)
    try:
        client = NetworkClient(tls)
        if hello:
            await client.greet()
        yield client
    finally:
        await tls.aclose()
