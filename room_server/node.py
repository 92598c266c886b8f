"""One node, put together: host, rooms, clients, peers, discovery, metrics; its start, its drain, its end.

    open host ─▶ serve peers and clients ─▶ started(RunningNode) ─▶ … ─▶ drain() ─▶ no new work, answers out ─▶ end
                                                                    └─▶ storage failed: everything ends, exit 1

`run_node` is for any trio program, several nodes in one process included; `room_server.process` is for a process of its
own. Whatever goes wrong with one connection stays there; a disk that fails ends the node, because it must not acknowledge any more.
"""

from __future__ import annotations

import importlib.metadata
import os
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog
import trio

from dht.node import Node
from room_server import limits, upnp
from room_server.addresses import Addresses, Rates
from room_server.admin import open_admin_socket, serve_admin
from room_server.announcer import Announcer, open_discovery
from room_server.clients import ClientServer, ClientServices
from room_server.cluster_parts import ClusterParts
from room_server.config import (
    ADMIN_SOCKET_BYTES_MAX,
    RELOADABLE,
    Endpoint,
    NodeConfig,
    admin_socket,
    changed_keys,
    parse_endpoint,
    replica_id,
)
from room_server.dial_back import DialBacks
from room_server.discovery_file import DiscoveryFile, Remembered
from room_server.door import Door
from room_server.draining import Draining
from room_server.errors import StartError
from room_server.face import NodeFace, wall_us
from room_server.feed import RingBudget
from room_server.formats import LEVEL
from room_server.handover import hand_over
from room_server.handshake import dial_peer
from room_server.health import serve_health
from room_server.hosting import Hosting
from room_server.lan import announce_on_lan
from room_server.logs import room_label
from room_server.metrics import NodeMetrics
from room_server.monitor import Monitor
from room_server.moving import Moving
from room_server.node_records import OwnRecord, PeerFinder
from room_server.peers import MetPeer, Peer, PeerLinks
from room_server.public_dht import Announcers, open_public_node
from room_server.reachability import ReachWatch
from room_server.relay import Carried, Relays
from room_server.reporter import NodeFacts, Reporter
from room_server.room_share import Quotas
from room_server.rooms import HostedRoom
from room_server.router_port import RouterPort, router_nonce
from room_server.scrub import Scrub
from room_server.setup import configured_peers, load_identity
from room_server.vitals import Vitals
from vr.host import Host, HostOptions, open_host
from vr.storage.file_system import FileSystem
from vr.types import ReplicaId
from wire.certificate import sign_statement
from wire.cluster import NodeRecord
from wire.errors import WireError
from wire.front import server_name
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import NodeKey
from wire.messages import NONCE_BYTES, NodeAddress, PeerHello
from wire.peering import make_hello
from wire.tls import server_context
from wire.versions import PROTOCOL_VERSION

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_BACKLOG: Final = 1024
"""Connections that the operating system holds for us: a room's members reconnect together."""


class RunningNode:
    """A node that listens. `port` and `metrics_port` are the real ones where the configuration says 0."""

    def __init__(
        self,
        *,
        address: ServerAddress,
        replica_id: bytes,
        port: int,
        metrics_port: int | None,
        reload: Callable[[NodeConfig], list[str]],
        reload_failed: Callable[[], None],
    ) -> None:
        self.reload = reload
        """Take a changed configuration; returns the keys of changes that need a restart."""
        self.reload_failed = reload_failed
        """Tell the metrics that a changed configuration was refused."""
        self.address = address
        self.replica_id = replica_id
        self.port = port
        self.metrics_port = metrics_port
        self._drain = trio.Event()

    def drain(self) -> None:
        """Begin to shut down: no new work, what is in flight is answered, then `run_node` returns."""
        self._drain.set()

    @property
    def is_draining(self) -> bool:
        """`drain` was called."""
        return self._drain.is_set()

    async def drain_begun(self) -> None:
        """Wait for `drain`."""
        await self._drain.wait()


