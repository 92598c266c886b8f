"""Where to dial a room's servers: as the owner signed, as they vouched for each other, as each says of itself.

    descriptor ─┬─ a later epoch is certified ─▶ the certificates' addresses
                └─ else ─▶ its own             nobody answers ─▶ each server's own record in the DHT (`wire.node_record`)

A server's own record is believed about its own address alone; the key that it must show there is the one known before.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import trio

from client import limits
from client.discovery import Found
from client.errors import UnavailableError
from dht.errors import DhtError
from dht.node import Node, open_node
from wire.certificate import RoomServers
from wire.errors import WireError
from wire.identity import ServerAddress
from wire.ids import NodeKey
from wire.node_record import node_record_key, open_node_record

_Newest = dict[NodeKey, tuple[int, list[ServerAddress]]]


def places_of(found: Found, known: RoomServers) -> list[ServerAddress]:
    """Where to go, in an order of our own, so that not everybody sits on the first server.

    Raises:
        UnavailableError: nobody says where any of them is.
    """
    is_followed = known.epoch > found.item.seq >> 32
    servers = (known.addresses if is_followed else []) or found.servers
    if not servers:
        raise UnavailableError("the room's servers have no addresses; ask its founder for a newer link")
    return secrets.SystemRandom().sample(servers, len(servers))


async def with_moved(servers: Sequence[ServerAddress], nodes: Sequence[tuple[str, int]]) -> list[ServerAddress]:
    """Servers, those first that say that they are elsewhere now. Bounded by MOVED_S_MAX.

    Args:
        servers: as known; who is meant by their keys.
        nodes: of the DHT, to ask besides the servers.
    """
    seeds = list(dict.fromkeys([*nodes, *((server.host, server.port) for server in servers)]))
    newest: _Newest = {}
    with trio.move_on_after(limits.MOVED_S_MAX):
        async with trio.open_nursery() as nursery:
            for host, is_ipv6 in (("0.0.0.0", False), ("::", True)):  # noqa: S104 - asks only, from any interface
                near = [seed for seed in seeds if (":" in seed[0]) is is_ipv6][: limits.KNOWN_NODES_MAX]
                if near:
                    nursery.start_soon(_ask_all, host, servers, near, newest)
    moved = [place for _, places in newest.values() for place in places if place not in servers]
    return [*moved, *servers]


async def _ask_all(host: str, servers: Sequence[ServerAddress], seeds: list[tuple[str, int]], newest: _Newest) -> None:
    keys = list(dict.fromkeys(server.node_key for server in servers))[: limits.DESCRIPTOR_SERVERS_MAX]
    try:
        async with open_node(host=host, read_only=True) as node, trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(_ask, node, key, seeds, newest)
    except DhtError:
        return  # No socket of that family here.


async def _ask(node: Node, key: NodeKey, seeds: list[tuple[str, int]], newest: _Newest) -> None:
    try:
        item = await node.get(node_record_key(key), seeds=seeds)
        if item is not None and item.seq > newest.get(key, (-1, []))[0]:
            newest[key] = (item.seq, open_node_record(item, key))
    except (DhtError, WireError):
        return  # Forged, or not about a key at all: as good as none.
