"""The links that a cluster's roster asks for, beside those that node.toml names.

A server that is in node.toml stays as it is said there, and as it is said anew when the file is read again. One that left the roster is linked on for as long as a room here has
it among its servers: what is replicated does not end with a roster. Without one it is kept a while longer, in which the
server learns that it has left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import trio

from room_server import limits
from room_server.peers import Peer, PeerLinks
from room_server.rooms import Rooms
from wire.cluster import NodeRecord
from wire.ids import NodeKey
from wire.messages import Message


class RosterLinks:
    """Implements `cluster.ClusterLinks`.

    Args:
        links: all links of this node.
        configured: keys of the servers that node.toml names.
        node_key: this server's.
        rooms: those hosted here.
    """

    def __init__(self, links: PeerLinks, *, configured: Collection[NodeKey], node_key: NodeKey, rooms: Rooms) -> None:
        self._links = links
        self._configured = frozenset(configured)
        self._nodes: tuple[NodeRecord, ...] = ()
        self._node_key = node_key
        self._rooms = rooms
        self._leaving: dict[NodeKey, float] = {}
        """Servers that are on no list any more, and when their links may go, monotonic seconds."""
        self._woken = trio.Event()

    def follow(self, nodes: Iterable[NodeRecord]) -> None:
        """Keep links to these servers from now on, and to those that are configured or share a room."""
        self._nodes = tuple(nodes)
        wanted = {
            node.node_key: Peer(name=node.name, node_key=node.node_key, host=node.host, port=node.port)
            for node in self._nodes
            if node.node_key != self._node_key and node.node_key not in self._configured
        }
        for known in tuple(self._links.peers.values()):
            if known.node_key in wanted and wanted[known.node_key] != known:
                self._links.remove(known.node_key)
            elif known.node_key not in wanted and known.node_key not in self._configured:
                self._leaving.setdefault(known.node_key, trio.current_time() + limits.LINGER_S)
                self._woken.set()
        for peer in wanted.values():
            self._leaving.pop(peer.node_key, None)
            if peer.node_key not in self._links.peers:
                self._links.add(peer)

    def configure(self, peers: Iterable[Peer]) -> None:
        """node.toml names these servers now: links to others are made, and those to servers that it names no more end as for `follow`."""
        named = {peer.node_key: peer for peer in peers}
        self._configured = frozenset(named)
        for node_key, peer in named.items():
            known = self._links.peers.get(node_key)
            self._leaving.pop(node_key, None)
            if known is not None and known != peer:
                self._links.remove(node_key)
            if known != peer:
                self._links.add(peer)
        self.follow(self._nodes)

    async def run(self) -> None:
        """End the links of those who left when their time is over, until cancelled."""
        while True:
            due = min(self._leaving.values(), default=float("inf"))
            self._woken = trio.Event()
            with trio.move_on_at(due):
                await self._woken.wait()
            now = trio.current_time()
            for node_key in [key for key, at in self._leaving.items() if at <= now]:
                if self._shares_room(node_key):
                    self._leaving[node_key] = now + limits.LINGER_S
                else:
                    del self._leaving[node_key]
                    self._links.remove(node_key)

    def _shares_room(self, node_key: NodeKey) -> bool:
        return any(room.book.concerns(node_key) for room in self._rooms)

    def tell(self, node_key: NodeKey, message: Message) -> bool:
        """Queue a message for a server; False while there is no link to it."""
        return self._links.tell(node_key, message)