class _Node:
    """The parts of a node and how they are wired."""

    def __init__(self, config: NodeConfig, identity: NodeIdentity, peers: list[Peer]) -> None:
        self.config = config
        self.identity = identity
        self.advertised = parse_endpoint(config.advertise or config.listen)
        self.metrics = NodeMetrics(
            version=software_version(), peers=[peer.name for peer in peers], has_public_dht=config.dht.public
        )
        self.hosting = Hosting(
            node_key=identity.public,
            sign=partial(sign_statement, identity=identity),
            rooms_max=config.limits.rooms,
            budget=RingBudget(config.limits.ring_mb * 1024 * 1024),
            metrics=self.metrics,
            on_created=self._on_created,
            wall_us=wall_us,
        )
        self.peers = PeerLinks(
            peers,
            node_key=identity.public,
            rooms=self.hosting.rooms,
            host_room=self.hosting.host_room,
            on_epochs=self._on_epochs,
            dial=self._dial,
            metrics=self.metrics,
            random01=random.SystemRandom().random,
            wall_us=wall_us,
            on_relay_ask=self._on_relay_ask,
            relay=config.relay,
            own_place=(self.advertised.host, self.advertised.port),
        )
        self.carried: Carried | None = None
        self.addresses = Addresses(Rates.of(config.limits))
        self.replica_id = ReplicaId(b"")
        self.announcers: Announcers | None = None
        self.cluster = ClusterParts(
            identity, own=self.own_record, hosting=self.hosting, links=self.peers, data=config.data
        )
        self.scrub = Scrub(
            config.data, days=config.scrub_days, metrics=self.metrics, wall_us=wall_us,
            random01=random.SystemRandom().random,
        )  # fmt: skip
        self.quotas = Quotas(config.limits, lambda: self.cluster.cluster.policy)
        self.hosting.rooms.quota = self.quotas.of_rooms
        self.finder: PeerFinder | None = None
        self.router: RouterPort | None = None
        self.reach: ReachWatch | None = None
        self.discovery_file: DiscoveryFile | None = None
        self.remembered = Remembered()

    def attach(self, host: Host) -> None:
        """The host is open."""
        self.replica_id = host.replica_id
        self.hosting.attach(host)
        self.cluster.attach(host)
        self.peers.attach(host, host.replica_id)
        for line in host.recovery_report:
            self.metrics.checksum_errors["log"].inc()
            log.warning("log_recovered", detail=line)
        for group, reason in host.damaged.items():
            log.error("room_damaged", room=room_label(group), reason=reason)

    def own_record(self) -> NodeRecord:
        """What this server says of itself to its cluster."""
        place = self.advertised
        key, version = self.identity.public, software_version()
        return NodeRecord(self.config.name, key, self.replica_id, place.host, place.port, version, LEVEL)

    def _on_created(self, room: HostedRoom) -> None:
        self.peers.announce(room)
        if self.announcers is not None:
            self.announcers.add(room)

    def _on_epochs(self, room: HostedRoom) -> None:
        self.hosting.on_epochs(room)  # Whose it is becomes known when clients can be told.

    def make_moving(self, clients: ClientServer) -> Moving:
        """What brings rooms to other servers."""
        moving = Moving(
            self.hosting.rooms,
            tell_clients=clients.tell_servers,
            tell_peers=self.peers.tell_epochs,
            announce=self._announce,
            host_room=self.hosting.host_room,
        )
        self.hosting.on_epochs = moving.note
        self.hosting.rooms.on_move = moving.wish
        return moving

    def _announce(self, room: HostedRoom, is_here: bool) -> None:
        """The owner's record of a room's servers may be another one now; or the room has left."""
        if self.announcers is None:
            return
        if is_here:
            self.announcers.follow_servers(room)
        else:
            self.announcers.drop(room)

    def open_dht(self, port: int) -> AbstractAsyncContextManager[Node]:
        """Our place in the DHT."""
        return open_discovery(
            self.config,
            self.peers.peers.values(),
            node_key=self.identity.public,
            port=port,
            remembered=self.remembered.nodes,
        )

    def discover(
        self, dht: Node, advertised: Endpoint, public: tuple[Node, DiscoveryFile] | None
    ) -> list[Callable[[], Awaitable[object]]]:
        """Answer for this node and its rooms from now on; returns the tasks that announce them."""
        self.finder = PeerFinder(dht)
        own = OwnRecord(dht, self.identity, advertised, wall_us=wall_us, random01=random.SystemRandom().random)
        announce = partial(Announcer, node_key=self.identity.public, random01=random.SystemRandom().random)
        first = announce(dht, metrics=self.metrics.dht, file=self.discovery_file, remembered=self.remembered)
        self.announcers = Announcers(first)
        self.peers.on_added = lambda peer: first.meet(peer.host, peer.port)
        if public is not None:
            node, file = public
            assert self.metrics.public_dht is not None, "made with the configuration that opened it"
            also = announce(node, metrics=self.metrics.public_dht, file=file, remembered=self.remembered)
            self.announcers = Announcers(first, also)
        self.hosting.rooms.on_new_link = self.announcers.follow_link
        for room in self.hosting.rooms:
            self.announcers.add(room)
        host, port = dht.address
        on_lan = partial(announce_on_lan, first.targets, listen_host=host, port=port)
        return [*self.announcers.tasks, own.run, self.finder.run, *([on_lan] if self.config.dht.lan else [])]

    def _open_router(self, port: int) -> list[Callable[[], Awaitable[object]]]:
        """Have our port forwarded by the home router, if that is wished; returns the tasks for it."""
        if self.config.router == "off":
            return []
        nonce = router_nonce(self.identity)
        self.router = RouterPort(port, nonce=nonce, random01=random.SystemRandom().random, has_upnp=upnp.is_installed())
        return [self.router.run]

    async def _dial(self, peer: Peer) -> MetPeer:
        """At the configured address, or where it says that it is now."""
        try:
            return await dial_peer(peer, self.identity, self.peer_hello)
        except WireError as error:
            failure = error
        moved = None if self.finder is None else self.finder.elsewhere(peer)
        if moved is None:
            raise failure
        return await dial_peer(moved, self.identity, self.peer_hello)

    def peer_hello(self) -> PeerHello:
        """Our hello to a peer, with a fresh nonce."""
        return make_hello(
            self.identity,
            nonce=secrets.token_bytes(NONCE_BYTES),
            replica_id=self.replica_id,
            name=self.config.name,
            software=f"samtala/{software_version()}",
        )

    def make_clients(self, advertised: Endpoint) -> ClientServer:
        """What serves client connections."""
        own = NodeAddress(
            self.config.name, self.identity.public, self.replica_id, advertised.host, advertised.port, True
        )
        face = NodeFace(
            own=own,
            hosting=self.hosting,
            peers=lambda: self.peers,
            metrics=self.metrics,
            room_servers=self.cluster.room_servers,
        )
        hosting = self.hosting
        services = ClientServices(
            create_room=hosting.create_room,
            read_history=hosting.read_history,
            read_tip=hosting.read_tip,
            dial_back=DialBacks(self.peers.peers).answer,
        )
        return ClientServer(face, services, nonce=lambda: secrets.token_bytes(NONCE_BYTES))

    def make_door(self, clients: ClientServer) -> Door:
        """What takes accepted connections."""
        return Door(
            context=server_context(self.identity),
            hello=self.peer_hello,
            clients=clients,
            peers=self.peers,
            metrics=self.metrics,
            connections_max=self.config.limits.connections,
            addresses=self.addresses,
            answer_joiner=self.cluster.answer_joiner,
            relays=Relays(self.peers, connections_max=self.config.limits.relays, metrics=self.metrics),
            own_name=server_name(self.identity.public),
        )

    def be_reached(self, port: int, door: Door) -> list[Callable[[], Awaitable[object]]]:
        """From outside: through the home router, if it listens, and through our relay, if we have one; returns the tasks."""
        relay = next((peer for peer in self.peers.peers.values() if peer.name == self.config.relay), None)
        self.carried = Carried(relay, enter=door.enter)
        return [*self._open_router(port), self.carried.run, *self._watch_reach()]

    def _watch_reach(self) -> list[Callable[[], Awaitable[object]]]:
        """Have fellows dial us, unless a relay carries for us because nobody can; returns the tasks for it."""
        if self.config.relay:
            return []
        self.reach = ReachWatch(
            self.advertised,
            node_key=self.identity.public,
            peers=self.peers.peers,
            metrics=self.metrics,
            random01=random.SystemRandom().random,
        )
        return [self.reach.run]

    def _on_relay_ask(self, key: NodeKey, token: bytes) -> None:
        if self.carried is not None:
            self.carried.on_ask(key, token)

    def reload(self, door: Door, config: NodeConfig) -> list[str]:
        """Take a changed configuration; returns the keys of changes that need a restart."""
        later = [key for key in changed_keys(self.config, config) if key not in RELOADABLE]
        self.hosting.rooms_max = config.limits.rooms
        door.connections_max = config.limits.connections
        door.relays.connections_max = config.limits.relays
        self.addresses.change(Rates.of(config.limits))
        self.quotas.change(config.limits)
        self.cluster.configure(configured_peers(config))
        self.metrics.config_reload_success.set(1)
        return later

    def serve_operators(
        self, listener: trio.SocketListener, clients: ClientServer, monitor: Monitor, vitals: Vitals
    ) -> list[Callable[[], Awaitable[object]]]:
        """What the admin socket tells and does; returns the tasks for it."""
        draining = Draining(self.hosting.host, tell=monitor.drain)
        serve = partial(
            serve_admin, listener, self._make_reporter(clients, monitor), monitor,
            cluster=self.cluster.make_admin(vitals), rebalancer=self.cluster.make_rebalancer(vitals), draining=draining,
        )  # fmt: skip
        return [serve, draining.run]

    def _make_reporter(self, clients: ClientServer, monitor: Monitor) -> Reporter:
        facts = NodeFacts(
            name=self.config.name,
            version=software_version(),
            protocol=PROTOCOL_VERSION,
            address=str(self.advertised),
            replica_id=self.replica_id.hex(),
            data=self.config.data,
        )
        return Reporter(
            facts,
            host=self.hosting.host,
            rooms=self.hosting.rooms,
            peers=self.peers,
            clients=clients,
            is_room=self.cluster.groups.is_room,
            not_ready_because=monitor.not_ready_because,
            dht=lambda: None if self.announcers is None else self.announcers.first.report(),
            router=lambda: None if self.router is None else self.router.report(),
            reach=lambda: None if self.reach is None else self.reach.report(),
        )

    def make_monitor(self, clients: ClientServer) -> Monitor:
        """What the metrics port tells."""
        host = self.hosting.host

        def set_gauges() -> None:
            self.metrics.client_sessions.set(len(clients))
            self.metrics.send_queue_bytes.set(clients.send_queue_bytes)
            for key, peer in self.peers.peers.items():
                self.metrics.peer_rtt[peer.name].set(self.peers.round_trip_s(key) or 0)
                self.metrics.peer_clock_offset[peer.name].set(self.peers.clock_offset_s(key) or 0)
            if self.announcers is not None:
                self.announcers.set_gauges()

        return Monitor(
            self.metrics,
            host=host,
            set_gauges=set_gauges,
            has_all_peers=lambda: self.peers.has_all_links,
            peer_names=lambda: {peer.node_key: peer.name for peer in self.peers.peers.values()},
            is_room=self.cluster.groups.is_room,
            data=self.config.data,
        )


