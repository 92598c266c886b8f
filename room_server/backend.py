"""What the node offers to the connections of its clients: replication, facts, clocks. Types only."""

from __future__ import annotations

from typing import Protocol

from room_server.metrics import NodeMetrics
from room_server.rooms import HostedRoom, Rooms
from vr.log import Request
from vr.types import ClientId, SessionNumber
from wire.ids import NodeKey
from wire.messages import NodeInfo, RoomStatus


class Backend(Protocol):
    """The node, as a connection sees it."""

    name: str
    node_key: NodeKey
    rooms: Rooms
    metrics: NodeMetrics

    def submit(self, room: HostedRoom, requests: list[Request]) -> None:
        """Hand requests to replication.

        Raises:
            RefusedError: none of them was taken (BUSY, UNKNOWN_ROOM, DRAINING).
        """

    def forget(self, room: HostedRoom, client: ClientId, session: SessionNumber) -> None:
        """Nobody here waits for this session any more."""

    def node_info(self, call: int) -> NodeInfo:
        """The servers of this cluster."""

    def room_status(self, call: int, room: HostedRoom) -> RoomStatus:
        """How a room is, seen from here."""

    def wall_us(self) -> int:
        """The clock, unix microseconds."""

    def now(self) -> float:
        """Monotonic seconds."""
