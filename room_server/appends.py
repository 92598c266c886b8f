"""Sessions and appends of one connection, between its edge and replication. Sans-IO.

    Append ─▶ admitted blocks ─▶ submissions, one call per room and received chunk ─▶ replication
    Appended ◀── one per session and write ◀── answers ◀── rooms.Route ◀───────────────────┘

An Appended is only ever built from a result that replication reported committed. What is not taken up is answered by
AppendRefused with the first request number concerned; its outcome stays open until the client sends it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from room_server import limits
from room_server.attachment import Attachment, Held
from room_server.errors import ConnectionCutError, RefusedError
from room_server.rooms import Backend, HostedRoom, PendingOpen, Route
from vr.log import Request
from vr.types import ClientId, RequestNumber, SessionNumber
from wire import limits as wire_limits
from wire.errors import RefusalCode
from wire.ids import CLIENT_ID_BYTES, RoomId
from wire.messages import Append, Appended, AppendRefused, Message, OpenSession, Refused, SessionOpened

ATTEMPT_NONCE_BYTES: Final = 16
"""Enough that no two connections share it."""


class Appends:
    """The appending side of one connection (`rooms.Recipient`).

    Args:
        backend: the node.
        nonce: of the connection; it tells our registers from those that the same client sent elsewhere before.
        reply: queues one message for the client.
        on_output: called when `take_answers` has something new.
    """

    def __init__(
        self, backend: Backend, *, nonce: bytes, reply: Callable[[Message], None], on_output: Callable[[], None]
    ) -> None:
        self.is_draining = False
        """Refuse new work; what is in flight goes on."""
        self._backend = backend
        self._nonce = nonce
        self._reply = reply
        self._on_output = on_output
        self._answers: dict[Route, list[tuple[int, bytes]]] = {}
        self._answered: dict[Route, None] = {}
        self._opening: dict[ClientId, HostedRoom] = {}
        self._submissions: dict[HostedRoom, list[Request]] = {}

    @property
    def has_unanswered(self) -> bool:
        """Requests are on their way through replication, or their results not taken yet."""
        return bool(self._answered) or any(route.answered < route.submitted for route in self._answers)

    def open_session(self, message: OpenSession, attachment: Attachment) -> None:
        """Register a session; answered when it is committed.

        Raises:
            RefusedError: not proven, malformed, draining or too many at once.
        """
        if not attachment.may_open_session:
            raise RefusedError(RefusalCode.NOT_PROVEN, "neither WRITE nor JOIN is proven")
        if self.is_draining:
            raise RefusedError(RefusalCode.DRAINING, "this node is going down")
        if len(message.client_id) != CLIENT_ID_BYTES:
            raise RefusedError(RefusalCode.MALFORMED, "client id of a wrong size")
        if len(self._opening) >= wire_limits.REQUESTS_IN_FLIGHT_MAX:
            raise RefusedError(RefusalCode.BUSY, "too many sessions being opened", retry_after_s=1.0)
        room, client = attachment.room, ClientId(message.client_id)
        earlier = room.opens.get(client)
        attempt = self._nonce[:ATTEMPT_NONCE_BYTES] + b"%d" % message.id
        self._backend.submit(room, [Request(client, SessionNumber(0), RequestNumber(0), attempt)])
        room.opens[client] = PendingOpen(self, message.id, attempt)
        if earlier is not None:
            earlier.recipient.open_refused(client, earlier.call, RefusalCode.EVICTED, 0.0)
        self._opening[client] = room

    def append(self, message: Append, attachment: Attachment | None) -> None:
        """Admit blocks up to the first that may not pass; they leave with the next `submit`.

        Raises:
            ConnectionCutError: numbers or sizes that no honest client sends.
        """
        blocks = message.blocks
        in_bounds = 0 < len(blocks) <= wire_limits.BLOCKS_PER_APPEND_MAX and message.number > 0 and message.session > 0
        if not in_bounds or len(message.client_id) != CLIENT_ID_BYTES:
            raise ConnectionCutError("protocol", "Append out of bounds")
        if attachment is None or self.is_draining or self._is_one_session_too_many(message, attachment.room):
            self._refuse(message, self._why_no_append(message.room_id, attachment), at=0)
            return
        held = attachment.held
        if held is not None and held.session == message.session and message.number > held.number:
            self._refuse_held(message, held, at=0)
            return
        allowed, refusal = self._admitted(message, attachment)
        attachment.held = refusal if isinstance(refusal, Held) else None
        if allowed:
            self._accept(attachment.room, message, allowed)
        if isinstance(refusal, Held):
            self._refuse_held(message, refusal, at=allowed)
        elif refusal is not None:
            self._refuse(message, refusal, at=allowed)

    def _admitted(self, message: Append, attachment: Attachment) -> tuple[int, RefusalCode | Held | None]:
        """How many blocks may pass, and why the next one may not: never, or not now."""
        quota, now = self._backend.rooms.quota(), self._backend.now()
        for place, block in enumerate(message.blocks):
            refusal = attachment.why_not_append(block, now)
            if refusal is not None:
                return place, refusal
            waiting = attachment.why_wait(block, quota, now)
            if waiting is not None:
                code, wait_s = waiting
                return place, Held(message.session, message.number + place, code, now + wait_s)
        return len(message.blocks), None

    def _refuse_held(self, message: Append, held: Held, *, at: int) -> None:
        self._refuse(message, held.code, at=at, retry_after_s=max(held.until - self._backend.now(), 0.0))

    def _is_one_session_too_many(self, message: Append, room: HostedRoom) -> bool:
        if len(self._answers) < limits.SESSIONS_PER_CONNECTION_MAX:
            return False
        return room.routes.get((ClientId(message.client_id), SessionNumber(message.session))) not in self._answers

    def _why_no_append(self, room_id: RoomId, attachment: Attachment | None) -> RefusalCode:
        if self.is_draining:
            return RefusalCode.DRAINING
        if attachment is not None:
            return RefusalCode.LIMIT
        return RefusalCode.UNKNOWN_ROOM if self._backend.rooms.get(room_id) is None else RefusalCode.NOT_PROVEN

    def _accept(self, room: HostedRoom, message: Append, count: int) -> None:
        client, session, first = ClientId(message.client_id), SessionNumber(message.session), message.number
        route = room.route(client, session, self)
        self._answers.setdefault(route, [])
        last = first + count - 1
        route.submitted = max(route.submitted, last)
        if route.sample is None:
            route.sample = (last, self._backend.now())
        self._submissions.setdefault(room, []).extend(
            Request(client, session, RequestNumber(first + index), message.blocks[index]) for index in range(count)
        )

    def refuse_busy(self, message: Append, retry_after_s: float) -> None:
        """Take none of it: its address has had its share for now."""
        self._refuse(message, RefusalCode.BUSY, at=0, retry_after_s=retry_after_s)

    def _refuse(self, message: Append, code: RefusalCode, *, at: int, retry_after_s: float = 0.0) -> None:
        self._backend.metrics.rejected[code].inc()
        self._reply(AppendRefused(message.room_id, message.session, message.number + at, code, retry_after_s))

    def submit(self) -> None:
        """Hand what was admitted to replication: one call per room."""
        if not self._submissions:
            return
        submissions, self._submissions = self._submissions, {}
        for room, requests in submissions.items():
            try:
                self._backend.submit(room, requests)
            except RefusedError as error:
                self._refuse_requests(room, requests, error)

    def _refuse_requests(self, room: HostedRoom, requests: list[Request], error: RefusedError) -> None:
        refused: dict[tuple[ClientId, SessionNumber], int] = {}
        for request in requests:
            refused.setdefault((request.client, request.session), request.number)
        for key, number in refused.items():
            route = room.routes.get(key)
            if route is not None:
                self.append_refused(route, number, error.code, error.retry_after_s)

    def answered(self, route: Route, number: int, result: bytes) -> None:
        """A request is committed (`rooms.Recipient`)."""
        self._answers[route].append((number, result))
        self._answered[route] = None
        if route.sample is not None and number >= route.sample[0]:
            self._backend.metrics.ack_duration.observe(self._backend.now() - route.sample[1])
            route.sample = None
        self._on_output()

    def append_refused(self, route: Route, number: int, code: RefusalCode, retry_after_s: float) -> None:
        """Requests from `number` on were not taken up (`rooms.Recipient`)."""
        self._backend.metrics.rejected[code].inc()
        route.submitted = min(route.submitted, number - 1)
        route.sample = None
        self._reply(AppendRefused(route.room.room_id, route.session, number, code, retry_after_s))

    def session_opened(self, room: HostedRoom, client: ClientId, call: int, session: SessionNumber) -> None:
        """A session is registered (`rooms.Recipient`)."""
        self._opening.pop(client, None)
        self._reply(SessionOpened(call, room.room_id, session))

    def open_refused(self, client: ClientId, call: int, code: RefusalCode, retry_after_s: float) -> None:
        """A session was not registered for this connection (`rooms.Recipient`)."""
        self._opening.pop(client, None)
        self._backend.metrics.rejected[code].inc()
        self._reply(Refused(call, code, "the session was not opened", retry_after_s))

    def take_answers(self) -> Iterator[Appended]:
        """Results that came in since the last call: one message per session."""
        answered, self._answered = self._answered, {}
        for route in answered:
            results = tuple(self._answers[route])
            self._answers[route].clear()
            yield Appended(route.room.room_id, route.session, results)

    def close(self) -> None:
        """The connection is gone: nobody here waits for answers any more."""
        for route in self._answers:
            if route.room.drop_route(route) and route.answered < route.submitted:
                self._backend.forget(route.room, route.client, route.session)
        for client, room in self._opening.items():
            room.drop_open(client, self)
