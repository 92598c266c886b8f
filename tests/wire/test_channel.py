from __future__ import annotations

from collections.abc import Awaitable, Callable

import nacl.signing
import pytest
import trio
import trio.testing

from wire import limits
from wire.channel import ClientChannel, MessageChannel, connect_channel, open_channel
from wire.errors import ClosedError, DecodeError, FrameError, HandshakeError, PeerError, RefusalCode
from wire.frames import encode_frame
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import NodeKey, RoomEpoch, RoomId
from wire.messages import (
    GetNodeInfo,
    Hello,
    Message,
    NodeInfo,
    Ping,
    Pong,
    Refused,
    ServerHello,
    encode,
    proof_message,
)
from wire.room import Purpose
from wire.tls import accept, server_context
from wire.versions import PROTOCOL_VERSION

SERVER = NodeIdentity(b"s" * 32)
CONTEXT = server_context(SERVER)
SERVER_HELLO = ServerHello(PROTOCOL_VERSION, b"n" * 32, SERVER.public, "node", 0)
Serve = Callable[[MessageChannel], Awaitable[None]]


async def serving(serve: Serve, nursery: trio.Nursery) -> ServerAddress:
    """Serve every connection on loopback with `serve`."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            channel = MessageChannel(await accept(stream, CONTEXT))
            await serve(channel)
            await channel.aclose()
        except PeerError:
            await stream.aclose()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, handle, listeners)
    return ServerAddress("127.0.0.1", listeners[0].socket.getsockname()[1], SERVER.public)


def answering(*answers: Message) -> Serve:
    async def serve(channel: MessageChannel) -> None:
        await channel.receive()
        await channel.send(*answers)
        with pytest.raises(ClosedError):
            await channel.receive()

    return serve


async def test_hellos_then_messages_both_ways() -> None:
    async def serve(channel: MessageChannel) -> None:
        (hello,) = await channel.receive()
        assert isinstance(hello, Hello)
        await channel.send(SERVER_HELLO)
        for message in await channel.receive():
            assert isinstance(message, Ping)
            await channel.send(Pong(message.id), Pong(message.id + 1))

    async with trio.open_nursery() as nursery:
        address = await serving(serve, nursery)
        async with open_channel(address, agent="test") as channel:
            await channel.send(Ping(7))
            received: list[Message] = []
            while len(received) < 2:
                received += await channel.receive()
            assert channel.hello == SERVER_HELLO
        nursery.cancel_scope.cancel()

    assert received == [Pong(7), Pong(8)]


async def test_call_returns_its_own_answer() -> None:
    async def serve(channel: MessageChannel) -> None:
        await channel.receive()
        await channel.send(SERVER_HELLO)
        await channel.receive()
        await channel.send(Pong(1), Refused(3, RefusalCode.BUSY, "other"), NodeInfo(2, ()), Pong(4))

    async with trio.open_nursery() as nursery:
        address = await serving(serve, nursery)
        async with open_channel(address) as channel:
            assert await channel.call(GetNodeInfo(2)) == NodeInfo(2, ())
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        ServerHello(PROTOCOL_VERSION + 1, b"n" * 32, SERVER.public, "node", 0),
        ServerHello(PROTOCOL_VERSION, b"n" * 31, SERVER.public, "node", 0),
        ServerHello(PROTOCOL_VERSION, b"n" * 32, NodeKey(b"o" * 32), "node", 0),
        Refused(0, RefusalCode.VERSION, "too old"),
        Ping(1),
    ],
)
async def test_wrong_hello_is_refused(answer: Message) -> None:
    async with trio.open_nursery() as nursery:
        address = await serving(answering(answer), nursery)
        with pytest.raises(HandshakeError):
            await connect_channel(address)
        nursery.cancel_scope.cancel()


async def test_server_that_says_no_hello_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(channel: MessageChannel) -> None:
        await channel.receive()
        monkeypatch.setattr(limits, "HANDSHAKE_S_MAX", 0.0)
        with pytest.raises(ClosedError):
            await channel.receive()

    async with trio.open_nursery() as nursery:
        address = await serving(serve, nursery)
        monkeypatch.setattr(limits, "HANDSHAKE_S_MAX", 0.2)
        with pytest.raises(HandshakeError, match="does not say hello"):
            await connect_channel(address)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"\xff\xff\xff\xff" + bytes(100), FrameError),
        (b"\0\0\0\0", FrameError),
        (encode_frame(b"\xc1garbage"), DecodeError),
        (encode_frame(encode(Ping(1)) + b"x"), DecodeError),
        (b"\0\0\1\0cut", ClosedError),
    ],
)
async def test_what_is_no_message_raises_the_right_error(sent: bytes, error: type[PeerError]) -> None:
    async def serve(channel: MessageChannel) -> None:
        await channel.receive()
        await channel.send(SERVER_HELLO)
        await channel.receive()
        await channel.send_encoded(sent)

    async with trio.open_nursery() as nursery:
        address = await serving(serve, nursery)
        async with open_channel(address) as channel:
            await channel.send(Ping(1))
            with pytest.raises(error):
                await channel.receive()
        nursery.cancel_scope.cancel()


async def test_proof_is_bound_to_server_connection_room_and_epoch() -> None:
    seed = b"w" * 32
    room_id = RoomId(b"r" * 16)
    async with trio.open_nursery() as nursery:
        address = await serving(answering(SERVER_HELLO), nursery)
        async with open_channel(address) as one, open_channel(address) as other:
            proof = one.proof(Purpose.WRITE, seed, id=1, room_id=room_id, epoch=RoomEpoch(3))
            again = other.proof(Purpose.WRITE, seed, id=1, room_id=room_id, epoch=RoomEpoch(3))
            signed = signed_by(one, room_id)
        nursery.cancel_scope.cancel()

    assert proof.signature != again.signature, "each connection has its own nonce"
    nacl.signing.SigningKey(seed).verify_key.verify(signed, proof.signature)


def signed_by(channel: ClientChannel, room_id: RoomId) -> bytes:
    return proof_message(
        purpose=Purpose.WRITE,
        node_key=SERVER.public,
        server_nonce=b"n" * 32,
        client_nonce=channel._nonce,
        room_id=room_id,
        epoch=RoomEpoch(3),
    )


async def test_channel_is_closed_when_its_block_ends() -> None:
    ended = trio.Event()

    async def serve(channel: MessageChannel) -> None:
        await answering(SERVER_HELLO)(channel)
        ended.set()

    async with trio.open_nursery() as nursery:
        address = await serving(serve, nursery)
        with pytest.raises(ZeroDivisionError):
            async with open_channel(address):
                raise ZeroDivisionError
        with trio.fail_after(5):
            await ended.wait()
        nursery.cancel_scope.cancel()
