"""One standing link to a peer server: replication frames both ways, and the exchange of genesis records.

The reader hands each received replication frame to the host; the writer sends what was queued since its last write as
one TLS record batch. The queue is bounded in bytes: beyond, frames are dropped as a network drops them, and VR resends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Sequence as Many
from typing import Final, Protocol, assert_never

import structlog
import trio

from room_server import limits
from room_server.errors import ConnectionCutError
from room_server.genesis_sync import GenesisSync, OfferedRoom
from room_server.outbox import Outbox
from room_server.rooms import HostedRoom
from vr.errors import PeerError as VrPeerError
from vr.types import ReplicaId
from wire.errors import PeerError
from wire.frames import FrameDecoder, encode_frame
from wire.messages import Message, PeerFrame, Ping, RelayAsk, decode, encode
from wire.peer_messages import (
    ClusterMessage,
    PeerAskPlaces,
    PeerCluster,
    PeerEpochs,
    PeerErrand,
    PeerErrandDone,
    PeerGenesis,
    PeerGetGenesis,
    PeerPlaces,
    PeerRooms,
    PeerVitals,
    RoomMessage,
)
from wire.tls import TlsConnection

_US: Final = 1e6

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class ReplicationHost(Protocol):
    """What takes replication frames (`vr.host`)."""

    def receive(self, peer: ReplicaId, frame: bytes) -> None:
        """A frame came in; raises a VR error if it is none."""

    def peer_connected(self, peer: ReplicaId) -> None:
        """A link stands."""

    def peer_disconnected(self, peer: ReplicaId) -> None:
        """The link broke: whoever is at the other end may be dead."""


class PeerLink:
    """A link after its hellos. `host_room` makes a room that a peer told of; called one at a time. `on_epochs`: a peer knew more
    of a room's servers. `on_cluster` takes what it says of its cluster; `on_relay_ask`: it asks us to come.
    `wall_us`: the clock, unix microseconds.
    """

    def __init__(
        self,
        tls: TlsConnection,
        decoder: FrameDecoder,
        *,
        name: str,
        replica_id: ReplicaId,
        sync: GenesisSync,
        host: ReplicationHost,
        host_room: Callable[[OfferedRoom], Awaitable[None]],
        on_epochs: Callable[[HostedRoom], None],
        on_cluster: Callable[[ClusterMessage], None],
        on_relay_ask: Callable[[bytes], None],
        wall_us: Callable[[], int],
    ) -> None:
        self.name = name
        self.replica_id = replica_id
        self.sync = sync
        self._tls = tls
        self._decoder = decoder
        self._host = host
        self._host_room = host_room
        self._on_epochs = on_epochs
        self._on_cluster = on_cluster
        self._on_relay_ask = on_relay_ask
        self._wall_us = wall_us
        self.clock_offset_s: float | None = None
        """How far the peer's clock is ahead of ours, as good as half a round trip; None until it says."""
        self._outbox = Outbox(limits.PEER_QUEUE_BYTES_MAX)
        self._wake = trio.Event()
        self._scope = trio.CancelScope()
        self._heard_at = trio.current_time()

    def send(self, frame: bytes) -> bool:
        """Queue a replication frame; False if it was dropped because the queue is full."""
        if not self._outbox.offer(encode_frame(encode(PeerFrame(frame)))):
            return False
        self._wake.set()
        return True

    def say(self, messages: Iterable[Message]) -> None:
        """Queue other messages; dropped like frames when the peer does not read."""
        for message in messages:
            self._outbox.offer(encode_frame(encode(message)))
        self._wake.set()

    def cut(self) -> None:
        """End the link now."""
        self._scope.cancel()

    @property
    def round_trip_s(self) -> float | None:
        """Seconds to the peer and back, if the operating system tells."""
        return self._tls.round_trip_s

    def sweep(self, now: float) -> None:
        """Cut a link that has been silent for too long."""
        if now - self._heard_at > limits.PEER_SILENCE_S_MAX:
            log.warning("peer_link_silent", peer=self.name)
            self.cut()

    async def run(self, first: Many[Message]) -> None:
        """Carry frames until the link ends, whoever ends it."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read(first)
                nursery.cancel_scope.cancel()

    async def _read(self, messages: Many[Message]) -> None:
        try:
            while True:
                for message in messages:
                    await self._handle(message)
                data = await self._tls.receive_some()
                if not data:
                    return
                self._heard_at = trio.current_time()
                messages = [decode(frame) for frame in self._decoder.feed(data)]
        except (PeerError, ConnectionCutError, VrPeerError) as error:
            log.info("peer_link_ended", peer=self.name, reason=str(error))

    async def _handle(self, message: Message) -> None:
        match message:
            case PeerFrame():
                self._host.receive(self.replica_id, message.data)
            case PeerRooms() | PeerGetGenesis() | PeerGenesis() | PeerEpochs():
                await self._exchange(message)
            case PeerCluster() | PeerVitals() | PeerErrand() | PeerErrandDone() | PeerAskPlaces() | PeerPlaces():
                self._on_cluster(message)
            case RelayAsk():
                self._on_relay_ask(message.token)
            case Ping():
                if message.id:
                    on_way_us = (self.round_trip_s or 0.0) / 2 * _US
                    self.clock_offset_s = (message.id + on_way_us - self._wall_us()) / _US
            case _:
                raise ConnectionCutError("out_of_order", f"unexpected {type(message).__name__} from a peer")

    async def _exchange(self, message: RoomMessage) -> None:
        """What rooms there are, and on which servers."""
        match message:
            case PeerRooms():
                self.say(self.sync.on_rooms(message))
            case PeerGetGenesis():
                self.say(self.sync.on_get_genesis(message))
            case PeerGenesis():
                offered = self.sync.on_genesis(message)
                if offered is not None:
                    await self._host_room(offered)
            case PeerEpochs():
                room = self.sync.on_epochs(message)
                if room is not None:
                    self._on_epochs(room)
            case _:
                assert_never(message)

    async def _write(self) -> None:
        try:
            while True:
                frames = self._outbox.take(limits.SEND_BYTES_MAX)
                if frames:
                    await self._tls.send(frames)
                else:
                    await self._wake.wait()
                    self._wake = trio.Event()
        except PeerError:
            self.cut()
