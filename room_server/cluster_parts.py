"""What a node has for its cluster, put together; `room_server.node` starts and ends it.

    Hosting ─┐                       ┌─ Cluster ─ RosterLinks ─▶ PeerLinks
    host ────┴─ GroupSwitch ─────────┤
    joiners (Door), admin socket ────┴─ Joining, ClusterAdmin, Vitals

Nothing here decides anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import assert_never

from room_server.census import Census
from room_server.cluster import Cluster
from room_server.cluster_admin import ClusterAdmin
from room_server.cluster_file import ClusterFile
from room_server.cluster_links import RosterLinks
from room_server.face import wall_us
from room_server.group_switch import GroupSwitch
from room_server.handshake import Conversation
from room_server.hosting import Hosting
from room_server.joining import Joining, answer_joiner
from room_server.peers import Peer, PeerLinks
from room_server.placing import Placing
from room_server.rebalancer import Rebalancer
from room_server.roster import RoomMakers
from room_server.vitals import Vitals
from vr.host import Host
from wire.cluster import NodeRecord
from wire.identity import NodeIdentity
from wire.ids import NodeKey
from wire.messages import AskCluster
from wire.peer_messages import (
    ClusterMessage,
    PeerAskPlaces,
    PeerCluster,
    PeerErrand,
    PeerErrandDone,
    PeerPlaces,
    PeerVitals,
)


class ClusterParts:
    """See the module.

    Args:
        identity: of this node.
        own: what it says of itself; complete once the host is open and the port known.
        hosting: its rooms.
        links: to other servers; those that it has now are configured.
        data: the data folder.
    """

    def __init__(
        self, identity: NodeIdentity, *, own: Callable[[], NodeRecord], hosting: Hosting, links: PeerLinks, data: str
    ) -> None:
        self._identity = identity
        self._own = own
        self._hosting = hosting
        self._links = links
        self._data = data
        self._roster_links = RosterLinks(
            links, configured=frozenset(links.peers), node_key=identity.public, rooms=hosting.rooms
        )
        self.cluster = Cluster(
            own=own, links=self._roster_links, file=ClusterFile(Path(data)), entropy=secrets.token_bytes
        )
        self._joining = Joining(identity, own=own, cluster=self.cluster)
        self.groups = GroupSwitch(hosting, self.cluster)
        self._placing = Placing(self.cluster, hosting.rooms, own=lambda: identity.public, entropy=secrets.token_bytes)
        self._census = Census(hosting, tell=links.tell, fellows=self._fellows)

    def configure(self, peers: Iterable[Peer]) -> None:
        """node.toml names these servers now."""
        self._roster_links.configure(peers)

    def remember(self) -> None:
        """Take back what is remembered of the cluster, before anything runs.

        Raises:
            StartError: it is damaged.
        """
        self.cluster.remember()

    def attach(self, host: Host) -> None:
        """The host is open."""
        self.cluster.attach(host)
        self._hosting.may_create = self._may_create

    def room_servers(self) -> int:
        """How many servers a new room should have, as the cluster's policy has it; 0 without a cluster."""
        roster = self.cluster.roster
        return 0 if roster is None else roster.policy.replicas

    def _fellows(self) -> tuple[NodeKey, ...]:
        roster = self.cluster.roster
        return () if roster is None else tuple(node.node_key for node in roster.nodes)

    def _may_create(self) -> bool:
        roster = self.cluster.roster
        return roster is None or roster.policy.makers is RoomMakers.EVERYBODY

    def make_vitals(self, *, version: str, not_ready_because: Callable[[], str | None]) -> Vitals:
        """What tells other servers how this one is; from now on what they tell is heard."""
        vitals = Vitals(
            node_key=self._identity.public,
            version=version,
            host=self._hosting.host,
            is_room=self.groups.is_room,
            not_ready_because=not_ready_because,
            links=self._links,
            fellows=self._fellows,
            data=self._data,
            wall_us=wall_us,
        )

        def on_cluster(node_key: NodeKey, message: ClusterMessage) -> None:
            match message:
                case PeerVitals():
                    vitals.on_told(node_key, message)
                case PeerCluster():
                    self.cluster.on_told(node_key, message)
                case PeerErrand():
                    self.cluster.on_errand(node_key, message)
                case PeerErrandDone():
                    self.cluster.errands.on_done(message)
                case PeerAskPlaces():
                    self._census.on_ask(node_key, message)
                case PeerPlaces():
                    self._census.on_places(node_key, message)
                case _:
                    assert_never(message)

        def on_link(node_key: NodeKey) -> None:
            vitals.on_link(node_key)
            self.cluster.on_link(node_key)

        self._links.on_link, self._links.on_lost, self._links.on_cluster = on_link, vitals.on_lost, on_cluster
        return vitals

    def tasks(self, vitals: Vitals) -> list[Callable[[], Awaitable[object]]]:
        """What runs for as long as the node does."""
        placing = partial(self._placing.run, self._hosting.host)
        return [self.cluster.run, self._roster_links.run, self._joining.run, vitals.run, placing]

    def make_admin(self, vitals: Vitals) -> ClusterAdmin:
        """What an operator asks of the cluster."""
        return ClusterAdmin(
            self.cluster,
            self._joining,
            own=self._own,
            links=self._links,
            vitals=vitals.known,
            entropy=secrets.token_bytes,
        )

    def make_rebalancer(self, vitals: Vitals) -> Rebalancer:
        """What spreads rooms over the cluster's servers."""
        return Rebalancer(self.cluster, self._census, own=lambda: self._identity.public, vitals=vitals.known)

    async def answer_joiner(self, conversation: Conversation, first: AskCluster) -> None:
        """Answer a server that asks to join; see `joining.answer_joiner`."""
        await answer_joiner(conversation, first, self.cluster, self._identity.public)
