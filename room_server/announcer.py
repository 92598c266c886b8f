"""Discovery: this node's rooms in the DHT. Pins each hosted room's descriptor and announces it hourly.

The descriptor is the owner's signed item from the genesis, or a newer one that the owner has put into the DHT since; a
node holds bytes, never a key that signs them (dht.md §3). A pinned item is answered here whatever the network forgets,
so that one replica which is up is enough to be found by a link's hint. What a restart would forget is in `DiscoveryFile`:
neighbours, and newer records that were only ever seen in the DHT. A genesis without a readable descriptor is a room
that nobody finds by link; it works all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from dht.errors import DhtError, SocketUnavailable
from dht.items import MutableItem
from dht.node import Node, open_node
from room_server import limits
from room_server.announce_plan import AnnouncePlan
from room_server.config import Endpoint, NodeConfig, parse_endpoint
from room_server.dht_metrics import DhtMetrics
from room_server.discovery_file import DiscoveryFile, Remembered
from room_server.errors import StartError
from room_server.logs import room_label
from room_server.peers import Peer
from room_server.report import DhtReport
from room_server.rooms import HostedRoom
from wire.ids import NodeKey, RoomId

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

DHT_ID_BYTES: Final = 20


class Announcer:
    """Keeps the descriptors of hosted rooms findable.

    Args:
        node: this node's place in the DHT.
        node_key: this server's, to find its place among a room's members.
        metrics: to count with.
        random01: entropy for jitter.
        file: where to remember it all; None for nowhere.
        remembered: what was in that file.
    """

    def __init__(
        self,
        node: Node,
        *,
        node_key: NodeKey,
        metrics: DhtMetrics,
        random01: Callable[[], float],
        file: DiscoveryFile | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        self._node = node
        self._node_key = node_key
        self._metrics = metrics
        self._random01 = random01
        self._plan = AnnouncePlan()
        self._items: dict[RoomId, MutableItem] = {}
        self._logged_seqs: dict[bytes, int] = {}
        self._moved: list[HostedRoom] = []
        self._has_moved = trio.Event()
        self._has_new = trio.Event()
        self._has_neighbour = trio.Event()
        self._met: list[tuple[str, int]] = []
        self._file = file
        self._remembered = {} if remembered is None else remembered.items()

    def add(self, room: HostedRoom) -> None:
        """Begin to answer for a room and to announce it."""
        if not self._pin(room):
            return
        keys = [server.node_key for server in room.book.servers.servers]
        place = keys.index(self._node_key) if self._node_key in keys else len(keys)
        self._plan.add(room.room_id, trio.current_time(), place=place)
        self._has_new.set()

    def drop(self, room: HostedRoom) -> None:
        """Answer for a room no longer: it has left."""
        self._plan.drop(room.room_id)
        item = self._items.pop(room.room_id, None)
        if item is not None:
            self._forget(item.target)

    def _forget(self, target: bytes) -> None:
        self._node.unpin(target)
        self._logged_seqs.pop(target, None)

    def _pin(self, room: HostedRoom) -> bool:
        try:
            item = newest_record(room.service.descriptor, room.book.descriptor)
            self._logged_seqs[item.target] = item.seq
            seen = self._remembered.get(item.target)
            item = item if seen is None or seen.seq <= item.seq else seen
            self._node.pin(item)
        except DhtError as error:
            log.warning("descriptor_rejected", room=room_label(room.room_id), reason=str(error))
            return False
        self._items[room.room_id] = item
        room.announced = room.service.descriptor
        return True

    def targets(self) -> list[bytes]:
        """Where the records of this node's rooms are in the DHT."""
        return [item.target for item in self._items.values()]

    def report(self) -> DhtReport:
        """How discovery is, for operators."""
        return DhtReport(
            nodes=self._node.stats().nodes, oldest_record_age_s=self._plan.oldest_age_s(trio.current_time())
        )

    def set_gauges(self) -> None:
        """Tell the metrics how discovery is."""
        self._metrics.follow(self._node.stats())
        self._metrics.oldest_record_age.set(self._plan.oldest_age_s(trio.current_time()))

    async def run(self) -> None:
        """Announce rooms when they are due, until cancelled."""
        try:
            await self._run()
        finally:
            if self._file is not None:
                self._file.save(self._to_remember())

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            slots = trio.Semaphore(limits.ANNOUNCE_AT_ONCE_MAX)
            if self._file is not None:
                nursery.start_soon(self._save_often, self._file)
            nursery.start_soon(self._stay_known)
            nursery.start_soon(self._follow_links)
            while True:
                for room_id in self._plan.take_due(trio.current_time(), count_max=limits.ANNOUNCE_AT_ONCE_MAX):
                    await slots.acquire()
                    nursery.start_soon(self._announce, room_id, slots)
                with trio.move_on_at(self._plan.next_deadline()):
                    await self._has_new.wait()
                self._has_new = trio.Event()

    async def _save_often(self, file: DiscoveryFile) -> None:
        while True:
            await trio.sleep(limits.DISCOVERY_SAVE_S)
            remembered = self._to_remember()
            await trio.to_thread.run_sync(file.save, remembered)

    def _to_remember(self) -> Remembered:
        """Neighbours, and the records that are newer than what our rooms' logs say."""
        newer = [
            item.to_bytes() for item in self._node.pinned() if item.seq > self._logged_seqs.get(item.target, item.seq)
        ]
        return Remembered(
            nodes=tuple(self._node.known_nodes()[: limits.DISCOVERY_NODES_MAX]),
            records=tuple(newer[: limits.DISCOVERY_RECORDS_MAX]),
        )

    async def _stay_known(self) -> None:
        """Look for neighbours until there are some; peers may start after us, or come back."""
        while True:
            self._has_neighbour = trio.Event()
            has_new = await self._introduce()
            if has_new or self._node.stats().nodes == 0:
                await self._node.bootstrap()
            with trio.move_on_after(limits.DHT_BOOTSTRAP_S):
                await self._has_neighbour.wait()

    async def _introduce(self) -> bool:
        """Make peers of late known to the node; tells whether there were any."""
        met, self._met = self._met, []
        for place in met:
            try:
                await self._node.introduce(place)
            except DhtError as error:
                log.warning("peer_not_introduced", reason=str(error))
        return bool(met)

    def meet(self, host: str, port: int) -> None:
        """A server that became our peer is a node to begin from."""
        self._met = [*self._met, (host, port)][-limits.CLUSTER_NODES_MAX :]
        self._has_neighbour.set()

    def follow_link(self, room: HostedRoom) -> None:
        """A new link has another place in the DHT: answer for it at once, and let the old one expire. So for new servers."""
        old = self._items.get(room.room_id)
        if self._pin(room):
            if old is not None and old.target != self._items[room.room_id].target:
                self._forget(old.target)
            self._moved.append(room)
            self._has_moved.set()

    def follow_servers(self, room: HostedRoom) -> None:
        """The room may have other servers, and a newer record of them: put it where the old one is."""
        known = self._items.get(room.room_id)
        if known is not None and room.book.descriptor and newest_seq(room) > known.seq:
            self.follow_link(room)

    async def _follow_links(self) -> None:
        while True:
            await self._has_moved.wait()
            self._has_moved = trio.Event()
            moved, self._moved = self._moved, []
            for room in moved:
                if room.room_id in self._items:
                    await self._move(room)

    async def _move(self, room: HostedRoom) -> None:
        try:
            await self._node.put(self._items[room.room_id])
        except DhtError as error:
            log.debug("announcement_failed", room=room_label(room.room_id), reason=str(error))

    async def _announce(self, room_id: RoomId, slots: trio.Semaphore) -> None:
        succeeded = False
        begun_at = trio.current_time()
        if room_id not in self._items:
            slots.release()
            return  # It has left in the meantime.
        try:
            # Every round is a real put: storers forget after two hours, and whoever skips a round because there are
            # copies enough may find them all expired before the next.
            result = await self._node.put(self._items[room_id])
            succeeded = result.stored > 0
            if result.newer is not None and room_id in self._items:
                self._items[room_id] = result.newer
                self._node.pin(result.newer)
        except DhtError as error:
            log.debug("announcement_failed", room=room_label(room_id), reason=str(error))
        finally:
            slots.release()
            self._metrics.publication_duration.observe(trio.current_time() - begun_at)
            counter = self._metrics.published_ok if succeeded else self._metrics.published_failed
            counter.inc()
            self._plan.done(room_id, trio.current_time(), succeeded=succeeded, random01=self._random01())
            self._has_new.set()


