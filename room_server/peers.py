"""Links to all peer servers, and the host's way to send over them (`vr.host.Transport`).

Of two servers the one with the smaller key dials. A link that breaks is reported to the host at once, because a reset
connection is the quickest news of a dead primary; the dialler comes back after 50 ms, then more slowly, with jitter.
Only servers that the configuration or the cluster's roster names are peers. If a peer dials while an older link of it seems to stand, the new
one wins: the old one is half dead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import msgspec
import structlog
import trio

from room_server import limits
from room_server.genesis_sync import GenesisSync, OfferedRoom
from room_server.metrics import NodeMetrics
from room_server.peer_link import PeerLink, ReplicationHost
from room_server.rooms import HostedRoom, Rooms
from vr.types import ReplicaId
from wire.errors import WireError
from wire.frames import FrameDecoder
from wire.ids import NodeKey
from wire.messages import Message, Ping
from wire.peer_messages import ClusterMessage
from wire.tls import TlsConnection

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that the configuration names, or the roster of our cluster."""

    name: str
    node_key: NodeKey
    host: str
    port: int


class MetPeer(msgspec.Struct, frozen=True, kw_only=True):
    """A connection whose hellos are exchanged and whose peer has proven its key; `messages` came behind them."""

    tls: TlsConnection
    decoder: FrameDecoder
    node_key: NodeKey
    replica_id: ReplicaId
    messages: tuple[Message, ...] = ()


def _nobody_asks(_node_key: NodeKey, _token: bytes) -> None:
    """Without a relay nobody is listened to who wants us to dial."""


