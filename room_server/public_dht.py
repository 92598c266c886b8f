"""A second place to be found, if the operator wants it: the public Mainline DHT, beside the cluster's own.

    rooms ─▶ Announcers ─┬─▶ announcer of the cluster's network (`room_server.announcer`)
                         └─▶ the same in the public one: a node of its own, on a port of its own, with neighbours of its own

The records are the same signed bytes under the same blinded keys: strangers who keep them see neither rooms nor addresses, only
that some record is renewed every hour from this address. The two nodes share nothing, so nobody in the public network enters the
cluster's tables. It is never touched unless `dht.public` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from dht.errors import SocketUnavailable
from dht.node import Node, open_node
from room_server.announcer import Announcer
from room_server.config import NodeConfig, parse_endpoint
from room_server.discovery_file import DiscoveryFile
from room_server.errors import StartError
from room_server.rooms import HostedRoom

FILE_NAME: Final = "discovery-public.bin"


class Announcers:
    """All announcers of a node: what is said to one is said to all. The first is that of the cluster's network."""

    def __init__(self, first: Announcer, *others: Announcer) -> None:
        self.first = first
        self._all = (first, *others)

    def add(self, room: HostedRoom) -> None:
        """Begin to answer for a room and to announce it."""
        for announcer in self._all:
            announcer.add(room)

    def drop(self, room: HostedRoom) -> None:
        """Answer for a room no longer: it has left."""
        for announcer in self._all:
            announcer.drop(room)

    def follow_link(self, room: HostedRoom) -> None:
        """A new link has another place in the DHT."""
        for announcer in self._all:
            announcer.follow_link(room)

    def follow_servers(self, room: HostedRoom) -> None:
        """The room may have other servers, and a newer record of them."""
        for announcer in self._all:
            announcer.follow_servers(room)

    def set_gauges(self) -> None:
        """Tell the metrics how discovery is."""
        for announcer in self._all:
            announcer.set_gauges()

    @property
    def tasks(self) -> list[Callable[[], Awaitable[object]]]:
        """What announces rooms, until cancelled."""
        return [announcer.run for announcer in self._all]


@asynccontextmanager
async def open_public_node(config: NodeConfig) -> AsyncIterator[tuple[Node, DiscoveryFile]]:
    """A node in the public DHT for the length of a block, and the file in which it remembers its neighbours.

    Raises:
        StartError: the UDP port cannot be used.
    """
    listen = parse_endpoint(config.dht.public_listen)
    file = DiscoveryFile(Path(config.data), FILE_NAME)
    remembered = await trio.to_thread.run_sync(file.load)
    first = [(endpoint.host, endpoint.port) for endpoint in map(parse_endpoint, config.dht.public_bootstrap)]
    try:
        async with open_node(host=listen.host, port=listen.port, bootstrap=[*remembered.nodes, *first]) as node:
            yield node, file
    except SocketUnavailable as error:
        raise StartError(f"dht.public_listen: {error}") from error
