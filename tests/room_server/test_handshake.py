from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import memory_stream_pair

from room_server.handshake import Conversation, answer_peer, dial_peer
from room_server.peers import MetPeer, Peer
from wire.errors import ClosedError, DecodeError, HandshakeError, PeerError
from wire.frames import encode_frame
from wire.identity import NodeIdentity
from wire.messages import Message, PeerFrame, PeerHello, PeerProof, Ping, encode
from wire.peering import Acceptor, make_hello
from wire.tls import accept, connect_over, server_context

OURS, THEIRS = NodeIdentity(b"o" * 32), NodeIdentity(b"t" * 32)


def hello_of(identity: NodeIdentity, *, nonce: bytes = b"n" * 32, replica: bytes = b"r" * 16) -> PeerHello:
    return make_hello(identity, nonce=nonce, replica_id=replica, name="x", software="test/0")


async def conversations() -> tuple[Conversation, Conversation]:
    """(dialler's, acceptor's) over TLS in memory."""
    ends: list[Conversation] = []
    near, far = memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            ends.append(Conversation(await accept(far, server_context(OURS))))

        nursery.start_soon(answer)
        dialler = Conversation(await connect_over(near, OURS.public))
    return dialler, ends[0]


async def test_messages_come_one_by_one_however_they_were_sent() -> None:
    dialler, acceptor = await conversations()

    await dialler.tls.send(b"".join(encode_frame(encode(Ping(n))) for n in range(3)))

    assert await acceptor.hear() == Ping(0)
    assert acceptor.rest() == (Ping(1), Ping(2))
    assert acceptor.rest() == ()


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda tls: tls.aclose(), ClosedError),
        (lambda tls: tls.send(encode_frame(b"\xc1")), DecodeError),
    ],
)
async def test_end_or_noise_during_the_hellos_is_an_error(end: Callable[..., object], error: type[PeerError]) -> None:
    dialler, acceptor = await conversations()
    await end(dialler.tls)  # type: ignore[misc]  # each gives an awaitable

    with pytest.raises(error):
        await acceptor.hear()


async def answer(acceptor: Conversation, *said: Message) -> MetPeer:
    """What the acceptor makes of a dialler that says these things."""
    first = await acceptor.hear()
    assert isinstance(first, PeerHello)
    return await answer_peer(acceptor, first, Acceptor(hello_of(OURS, nonce=b"m" * 32), {THEIRS.public}))


async def test_stranger_is_refused_before_it_hears_anything() -> None:
    dialler, acceptor = await conversations()
    await dialler.say(hello_of(NodeIdentity(b"s" * 32)))

    with pytest.raises(HandshakeError, match="no peer of ours"):
        await answer(acceptor)


@pytest.mark.parametrize("second", [PeerProof(b"x" * 64), PeerFrame(b"data"), Ping(1), PeerProof(b"")])
async def test_peer_without_a_right_proof_is_refused(second: Message) -> None:
    dialler, acceptor = await conversations()
    await dialler.say(hello_of(THEIRS))
    await dialler.say(second)

    with pytest.raises(HandshakeError):
        await answer(acceptor)


async def listening(serve: Callable[[Conversation], object], nursery: trio.Nursery) -> Peer:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def handle(stream: trio.SocketStream) -> None:
        tls = await accept(stream, server_context(OURS))
        try:
            await serve(Conversation(tls))  # type: ignore[misc]  # an async function
        finally:
            await tls.aclose()

    nursery.start_soon(trio.serve_listeners, handle, [listener])
    return Peer(name="b", node_key=OURS.public, host="127.0.0.1", port=listener.socket.getsockname()[1])


async def test_both_sides_meet_with_what_they_said_behind_the_hellos() -> None:
    met: list[MetPeer] = []
    done = trio.Event()

    async def serve(conversation: Conversation) -> None:
        met.append(await answer(conversation))
        done.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        peer = await listening(serve, nursery)
        dialled = await dial_peer(peer, THEIRS, lambda: hello_of(THEIRS, replica=b"T" * 16))
        await done.wait()
        await dialled.tls.aclose()
        nursery.cancel_scope.cancel()

    assert (dialled.node_key, dialled.replica_id) == (OURS.public, b"r" * 16)
    assert (met[0].node_key, met[0].replica_id) == (THEIRS.public, b"T" * 16)


@pytest.mark.parametrize("said", [Ping(1), hello_of(THEIRS), hello_of(OURS, replica=b"short")])
async def test_dialler_refuses_a_peer_that_answers_wrongly(said: Message) -> None:
    async def serve(conversation: Conversation) -> None:
        await conversation.hear()
        await conversation.say(said)
        await conversation.hear()

    async with trio.open_nursery() as nursery:
        peer = await listening(ignoring_errors(serve), nursery)
        with pytest.raises(HandshakeError):
            await dial_peer(peer, THEIRS, lambda: hello_of(THEIRS))
        nursery.cancel_scope.cancel()


def ignoring_errors(serve: Callable[[Conversation], object]) -> Callable[[Conversation], object]:
    async def quiet(conversation: Conversation) -> None:
        try:
            await serve(conversation)  # type: ignore[misc]  # an async function
        except PeerError:
            return

    return quiet
