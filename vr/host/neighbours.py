"""The other nodes: which groups we share with each, whether it seems alive, and what waits to be sent to it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vr.host.fates import Fate, Fates
from vr.host.hosted_group import HostedGroup
from vr.host.peer_frame import HEARTBEAT, Part, encode_peer_frames
from vr.liveness import LivenessOptions, NodeLiveness
from vr.types import ReplicaId, ReplicaIndex


class Neighbour:
    """One peer node."""

    __slots__ = ("groups", "is_connected", "liveness", "outbox", "sent_at")

    def __init__(self, liveness: NodeLiveness[ReplicaId]) -> None:
        self.liveness = liveness
        self.groups: list[tuple[HostedGroup, ReplicaIndex]] = []
        self.is_connected = False
        self.outbox: list[Part] = []
        self.sent_at = -math.inf


class Neighbours:
    """All peers of this node; owned by the host's loop."""

    def __init__(self, *, options: LivenessOptions, seed: int) -> None:
        self._options = options
        self._seed = seed
        self._by_id: dict[ReplicaId, Neighbour] = {}
        self.fates = Fates()
        self.next_tick = -math.inf

    def __iter__(self) -> Iterator[tuple[ReplicaId, Neighbour]]:
        return iter(self._by_id.items())

    def is_suspected(self, peer: ReplicaId) -> bool:
        """Whether a peer seems dead or unreachable."""
        neighbour = self._by_id.get(peer)
        return neighbour is not None and neighbour.liveness.is_suspected(peer)

    def add_group(self, hosted: HostedGroup, own: ReplicaId, now: float) -> None:
        """Take note of a group's members."""
        for peer, index in hosted.index_of.items():
            if peer == own:
                continue
            neighbour = self._neighbour(peer, now)
            neighbour.groups.append((hosted, index))
            if neighbour.liveness.is_suspected(peer):
                self.fates.tell(hosted, index, Fate.SUSPECTED, now)

    def meet(self, peer: ReplicaId, now: float) -> None:
        """It spoke of an epoch that we do not share, and may be answered."""
        self._neighbour(peer, now)

    def _neighbour(self, peer: ReplicaId, now: float) -> Neighbour:
        neighbour = self._by_id.get(peer)
        if neighbour is None:
            seed = self._seed ^ int.from_bytes(peer[:8], "big")
            neighbour = Neighbour(NodeLiveness(now, [peer], options=self._options, seed=seed))
            self._by_id[peer] = neighbour
            self.next_tick = -math.inf
        return neighbour

    def remove_group(self, hosted: HostedGroup) -> None:
        """The group does not run here any more. Its peers stay: their links do."""
        for neighbour in self._by_id.values():
            neighbour.groups = [(other, index) for other, index in neighbour.groups if other is not hosted]
        for _ in self.fates.take(hosted):
            pass

    # --- what was heard -----------------------------------------------------------------------------------------------

    def on_heard(self, peer: ReplicaId, now: float) -> None:
        """A frame came from `peer`."""
        neighbour = self._by_id.get(peer)
        if neighbour is not None:
            neighbour.liveness.on_heard(peer, now)
            if neighbour.liveness.next_deadline() < self.next_tick:
                self.next_tick = -math.inf

    def on_connected(self, peer: ReplicaId, now: float) -> None:
        """A link to `peer` stands."""
        neighbour = self._by_id.get(peer)
        if neighbour is not None:
            neighbour.is_connected = True
            neighbour.liveness.on_connected(peer, now)
            self._tell(neighbour, Fate.CONNECTED, now)
            self.next_tick = -math.inf

    def on_disconnected(self, peer: ReplicaId, now: float) -> None:
        """The link to `peer` broke: a dead process cannot be waited for."""
        neighbour = self._by_id.get(peer)
        if neighbour is not None:
            neighbour.is_connected = False
            neighbour.liveness.on_disconnected(peer, now)
            self.next_tick = -math.inf

    def tick(self, now: float, *, may_beat: bool) -> list[tuple[ReplicaId, bytes]]:
        """Judge who lives; the heartbeats to send. Call it at `next_tick`."""
        heartbeats: list[tuple[ReplicaId, bytes]] = []
        self.next_tick = math.inf
        for peer, neighbour in self._by_id.items():
            change = neighbour.liveness.tick(now)
            if change.suspected:
                self._tell(neighbour, Fate.SUSPECTED, now)
            if change.trusted:
                self._tell(neighbour, Fate.TRUSTED, now)
            is_quiet = now - neighbour.sent_at >= self._options.heartbeat_s * 0.9
            if change.heartbeat_due and may_beat and is_quiet:
                neighbour.sent_at = now
                heartbeats.append((peer, HEARTBEAT))
            self.next_tick = min(self.next_tick, neighbour.liveness.next_deadline())
        return heartbeats

    def _tell(self, neighbour: Neighbour, fate: Fate, now: float) -> None:
        for hosted, index in neighbour.groups:
            self.fates.tell(hosted, index, fate, now)

    # --- what is to be sent -------------------------------------------------------------------------------------------

    def queue(self, peer: ReplicaId, part: Part) -> None:
        """Add a message to the next frame for `peer`, with whom we share a group, or whom we have met."""
        self._by_id[peer].outbox.append(part)

    def frames(self, now: float) -> Iterator[tuple[ReplicaId, bytes]]:
        """Everything queued, one frame per peer or a few; the outboxes are empty afterwards."""
        for peer, neighbour in self._by_id.items():
            if neighbour.outbox:
                parts, neighbour.outbox = neighbour.outbox, []
                neighbour.sent_at = now
                for frame in encode_peer_frames(parts):
                    yield peer, frame
