"""The first words on a connection: is this a client or a peer, and if a peer, which one?

    accepted ─ TLS ─ first message ─┬─ PeerHello ─▶ our PeerHello, its PeerProof ─▶ MetPeer
                                    └─ anything else ─▶ a client's, handed on with what came behind it
    dialled ── TLS, key pinned ── PeerHello, PeerHello, PeerProof ─▶ MetPeer

Bounded in time by HANDSHAKE_S_MAX, or PEER_DIAL_S_MAX, and in bytes by the frame limit; what a stranger says before it has proven anything
costs one TLS handshake and one frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from room_server import limits
from room_server.peers import MetPeer, Peer
from vr.types import IDENTIFIER_BYTES, ReplicaId
from wire.errors import ClosedError, HandshakeError
from wire.frames import FrameDecoder, encode_frame
from wire.identity import NodeIdentity, ServerAddress
from wire.messages import Message, PeerHello, PeerProof, decode, encode
from wire.peering import Acceptor, Dialer
from wire.tls import TlsConnection, connect


class Conversation:
    """Messages one by one, while nothing else reads the connection."""

    def __init__(self, tls: TlsConnection) -> None:
        self.tls = tls
        self.decoder = FrameDecoder()
        self._heard: deque[Message] = deque()

    async def hear(self) -> Message:
        """The next message.

        Raises:
            PeerError: the connection ended, or something came that is no message.
        """
        while not self._heard:
            data = await self.tls.receive_some()
            if not data:
                raise ClosedError("the connection ended during the hellos")
            self._heard.extend(decode(frame) for frame in self.decoder.feed(data))
        return self._heard.popleft()

    async def say(self, message: Message) -> None:
        """Send one message."""
        await self.tls.send(encode_frame(encode(message)))

    def rest(self) -> tuple[Message, ...]:
        """What was received and not heard yet."""
        rest = tuple(self._heard)
        self._heard.clear()
        return rest


async def answer_peer(conversation: Conversation, first: PeerHello, acceptor: Acceptor) -> MetPeer:
    """Do the dialled side of the exchange, after the dialer's hello.

    Raises:
        PeerError: a stranger, a wrong proof, or the connection ended.
    """
    await conversation.say(acceptor.on_hello(first))
    proof = await conversation.hear()
    if not isinstance(proof, PeerProof):
        raise HandshakeError("no proof after the hello")
    return _met(conversation, acceptor.on_proof(proof))


async def dial_peer(peer: Peer, identity: NodeIdentity, hello: Callable[[], PeerHello]) -> MetPeer:
    """Connect to a peer and do the dialler's side of the exchange. Bounded by PEER_DIAL_S_MAX.

    Raises:
        PeerError: nobody there, another key, no answer in time, or the connection ended.
    """
    with trio.move_on_after(limits.PEER_DIAL_S_MAX):
        return await _dial(peer, Dialer(identity, hello(), peer.node_key))
    raise HandshakeError("the peer does not answer")


async def _dial(peer: Peer, dialer: Dialer) -> MetPeer:
    tls = await connect(ServerAddress(peer.host, peer.port, peer.node_key))
    is_met = False
    try:
        conversation = Conversation(tls)
        await conversation.say(dialer.hello)
        theirs = await conversation.hear()
        if not isinstance(theirs, PeerHello):
            raise HandshakeError("a peer that says no hello")
        await conversation.say(dialer.on_hello(theirs))
        met = _met(conversation, theirs)
        is_met = True
        return met
    finally:
        if not is_met:
            await tls.aclose()


def _met(conversation: Conversation, hello: PeerHello) -> MetPeer:
    if len(hello.replica_id) != IDENTIFIER_BYTES:
        raise HandshakeError("replica id of a wrong size")
    return MetPeer(
        tls=conversation.tls,
        decoder=conversation.decoder,
        node_key=hello.node_key,
        replica_id=ReplicaId(hello.replica_id),
        messages=conversation.rest(),
    )