def software_version() -> str:
    """The installed version."""
    try:
        return importlib.metadata.version("samtala")
    except importlib.metadata.PackageNotFoundError:
        return "0"


async def run_node(
    config: NodeConfig,
    *,
    listener: trio.SocketListener | None = None,
    file_system: FileSystem | None = None,
    host_options: HostOptions | None = None,
    task_status: trio.TaskStatus[RunningNode] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node until it is drained or cancelled.

    Args:
        config: checked configuration.
        listener: an open port to use instead of `config.listen` (tests, socket activation); closed at the end.
        file_system: where the data folder is; None for the real one.
        host_options: tuning of replication and its log; the expected replica id is always the configuration's.
        task_status: gets the `RunningNode` once it listens.

    Raises:
        NodeError: it cannot start like this; the text says what to do.
        VRError: the data folder must not be used, or the disk failed; the process must end.
    """
    node = _Node(config, load_identity(config), configured_peers(config))
    node.cluster.remember()
    options = msgspec.structs.replace(host_options or HostOptions(), expected_replica_id=_expected_replica_id(config))
    async with listener if listener is not None else await _listen("listen", config.listen) as listening:
        metrics_listener = await _listen("metrics.listen", config.metrics.listen) if config.metrics.listen else None
        opening = open_host(
            config.data,
            node.peers,
            node.cluster.groups.service_of,
            node.cluster.groups,
            file_system=file_system,
            options=options,
        )
        async with opening as host:
            node.attach(host)
            if file_system is None:
                node.discovery_file = DiscoveryFile(Path(config.data))
                node.remembered = node.discovery_file.load()
            # The data folder is ours now; one that is not on a real file system has no place for a socket.
            admin_listener = None if file_system is not None else _listen_for_admin(config)
            await _serve(node, _Listeners(listening, metrics_listener, admin_listener), task_status)
    log.info("node_stopped")


def _expected_replica_id(config: NodeConfig) -> ReplicaId | None:
    expected = replica_id(config)
    return None if expected is None else ReplicaId(expected)


async def _listen(key: str, text: str) -> trio.SocketListener:
    endpoint = parse_endpoint(text)
    try:
        listeners = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host, backlog=_BACKLOG)
    except OSError as error:
        raise StartError(f"{key}: cannot listen on {endpoint}: {error.strerror or error}") from error
    for surplus in listeners[1:]:
        await surplus.aclose()
    return listeners[0]


def _listen_for_admin(config: NodeConfig) -> trio.SocketListener | None:
    """The admin socket; None where the default place has too long a name, which must not keep a node from its work."""
    path = admin_socket(config)
    if not config.admin.socket and len(os.fsencode(path)) > ADMIN_SOCKET_BYTES_MAX:
        log.warning("admin_socket_off", reason="the data folder has too long a name: set admin.socket")
        return None
    return open_admin_socket(path)


def _port(listener: trio.SocketListener) -> int:
    return int(listener.socket.getsockname()[1])


class _Listeners(NamedTuple):
    """Where a node listens."""

    main: trio.SocketListener
    metrics: trio.SocketListener | None
    admin: trio.SocketListener | None


async def _serve(node: _Node, listeners: _Listeners, task_status: trio.TaskStatus[RunningNode]) -> None:
    config = node.config
    listener, metrics_listener = listeners.main, listeners.metrics
    if node.advertised.port == 0:
        node.advertised = Endpoint(node.advertised.host, _port(listener))
    advertised = node.advertised
    clients = node.make_clients(advertised)
    moving = node.make_moving(clients)
    monitor = node.make_monitor(clients)
    vitals = node.cluster.make_vitals(version=software_version(), not_ready_because=monitor.not_ready_because)
    door = node.make_door(clients)
    running = RunningNode(
        address=ServerAddress(advertised.host, advertised.port, node.identity.public),
        replica_id=node.replica_id,
        port=_port(listener),
        metrics_port=None if metrics_listener is None else _port(metrics_listener),
        reload=partial(node.reload, door),
        reload_failed=partial(node.metrics.config_reload_success.set, 0),
    )
    async with AsyncExitStack() as stack:
        dht: Node | None = None
        public: tuple[Node, DiscoveryFile] | None = None
        if config.dht.enabled:
            dht = await stack.enter_async_context(node.open_dht(running.port))
            if config.dht.public:
                public = await stack.enter_async_context(open_public_node(config))
        async with trio.open_nursery() as nursery:
            background: list[Callable[[], Awaitable[object]]] = [
                node.peers.run,
                clients.sweep,
                clients.tell_conditions,
                partial(moving.run, node.hosting.host),
                monitor.watch_loop,
                node.scrub.run,
                *node.cluster.tasks(vitals),
                *node.be_reached(running.port, door),
            ]
            if dht is not None:
                background += node.discover(dht, advertised, public)
            if metrics_listener is not None:
                background.append(partial(serve_health, metrics_listener, monitor))
            if listeners.admin is not None:
                background += node.serve_operators(listeners.admin, clients, monitor, vitals)
            for task in background:
                nursery.start_soon(task)
            accepting = trio.CancelScope()
            nursery.start_soon(_accept, door, listener, accepting, nursery)
            monitor.is_listening = True
            log.info("node_started", port=running.port, rooms=len(node.hosting.rooms), peers=len(node.peers.peers))
            task_status.started(running)
            await running.drain_begun()
            log.info("node_drain_begun", connections=len(clients))
            monitor.drain(is_draining=True)
            accepting.cancel()
            log.info("groups_handed_over", left=await hand_over(node.hosting.host))
            with trio.move_on_after(limits.DRAIN_S_MAX):
                await clients.drain()
            nursery.cancel_scope.cancel()


async def _accept(door: Door, listener: trio.SocketListener, scope: trio.CancelScope, handlers: trio.Nursery) -> None:
    with scope:
        await trio.serve_listeners(door.enter, [listener], handler_nursery=handlers)
    with trio.move_on_after(limits.FLUSH_S_MAX, shield=True):
        await listener.aclose()