def newest_record(by_link: bytes, by_move: bytes) -> MutableItem:
    """The owner's record to answer with: that of the link, or the one that came with the newest servers for the same link.

    Raises:
        DhtError: that of the link is no record.
    """
    item = MutableItem.from_bytes(by_link)
    try:
        moved = MutableItem.from_bytes(by_move)
    except DhtError:
        return item
    return moved if moved.public_key == item.public_key and moved.seq > item.seq else item


def newest_seq(room: HostedRoom) -> int:
    """The sequence number of the record to answer with; -1 if there is none."""
    try:
        return newest_record(room.service.descriptor, room.book.descriptor).seq
    except DhtError:
        return -1


def dht_id(node_key: NodeKey) -> bytes:
    """A server's 20-byte id in a private DHT: the same after each restart."""
    return hashlib.blake2b(node_key, digest_size=DHT_ID_BYTES, person=b"samtala-dht-id").digest()


async def _resolve(endpoints: Iterable[Endpoint]) -> list[tuple[str, int]]:
    """Numeric addresses; what does not resolve is left out, and logged."""
    resolved: list[tuple[str, int]] = []
    for endpoint in endpoints:
        try:
            with trio.fail_after(limits.RESOLVE_S_MAX):
                found = await trio.socket.getaddrinfo(endpoint.host, endpoint.port, type=trio.socket.SOCK_DGRAM)
        except (OSError, trio.TooSlowError) as error:
            log.warning("dht_peer_unresolved", port=endpoint.port, reason=str(error))
            continue
        resolved.extend((str(address[0]), int(address[1])) for *_, address in found)
    return resolved


