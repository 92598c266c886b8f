"""This server's own record in the DHT, and those of peers that have moved (`wire.node_record`).

    OwnRecord: advertised name ─▶ addresses ─ changed? ─▶ sign with a higher number ─▶ pin, put; put again every hour
    PeerFinder: a dial that failed ─▶ the peer's record ─▶ another address to dial

The number is the time, in microseconds, or one more than the highest that the network shows: a clock that goes wrong, or a
restored disk, must not hide where a server is.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable

import msgspec
import structlog
import trio

from dht.errors import DhtError
from dht.items import MutableItem
from dht.node import Node
from room_server import limits
from room_server.config import Endpoint
from room_server.peers import Peer
from wire.errors import WireError
from wire.identity import NodeIdentity
from wire.ids import NodeKey
from wire.node_record import node_record_key, open_node_record, sign_node_record

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_US = 1_000_000


class OwnRecord:
    """Keeps this server findable under its key.

    Args:
        dht: our place in the DHT.
        identity: of this server.
        advertised: where it is dialled; a name is resolved again and again.
        wall_us: the clock, unix microseconds.
        random01: entropy for jitter.
    """

    def __init__(
        self,
        dht: Node,
        identity: NodeIdentity,
        advertised: Endpoint,
        *,
        wall_us: Callable[[], int],
        random01: Callable[[], float],
    ) -> None:
        self._dht = dht
        self._identity = identity
        self._advertised = advertised
        self._wall_us = wall_us
        self._random01 = random01
        self._hosts: list[str] = []
        self._item: MutableItem | None = None
        self._put_at = -math.inf

    async def run(self) -> None:
        """Announce, and follow changes of our addresses, until cancelled."""
        while True:
            await self._look(await numeric_addresses(self._advertised))
            is_stored = self._put_at > trio.current_time()
            await trio.sleep(limits.NODE_RECORD_LOOK_S if is_stored else limits.NODE_RECORD_RETRY_S)

    async def _look(self, hosts: list[str]) -> None:
        if hosts and (self._item is None or hosts != self._hosts):
            self._hosts = hosts
            self._sign(above=-1 if self._item is None else self._item.seq)
        if self._item is not None and trio.current_time() >= self._put_at:
            await self._put(self._item)

    def _sign(self, *, above: int) -> None:
        now_us = max(self._wall_us(), 0)
        seq = max(now_us, above + 1)
        self._item = sign_node_record(
            self._identity, self._hosts, self._advertised.port, seq=seq, now_unix=now_us // _US
        )
        self._put_at = -math.inf

    async def _put(self, item: MutableItem) -> None:
        try:
            self._dht.pin(item)
            result = await self._dht.put(item)
        except DhtError as error:
            log.debug("node_record_not_announced", reason=str(error))
            return
        if result.newer is not None and result.newer.value != item.value:
            # We said that ourselves, in a life of which we know nothing.
            self._sign(above=result.newer.seq)
        elif result.stored > 0:
            spread = 1 + limits.ANNOUNCE_SPREAD * (2 * self._random01() - 1)
            self._put_at = trio.current_time() + limits.ANNOUNCE_PERIOD_S * spread


async def numeric_addresses(endpoint: Endpoint) -> list[str]:
    """The numeric addresses that others can dial, sorted; none for a wildcard, an unknown name or a port to come."""
    try:
        with trio.fail_after(limits.RESOLVE_S_MAX):
            found = await trio.socket.getaddrinfo(endpoint.host, endpoint.port, type=trio.socket.SOCK_STREAM)
    except (OSError, trio.TooSlowError):
        return []
    hosts = {str(address[0]) for *_, address in found if "%" not in str(address[0])}
    return sorted(host for host in hosts if not ipaddress.ip_address(host).is_unspecified)


class PeerFinder:
    """Finds peers that have moved. Searches go on beside the dialling, which a slow network must not hold up."""

    def __init__(self, dht: Node) -> None:
        self._dht = dht
        self._wanted: dict[NodeKey, Peer] = {}
        self._found: dict[NodeKey, Peer] = {}
        self._wake = trio.Event()

    def elsewhere(self, peer: Peer) -> Peer | None:
        """A peer that does not answer, at the address that its own record named last; None while there is no other.

        It is looked for from now on, and again whenever this is asked.
        """
        self._wanted[peer.node_key] = peer
        self._wake.set()
        return self._found.get(peer.node_key)

    async def run(self) -> None:
        """Search for those who are wanted, now and then, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            wanted, self._wanted = self._wanted, {}
            for peer in wanted.values():
                found = await self._search(peer)
                if found is None:
                    self._found.pop(peer.node_key, None)
                else:
                    self._found[peer.node_key] = found
            await trio.sleep(limits.PEER_FIND_EVERY_S)

    async def _search(self, peer: Peer) -> Peer | None:
        with trio.move_on_after(limits.PEER_FIND_S_MAX):
            try:
                item = await self._dht.get(node_record_key(peer.node_key))
                places = [] if item is None else open_node_record(item, peer.node_key)
            except (DhtError, WireError) as error:
                log.debug("peer_not_found", peer=peer.name, reason=str(error))
                return None
            for place in places:
                if (place.host, place.port) != (peer.host, peer.port):
                    log.info("peer_found_elsewhere", peer=peer.name)
                    return msgspec.structs.replace(peer, host=place.host, port=place.port)
        return None
