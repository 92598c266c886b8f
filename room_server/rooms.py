"""The rooms of one node: their services and feeds, and the way from replication back to connections.

    edge ──Append──▶ submit ─▶ replicas ─▶ on_reply ─▶ Route(client, session) ─▶ the connection that appended last
                                        ─▶ on_committed ─▶ feed ─▶ every subscriber here

A route says which connection wants the answers of a session: the newest that appended with it, so that a client who
moved is answered where it is now. Routes, pending opens and subscriptions belong to connections and go with them; a
room itself holds only its service, its feed and its genesis. One task calls everything here; nothing awaits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from typing import Final, Protocol

import msgspec

from room_server.epoch_book import EpochBook
from room_server.feed import RingBudget, RoomFeed
from room_server.letterboxes import LetterBoxes
from room_server.metrics import NodeMetrics
from room_server.room import RoomService, deliveries
from room_server.room_share import NO_QUOTA, Bucket, RoomQuota, RoomShare
from vr.configuration import Configuration, Member
from vr.log import Request
from vr.ready import CommittedOp, Rejected, RejectReason, Reply
from vr.types import ClientId, GroupId, ReplicaId, SessionNumber
from wire.errors import RefusalCode
from wire.ids import NodeKey, RoomId
from wire.messages import NodeInfo, RoomStatus
from wire.room import Genesis, Move

_REFUSALS: Final = {
    RejectReason.BUSY: RefusalCode.BUSY,
    RejectReason.EVICTED: RefusalCode.EVICTED,
    RejectReason.UNKNOWN_SESSION: RefusalCode.UNKNOWN_SESSION,
    RejectReason.SEQUENCE_GAP: RefusalCode.SEQUENCE_GAP,
    RejectReason.TOO_LARGE: RefusalCode.LIMIT,
    RejectReason.NEW_EPOCH: RefusalCode.UNKNOWN_ROOM,
}


class Recipient(Protocol):
    """A connection, as answers see it."""

    def answered(self, route: Route, number: int, result: bytes) -> None:
        """Request `number` of a session is committed with this result."""

    def append_refused(self, route: Route, number: int, code: RefusalCode, retry_after_s: float) -> None:
        """Requests of a session from `number` on were not taken up."""

    def session_opened(self, room: HostedRoom, client: ClientId, call: int, session: SessionNumber) -> None:
        """The session asked for by `call` is registered."""

    def open_refused(self, client: ClientId, call: int, code: RefusalCode, retry_after_s: float) -> None:
        """The session asked for by `call` will not be registered for this connection."""


class Route:
    """Where answers of one session go. `submitted`/`answered`: highest request numbers seen going in and out."""

    __slots__ = ("answered", "client", "recipient", "room", "sample", "session", "submitted")

    def __init__(self, room: HostedRoom, client: ClientId, session: SessionNumber, recipient: Recipient) -> None:
        self.room = room
        self.client = client
        self.session = session
        self.recipient = recipient
        self.submitted = 0
        self.answered = 0
        self.sample: tuple[int, float] | None = None
        """One request number being timed, and when it was received (monotonic seconds)."""

    @property
    def key(self) -> tuple[ClientId, SessionNumber]:
        """What the room knows this route by."""
        return (self.client, self.session)


class PendingOpen(msgspec.Struct, frozen=True):
    """An OpenSession that waits for its register: `attempt` is the register's body, `call` the client's number for it."""

    recipient: Recipient
    call: int
    attempt: bytes


class HostedRoom:
    """One room on this node."""

    __slots__ = (
        "announced",
        "begun",
        "book",
        "encoded_genesis",
        "epoch",
        "feed",
        "genesis",
        "joins",
        "move_seen",
        "opens",
        "room_id",
        "routes",
        "service",
        "share",
    )

    def __init__(self, genesis: Genesis, encoded_genesis: bytes, budget: RingBudget) -> None:
        self.room_id: RoomId = genesis.room_id
        self.genesis = genesis
        self.encoded_genesis = encoded_genesis
        self.service = RoomService(genesis)
        self.feed = RoomFeed(genesis.room_id, budget, reading_epoch=self.service.reading_epoch)
        self.routes: dict[tuple[ClientId, SessionNumber], Route] = {}
        self.opens: dict[ClientId, PendingOpen] = {}
        self.joins = Bucket()
        """How fast holders of a link may come into the room through this node."""
        self.share = RoomShare()
        self.book = EpochBook(genesis)
        """How the room came to its servers of now."""
        self.epoch = -1
        """In which epoch this node takes part, with all that was before on its disk; -1 if it does not."""
        self.begun: dict[NodeKey, int] = {}
        """The same of other servers, as they said."""
        self.move_seen: Move | None = None
        self.announced = b""
        """The descriptor that this node answers with; empty while it answers with none."""

    @property
    def group(self) -> GroupId:
        """The replication group that is this room."""
        return GroupId(self.room_id)

    def route(self, client: ClientId, session: SessionNumber, recipient: Recipient) -> Route:
        """The route of a session, which from now on leads to `recipient`."""
        route = self.routes.get((client, session))
        if route is None or route.recipient is not recipient:
            route = Route(self, client, session, recipient)
            self.routes[client, session] = route
        return route

    def drop_route(self, route: Route) -> bool:
        """Forget a route, unless a newer connection has taken its place; True if it was forgotten."""
        if self.routes.get(route.key) is not route:
            return False
        del self.routes[route.key]
        return True

    def drop_open(self, client: ClientId, recipient: Recipient) -> None:
        """Forget an OpenSession that `recipient` waits for."""
        pending = self.opens.get(client)
        if pending is not None and pending.recipient is recipient:
            del self.opens[client]


def configuration_of(genesis: Genesis) -> Configuration:
    """The replication group's first configuration: the genesis members, in their order."""
    members = tuple(
        Member(replica_id=ReplicaId(member.replica_id), node_key=member.node_key) for member in genesis.members
    )
    return Configuration(group=GroupId(genesis.room_id), members=members)