class PeerLinks:
    """All links of this node. Made before the host, which sends through it; `attach` gives it the opened host.

    Args:
        peers: the configured servers.
        node_key: this server's.
        rooms: the rooms hosted here.
        host_room: hosts a room that a peer told of.
        on_epochs: a peer knew more of a room's servers than we did.
        dial: connects to a peer and exchanges hellos; raises WireError.
        metrics: to count with.
        random01: entropy for jitter.
        wall_us: the clock, unix microseconds; peers are told, to compare.
        on_relay_ask: a peer asks us to come to somebody whom it carries for.
        relay: the name of the peer that carries for us: nobody can dial us, so we dial it.
        own_place: where others dial us: who has the same host and port is carried for by us, and dials us.
    """

    def __init__(
        self,
        peers: Iterable[Peer],
        *,
        node_key: NodeKey,
        rooms: Rooms,
        host_room: Callable[[OfferedRoom], Awaitable[None]],
        on_epochs: Callable[[HostedRoom], None],
        dial: Callable[[Peer], Awaitable[MetPeer]],
        metrics: NodeMetrics,
        random01: Callable[[], float],
        wall_us: Callable[[], int],
        on_relay_ask: Callable[[NodeKey, bytes], None] = _nobody_asks,
        relay: str = "",
        own_place: tuple[str, int] | None = None,
    ) -> None:
        self.peers = {peer.node_key: peer for peer in peers}
        self._node_key = node_key
        self._rooms = rooms
        self._host_room = host_room
        self._on_epochs = on_epochs
        self._dial = dial
        self._metrics = metrics
        self._random01 = random01
        self._wall_us = wall_us
        self._on_relay_ask = on_relay_ask
        self._relay = relay
        self._own_place = own_place
        self._host: ReplicationHost | None = None
        self._replica_id = ReplicaId(b"")
        self._links: dict[ReplicaId, PeerLink] = {}
        self._replica_ids: dict[NodeKey, ReplicaId] = {}
        self._dialling: dict[NodeKey, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self.on_link: Callable[[NodeKey], None] = lambda _: None
        """Called when a link to a peer stands."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when one is lost."""
        self.on_added: Callable[[Peer], None] = lambda _: None
        """Called with a server that is a peer from now on."""
        self.on_cluster: Callable[[NodeKey, ClusterMessage], None] = lambda _, __: None
        """Called with what a peer says of its cluster."""

    def attach(self, host: ReplicationHost, replica_id: ReplicaId) -> None:
        """Links may be made from now on."""
        self._host = host
        self._replica_id = replica_id

    @property
    def _receiver(self) -> ReplicationHost:
        assert self._host is not None, "attach comes before links"
        return self._host

    def send(self, peer: ReplicaId, frame: bytes) -> None:
        """Queue a replication frame; dropped when the link is down or its queue full (`vr.host.Transport`)."""
        link = self._links.get(peer)
        if link is None or not link.send(frame):
            self._metrics.peer_frames_dropped.inc()

    def is_up(self, node_key: NodeKey) -> bool:
        """Whether a link to this server stands."""
        return self._replica_ids.get(node_key) in self._links

    def round_trip_s(self, node_key: NodeKey) -> float | None:
        """Seconds to a peer and back as the operating system measures them; None while the link is down or it cannot say."""
        link = self._links.get(self._replica_ids.get(node_key, ReplicaId(b"")))
        return None if link is None else link.round_trip_s

    def clock_offset_s(self, node_key: NodeKey) -> float | None:
        """How far a peer's clock is ahead of ours; None while the link is down or the peer has not said."""
        link = self._links.get(self._replica_ids.get(node_key, ReplicaId(b"")))
        return None if link is None else link.clock_offset_s

    def replica_id(self, node_key: NodeKey) -> bytes:
        """A peer's replica id as it last said it; empty while unknown."""
        return self._replica_ids.get(node_key, b"")

    @property
    def has_all_links(self) -> bool:
        """A link to every peer stands."""
        return len(self._links) >= len(self.peers)

    def announce(self, room: HostedRoom) -> None:
        """Tell connected peers of a room that was just created here."""
        for link in self._links.values():
            link.say(link.sync.announce([room]))

    def tell_epochs(self, room: HostedRoom) -> None:
        """Tell connected peers how a room came to its servers, and those who are new there that it is theirs."""
        for link in self._links.values():
            link.say(link.sync.announce([room]))
            link.say(link.sync.tell_epochs([room]))

    def tell(self, node_key: NodeKey, message: Message) -> bool:
        """Queue a message for one peer; False while there is no link to it."""
        link = self._links.get(self._replica_ids.get(node_key, ReplicaId(b"")))
        if link is None:
            return False
        link.say([message])
        return True

    def add(self, peer: Peer) -> None:
        """Be a peer of this server from now on."""
        assert peer.node_key not in self.peers
        self.peers[peer.node_key] = peer
        self._metrics.add_peer(peer.name)
        self.on_added(peer)
        self._begin_dialling(peer)

    def remove(self, node_key: NodeKey) -> None:
        """Be no peer of this server any more: the link ends, and it is not let in again."""
        peer = self.peers.pop(node_key)
        if all(other.name != peer.name for other in self.peers.values()):
            self._metrics.remove_peer(peer.name)
        scope = self._dialling.pop(node_key, None)
        if scope is not None:
            scope.cancel()
        link = self._links.get(self._replica_ids.pop(node_key, ReplicaId(b"")))
        if link is not None:
            link.cut()

    async def run(self) -> None:
        """Dial those peers that are ours to dial, and watch over all links, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._sweep)
            for peer in tuple(self.peers.values()):
                self._begin_dialling(peer)

    def _begin_dialling(self, peer: Peer) -> None:
        is_ours = peer.name == self._relay or (self._node_key < peer.node_key and not self._carries_for(peer))
        if self._nursery is not None and is_ours:
            scope = self._dialling[peer.node_key] = trio.CancelScope()
            self._nursery.start_soon(self._keep_dialling, peer, scope)

    def _carries_for(self, peer: Peer) -> bool:
        return not self._relay and (peer.host, peer.port) == self._own_place

    async def _keep_dialling(self, peer: Peer, scope: trio.CancelScope) -> None:
        with scope:
            await self._dial_again_and_again(peer)

    async def _dial_again_and_again(self, peer: Peer) -> None:
        backoff_s = limits.PEER_BACKOFF_S_MIN
        while True:
            try:
                met = await self._dial(peer)
            except WireError as error:
                log.debug("peer_dial_failed", peer=peer.name, reason=str(error))
                backoff_s = min(backoff_s * 2, limits.PEER_BACKOFF_S_MAX)
            else:
                await self.run_link(met)
                backoff_s = limits.PEER_BACKOFF_S_MIN
            await trio.sleep(backoff_s * (0.5 + self._random01()))

    async def run_link(self, met: MetPeer) -> None:
        """Carry a link from its hellos to its end, and close it."""
        peer = self.peers.get(met.node_key)
        if peer is None:  # Not any more: it was removed while the hellos were exchanged.
            await met.tls.aclose()
            return
        if self._is_taken(met):
            log.error("peer_refused", peer=peer.name, reason="it claims the replica id of another server")
            await met.tls.aclose()
            return
        link = PeerLink(
            met.tls,
            met.decoder,
            name=peer.name,
            replica_id=met.replica_id,
            sync=GenesisSync(self._rooms, own=(self._node_key, self._replica_id), peer=(met.node_key, met.replica_id)),
            host=self._receiver,
            host_room=self._host_room,
            on_epochs=self._on_epochs,
            on_cluster=partial(self.on_cluster, met.node_key),
            on_relay_ask=partial(self._on_relay_ask, met.node_key),
            wall_us=self._wall_us,
        )
        self._enter(link, met)
        try:
            await link.run(met.messages)
        finally:
            self._leave(link, peer)
            await met.tls.aclose()

    def _is_taken(self, met: MetPeer) -> bool:
        """A replica id belongs to one server: messages of replicas are believed by it."""
        others = (replica_id for key, replica_id in self._replica_ids.items() if key != met.node_key)
        return met.replica_id == self._replica_id or met.replica_id in others

    def _enter(self, link: PeerLink, met: MetPeer) -> None:
        older = self._links.get(met.replica_id)
        if older is not None:
            older.cut()
            self._receiver.peer_disconnected(met.replica_id)
        self._links[met.replica_id] = link
        self._replica_ids[met.node_key] = met.replica_id
        self._metrics.peer_up[link.name].set(1)
        log.info("peer_link_opened", peer=link.name)
        link.say(link.sync.announce(self._rooms))
        link.say(link.sync.tell_epochs(self._rooms))
        self._receiver.peer_connected(met.replica_id)
        self.on_link(met.node_key)

    def _leave(self, link: PeerLink, peer: Peer) -> None:
        if self._links.get(link.replica_id) is not link:
            return
        del self._links[link.replica_id]
        if peer.name in self._metrics.peer_up:
            self._metrics.peer_up[peer.name].set(0)
        log.warning("peer_link_lost", peer=peer.name)
        self._receiver.peer_disconnected(link.replica_id)
        self.on_lost()

    async def _sweep(self) -> None:
        """Keep idle links alive and cut silent ones."""
        while True:
            await trio.sleep(limits.PEER_PING_S)
            now = trio.current_time()
            for link in tuple(self._links.values()):
                link.say([Ping(self._wall_us())])
                link.sweep(now)
