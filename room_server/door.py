"""The listening port: every accepted connection becomes a client's or a peer's, or ends counted.

Connections beyond the configured number are closed before TLS; the operating system's queue does the rest. A failure of
one connection never leaves its task.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import structlog
import trio

from room_server.addresses import Addresses, Quota
from room_server.clients import ClientServer
from room_server.handshake import Conversation, answer_peer
from room_server.metrics import NodeMetrics
from room_server.peers import MetPeer, PeerLinks
from room_server.relay import Relays
from wire import limits as wire_limits
from wire.errors import HandshakeError, PeerError
from wire.front import Arrival, look
from wire.messages import AskCluster, Message, PeerHello
from wire.peering import Acceptor
from wire.tls import TlsConnection, accept

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Door:
    """Takes accepted streams.

    Args:
        context: TLS of this server.
        hello: makes our hello for one connection, with a fresh nonce.
        connections_max: connections at once, peers included.
        addresses: what each address may take.
        answer_joiner: answers a server that asks to join our cluster, for as long as it stays; raises PeerError.
        relays: carries those who want another server.
        own_name: what we are called in a ClientHello.
    """

    def __init__(
        self,
        *,
        context: ssl.SSLContext,
        hello: Callable[[], PeerHello],
        clients: ClientServer,
        peers: PeerLinks,
        metrics: NodeMetrics,
        connections_max: int,
        addresses: Addresses,
        answer_joiner: Callable[[Conversation, AskCluster], Awaitable[None]],
        relays: Relays,
        own_name: str,
    ) -> None:
        self._context = context
        self._hello = hello
        self._clients = clients
        self._peers = peers
        self._metrics = metrics
        self.connections_max = connections_max
        self._addresses = addresses
        self._answer_joiner = answer_joiner
        self.relays = relays
        self._own_name = own_name
        self._open = 0

    async def enter(self, stream: trio.SocketStream, host: str = "") -> None:
        """Serve one accepted stream to its end; `host` is the address that counts, if not the socket's."""
        if self._open >= self.connections_max:
            await self._close(stream, "limit")
            return
        quota = self._addresses.enter(host or _host_of(stream), trio.current_time())
        if quota is None:
            await self._close(stream, "address_limit")
            return
        self._open += 1
        try:
            await self._serve(stream, quota)
        except PeerError as error:
            self._metrics.handshakes_failed.inc()
            log.debug("handshake_failed", cause=error.cause)
        finally:
            self._open -= 1
            self._addresses.leave(quota)

    async def _close(self, stream: trio.SocketStream, cause: str) -> None:
        """Before TLS: a handshake costs more than all else that a stranger can make us do."""
        self._metrics.disconnected(cause)
        await trio.aclose_forcefully(stream)

    async def _serve(self, stream: trio.SocketStream, quota: Quota) -> None:
        arrival = await self._look(stream)
        if arrival.token:
            await self.relays.join(stream, arrival)
            return
        if arrival.server_name not in {"", self._own_name}:
            await self.relays.carry(stream, arrival)
            return
        tls = await accept(stream, self._context, arrival.received)
        try:
            met, conversation, first = await self._meet(tls)
            self._metrics.handshakes_ok.inc()
            if met is not None:
                await self._peers.run_link(met)
            elif isinstance(first[0], AskCluster):
                await self._answer_joiner(conversation, first[0])
            else:
                await self._clients.serve(tls, conversation.decoder, first, quota)
        finally:
            await tls.aclose()

    async def _look(self, stream: trio.SocketStream) -> Arrival:
        is_clear = False
        try:
            arrival = await look(stream)
            is_clear = True
            return arrival
        finally:
            if not is_clear:
                await trio.aclose_forcefully(stream)

    async def _meet(self, tls: TlsConnection) -> tuple[MetPeer | None, Conversation, tuple[Message, ...]]:
        conversation = Conversation(tls)
        with trio.move_on_after(wire_limits.HANDSHAKE_S_MAX):
            first = await conversation.hear()
            if isinstance(first, PeerHello):
                acceptor = Acceptor(self._hello(), self._peers.peers.keys())
                return await answer_peer(conversation, first, acceptor), conversation, ()
            return None, conversation, (first, *conversation.rest())
        raise HandshakeError("nothing was said")


def _host_of(stream: trio.SocketStream) -> str:
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return "gone"
