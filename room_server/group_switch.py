"""Whose group is it? The host reports on all groups of the node alike; rooms and the cluster each hear of their own.

    host ─▶ GroupSwitch ─┬─ a genesis that begins with the cluster's mark ─▶ Cluster
                         └─ anything else ────────────────────────────────▶ Hosting

Here nothing is decided, and nothing waits: a batch costs one look into a set.
"""

from __future__ import annotations

from collections.abc import Sequence

from room_server.cluster import Cluster
from room_server.errors import StartError
from room_server.hosting import Hosting
from room_server.roster import GENESIS_MARK
from vr.ready import CommittedOp, EpochEnd, Rejected, Reply
from vr.service import Service
from vr.types import GroupId
from wire.errors import DecodeError


class GroupSwitch:
    """Implements `vr.host.Embedder` and its service factory."""

    def __init__(self, rooms: Hosting, cluster: Cluster) -> None:
        self._rooms = rooms
        self._cluster = cluster
        self._clusters: set[GroupId] = set()
        """One that this server left may still be among the host's groups."""

    def service_of(self, group: GroupId, genesis: bytes) -> Service:
        """The service of a group, made from its genesis.

        Raises:
            StartError: the stored genesis has rotted.
        """
        if not genesis.startswith(GENESIS_MARK):
            return self._rooms.service_of(group, genesis)
        self._clusters.add(group)
        try:
            return self._cluster.service_of(group, genesis)
        except DecodeError as error:
            raise StartError(f"history.db: the genesis of cluster {group.hex()} has rotted: {error}") from error

    def is_room(self, group: GroupId) -> bool:
        """Whether a group of the host is a room."""
        return group not in self._clusters

    def on_committed(self, group: GroupId, operations: Sequence[CommittedOp]) -> None:
        """Operations were committed and applied here."""
        if group in self._clusters:
            self._cluster.wake()
        else:
            self._rooms.on_committed(group, operations)

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        """The answer to a request submitted here."""
        if group in self._clusters:
            self._cluster.on_answer(reply)
        else:
            self._rooms.on_reply(group, reply)

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        """A request submitted here was not taken up."""
        if group in self._clusters:
            self._cluster.on_answer(rejected)
        else:
            self._rooms.on_rejected(group, rejected)

    def on_status(self, group: GroupId) -> None:
        """View, status or epoch of a replica changed."""
        if group in self._clusters:
            self._cluster.wake()
        else:
            self._rooms.on_status(group)

    def on_epoch_end(self, group: GroupId, end: EpochEnd) -> Sequence[tuple[int, bytes]]:
        """An epoch ended here. Of a cluster nothing is kept beside it: its servers believe each other over their links."""
        if group not in self._clusters:
            return self._rooms.on_epoch_end(group, end)
        self._cluster.on_epoch_end(end.configuration)
        return ()