class Rooms:
    """All rooms of this node by id."""

    def __init__(self, budget: RingBudget) -> None:
        self.budget = budget
        self.on_move: Callable[[HostedRoom], None] = lambda _: None
        """Called when a room's owner wants other servers."""
        self.departed: dict[RoomId, list[bytes]] = {}
        """Of rooms that were here and went elsewhere: the encoded certificates that say where."""
        self.quota: Callable[[], RoomQuota] = lambda: NO_QUOTA
        """What each room may take."""
        self.on_new_link: Callable[[HostedRoom], None] = lambda _: None
        self.on_unrouted: Callable[[GroupId, Reply | Rejected], None] = lambda _, __: None
        """Called with answers to nobody's connection: to this server itself, or to one that is gone."""
        self._rooms: dict[bytes, HostedRoom] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[HostedRoom]:
        return iter(tuple(self._rooms.values()))

    def get(self, room_id: bytes) -> HostedRoom | None:
        """A room that is hosted here."""
        return self._rooms.get(room_id)

    def certificates(self, room_id: RoomId) -> list[bytes] | None:
        """How a room that is or was here came to its servers, of epoch 1 first; None for one that never was."""
        room = self._rooms.get(room_id)
        return self.departed.get(room_id) if room is None else room.book.certificates

    def add(self, genesis: Genesis, encoded_genesis: bytes) -> HostedRoom:
        """Begin to serve a room; its state is that of the genesis until it is restored."""
        room = HostedRoom(genesis, encoded_genesis, self.budget)
        self._rooms[room.room_id] = room
        return room

    def depart(self, room: HostedRoom) -> None:
        """The room is not served here any more; where it went is still told."""
        del self._rooms[room.room_id]
        self.departed[room.room_id] = room.book.certificates

    def on_committed(self, group: GroupId, operations: Many[CommittedOp]) -> int:
        """Publish what was committed; returns the time stamp of the youngest block published, 0 for none."""
        room = self._rooms[group]
        blocks = [
            delivery
            for operation in operations
            for delivery in deliveries(operation.entry.header.timestamp_us, operation.requests, operation.results)
        ]
        if not blocks:
            return 0
        room.feed.publish(blocks)
        if room.service.move is not room.move_seen:
            room.move_seen = room.service.move
            self.on_move(room)
        if room.announced and room.announced != room.service.descriptor:
            self.on_new_link(room)
        return blocks[-1].timestamp_us

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        """Give a committed request's result, or a new session, to the connection that waits for it."""
        room = self._rooms[group]
        if reply.number == 0:
            pending = room.opens.get(reply.client)
            if pending is not None and pending.attempt == reply.result:
                del room.opens[reply.client]
                pending.recipient.session_opened(room, reply.client, pending.call, reply.session)
            elif pending is None:
                self.on_unrouted(group, reply)
            return
        route = room.routes.get((reply.client, reply.session))
        if route is not None:
            route.answered = max(route.answered, reply.number)
            route.recipient.answered(route, reply.number, reply.result)
        else:
            self.on_unrouted(group, reply)

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        """Tell the connection that waits that its request was not taken up."""
        room = self._rooms[group]
        code = _REFUSALS[rejected.reason]
        if rejected.number == 0:
            pending = room.opens.pop(rejected.client, None)
            if pending is not None:
                pending.recipient.open_refused(rejected.client, pending.call, code, rejected.retry_after_s)
            else:
                self.on_unrouted(group, rejected)
            return
        route = room.routes.get((rejected.client, rejected.session))
        if route is not None:
            route.recipient.append_refused(route, rejected.number, code, rejected.retry_after_s)
        else:
            self.on_unrouted(group, rejected)


class Backend(Protocol):
    """The node, as a connection sees it."""

    name: str
    node_key: NodeKey
    rooms: Rooms
    letters: LetterBoxes
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

    def room_margin(self, room: HostedRoom) -> int:
        """Replicas that the room may lose before it stops; -1: nothing can be appended from here now."""

    def wall_us(self) -> int:
        """The clock, unix microseconds."""

    def now(self) -> float:
        """Monotonic seconds."""