@asynccontextmanager
async def open_discovery(
    config: NodeConfig,
    peers: Iterable[Peer],
    *,
    node_key: NodeKey,
    port: int,
    remembered: Iterable[tuple[str, int]] = (),
) -> AsyncIterator[Node]:
    """This node's place in the DHT for the length of a block.

    Args:
        config: the node's.
        peers: the other servers of its cluster.
        node_key: its key.
        port: the one that clients use.
        remembered: nodes of an earlier run, asked after those of the configuration.

    Raises:
        StartError: the UDP port cannot be used.
    """
    listen = parse_endpoint(config.dht.listen or config.listen)
    udp_port = listen.port if config.dht.listen else port
    peer_endpoints = [Endpoint(peer.host, peer.port) for peer in peers]
    bootstrap = [parse_endpoint(text) for text in config.dht.bootstrap] or peer_endpoints
    also = parse_endpoint(config.dht.listen_also) if config.dht.listen_also else None
    allowed: list[tuple[str, int] | bytes] | None = None
    if config.dht.private:
        allowed = [*await _resolve([*peer_endpoints, *(parse_endpoint(text) for text in config.dht.allow)])]
    try:
        async with open_node(
            host=listen.host,
            port=udp_port,
            second=None if also is None else (also.host, also.port),
            bootstrap=[*((endpoint.host, endpoint.port) for endpoint in bootstrap), *remembered],
            node_id=dht_id(node_key) if config.dht.private else None,
            allow_list=allowed,
        ) as node:
            yield node
    except SocketUnavailable as error:
        raise StartError(f"dht.listen: {error}") from error
