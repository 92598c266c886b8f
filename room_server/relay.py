"""Carrying connections to a fellow server that nobody can dial, and being carried.

    someone ── TLS ClientHello, names T ──▶ R                        T: behind a router, its link to R stands
                                            R ── RelayAsk(token) ──▶ T, over that link
                                            R ◀── token ──────────── T dials R
    someone ◀═══════════ bytes ═══════════▶ R ◀═══════ bytes ══════▶ T          TLS ends at T, where its key is pinned

R reads the ClientHello's server name and not a byte more: it carries ciphertext, for servers that are its peers, and counts it.
To those who come there is no difference: T's address is R's, with T's key. So clients and other servers need to know nothing of
relays, and records of where a room is need no more room.

Bounds: connections carried at once (`limits.relays` of the configuration), seconds until T comes, one chunk in flight each way, idle
seconds. T treats all who come this way as one address, because R keeps the quotas of theirs.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
import trio

from room_server import limits
from room_server.metrics import NodeMetrics
from room_server.peers import Peer, PeerLinks
from wire.front import AWAY, NOT_HERE, TOKEN_BYTES, Arrival, relay_leg, server_name
from wire.ids import NodeKey
from wire.limits import CLOSE_S_MAX, RECEIVE_BYTES
from wire.messages import RelayAsk

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

RELAYED_HOST = "a relay"
"""The address of everybody who came through one, for quotas."""


class _Leg:
    """The way to the server that was asked to come."""

    def __init__(self) -> None:
        self.stream: trio.abc.Stream | None = None
        self.has_come = trio.Event()
        self.is_over = trio.Event()


class Relays:
    """What this node carries for its peers.

    Args:
        peers: the links.
        connections_max: carried at once; 0: nothing is.
        metrics: to count with.
    """

    def __init__(self, peers: PeerLinks, *, connections_max: int, metrics: NodeMetrics) -> None:
        self.connections_max = connections_max
        self._peers = peers
        self._metrics = metrics
        self._awaited: dict[bytes, _Leg] = {}
        self._open = 0

    def __len__(self) -> int:
        return self._open

    async def carry(self, stream: trio.abc.Stream, arrival: Arrival) -> None:
        """Serve somebody who wants another server, to the end. The stream is closed then."""
        try:
            key = self._wanted(arrival.server_name)
            if key is None:
                await self._refuse(stream, "stranger", NOT_HERE)
            elif self._open >= self.connections_max:
                await self._refuse(stream, "limit", AWAY)
            else:
                self._open += 1
                self._metrics.relay_connections.set(self._open)
                try:
                    await self._carry_to(key, stream, arrival.received)
                finally:
                    self._open -= 1
                    self._metrics.relay_connections.set(self._open)
        finally:
            await trio.aclose_forcefully(stream)

    def _wanted(self, name: str) -> NodeKey | None:
        return next((key for key in self._peers.peers if server_name(key) == name), None)

    async def _carry_to(self, key: NodeKey, stream: trio.abc.Stream, received: bytes) -> None:
        token, leg = secrets.token_bytes(TOKEN_BYTES), _Leg()
        self._awaited[token] = leg
        try:
            if not self._peers.tell(key, RelayAsk(token)):
                await self._refuse(stream, "away", AWAY)
                return
            with trio.move_on_after(limits.RELAY_WAIT_S_MAX):
                await leg.has_come.wait()
            if leg.stream is None:
                await self._refuse(stream, "away", AWAY)
                return
            await self._splice(stream, leg.stream, received)
        finally:
            self._awaited.pop(token, None)
            leg.is_over.set()

    async def _refuse(self, stream: trio.abc.Stream, reason: str, alert: bytes) -> None:
        self._metrics.relays_refused[reason].inc()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(CLOSE_S_MAX):
            await stream.send_all(alert)

    async def join(self, stream: trio.abc.Stream, arrival: Arrival) -> None:
        """A server comes because it was asked to; returns when it is needed no more. The stream is closed then."""
        leg = self._awaited.pop(arrival.token, None)
        try:
            if leg is None or arrival.received != relay_leg(arrival.token):
                self._metrics.relays_refused["token"].inc()
                return
            leg.stream = stream
            leg.has_come.set()
            await leg.is_over.wait()
        finally:
            await trio.aclose_forcefully(stream)

    async def _splice(self, one: trio.abc.Stream, other: trio.abc.Stream, received: bytes) -> None:
        """Carry bytes both ways until either side ends, or neither says anything for a while."""
        try:
            await other.send_all(received)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + limits.RELAY_IDLE_S_MAX
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, one, other, scope)
                nursery.start_soon(self._pump, other, one, scope)

    async def _pump(self, source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(RECEIVE_BYTES):
                scope.deadline = trio.current_time() + limits.RELAY_IDLE_S_MAX
                self._metrics.relay_bytes.inc(len(data))
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        # TLS has no half that goes on after the other's end.
        scope.cancel()


class Carried:
    """This node's part if a fellow carries for it: comes when it is asked to.

    Args:
        relay: who may ask; None: nobody carries for us.
        enter: serves a connection as one that was accepted; the second argument is the address that counts for quotas.
    """

    def __init__(self, relay: Peer | None, *, enter: Callable[[trio.SocketStream, str], Awaitable[None]]) -> None:
        self._relay = relay
        self._enter = enter
        self._asked, self._asks = trio.open_memory_channel[bytes](limits.RELAYED_WAITING_MAX)

    def on_ask(self, key: NodeKey, token: bytes) -> None:
        """A peer asks us to come. Nobody but our relay may have us dial, and not faster than we can."""
        if self._relay is None or key != self._relay.node_key or len(token) != TOKEN_BYTES:
            return
        try:
            self._asked.send_nowait(token)
        except trio.WouldBlock:
            log.warning("relayed_connections_wait", count=limits.RELAYED_WAITING_MAX)

    async def run(self) -> None:
        """Come when asked, until cancelled."""
        relay = self._relay
        if relay is None:
            return
        async with trio.open_nursery() as nursery:
            slots = trio.Semaphore(limits.RELAYED_MAX)
            async for token in self._asks:
                await slots.acquire()
                nursery.start_soon(self._come, relay, token, slots)

    async def _come(self, relay: Peer, token: bytes, slots: trio.Semaphore) -> None:
        try:
            with trio.fail_after(limits.RELAY_WAIT_S_MAX):
                stream = await trio.open_tcp_stream(relay.host, relay.port)
                await stream.send_all(relay_leg(token))
            await self._enter(stream, RELAYED_HOST)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            log.info("relay_not_reached", relay=relay.name, reason=str(error))
        finally:
            slots.release()
