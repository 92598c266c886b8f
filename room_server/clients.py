"""Client connections: the trio shell around `ClientEdge`. Two tasks per connection, none per message.

    reader: bytes ─▶ frames ─▶ messages of one chunk ─▶ edge.handle      (not reading while the outbox is full)
    writer: edge.take_output ─▶ one TLS write; when there is nothing to send: catch up subscribers, from memory or history

One sweeper looks after the clocks of all connections: a silent one is cut as idle, one whose write makes no progress as
a slow reader. Who is cut resumes by sequence and by request number; nothing here is lost with a connection.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from collections.abc import Sequence as Many
from typing import Final

import structlog
import trio

from room_server import limits
from room_server.addresses import UNLIMITED, Quota
from room_server.attachment import Attachment
from room_server.edge import ClientEdge
from room_server.errors import ConnectionCutError, HistoryGapError, RefusedError
from room_server.feed import Subscription
from room_server.logs import room_label
from room_server.rooms import Backend, HostedRoom
from wire import limits as wire_limits
from wire.errors import PeerError
from wire.frames import FrameDecoder
from wire.ids import RoomId, Sequence
from wire.messages import Append, CreateRoom, DialBack, DialledBack, Message, RoomCreated, decode
from wire.room import Delivery
from wire.tls import TlsConnection

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_CONNECTIONS_AT_ONCE: Final = 500


class ClientServices:
    """What connections need that must be waited for.

    Attributes:
        create_room: host a room of this encoded genesis, durably; raises RefusedError.
        read_history: a page of deliveries of a room from a sequence on, contiguous, possibly empty.
        read_tip: the sequence above everything that anybody was promised before; waits for a majority; raises RefusedError.
        dial_back: dial who asks, given the address that it comes from; raises RefusedError.
    """

    def __init__(
        self,
        *,
        create_room: Callable[[bytes], Awaitable[RoomId]],
        read_history: Callable[[HostedRoom, Sequence], Awaitable[list[Delivery]]],
        read_tip: Callable[[HostedRoom], Awaitable[Sequence]],
        dial_back: Callable[[DialBack, str], Awaitable[DialledBack]],
    ) -> None:
        self.dial_back = dial_back
        self.create_room = create_room
        self.read_history = read_history
        self.read_tip = read_tip


class ClientConnection:
    """One connection, from its first decoded messages to its end."""

    def __init__(
        self,
        tls: TlsConnection,
        decoder: FrameDecoder,
        edge_of: Callable[[Callable[[], None]], ClientEdge],
        quota: Quota,
    ) -> None:
        self.edge = edge_of(self._wake_writer)
        self.cause = "closed"
        """Why it ended, for the metric."""
        self._tls = tls
        self._quota = quota
        self._decoder = decoder
        self._wake = trio.Event()
        self._drained = trio.Event()
        self._is_ending = False
        self._scope = trio.CancelScope()
        self._heard_at = trio.current_time()
        self._sending_since = math.inf

    def _wake_writer(self) -> None:
        self._wake.set()

    async def run(self, first: Many[Message], services: ClientServices) -> None:
        """Serve until either side ends it. Leaves all rooms; does not close the socket."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, services)
                    cause = await self._read(first, services, nursery)
                    self.finish(cause)
        finally:
            self.edge.close()

    def finish(self, cause: str) -> None:
        """End it once what is queued is sent, or soon."""
        self.cause = cause
        self._is_ending = True
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + limits.FLUSH_S_MAX)
        self._wake.set()

    def cut(self, cause: str) -> None:
        """End it now."""
        self.cause = cause
        self._scope.cancel()

    def sweep(self, now: float) -> None:
        """Cut a connection that has been silent, or stuck in one write, for too long."""
        if now - self._sending_since > limits.SEND_STALL_S_MAX:
            self.cut("slow_reader")
        elif now - self._heard_at > wire_limits.IDLE_S_MAX and not self.edge.outbox.is_full:
            self.cut("idle")

    # --- reading -------------------------------------------------------------------------------------------------

    async def _read(self, messages: Many[Message], services: ClientServices, nursery: trio.Nursery) -> str:
        """Handle messages until the end; returns its cause."""
        try:
            while True:
                await self._handle_in_turn(messages, services)
                while self.edge.tips_wanted:
                    nursery.start_soon(self._tell_tip, self.edge.tips_wanted.pop(), services)
                while self.edge.outbox.is_full:
                    self._drained = trio.Event()
                    await self._drained.wait()
                data = await self._tls.receive_some()
                if not data:
                    return "closed"
                self._heard_at = trio.current_time()
                messages = [decode(frame) for frame in self._decoder.feed(data)]
        except (PeerError, ConnectionCutError) as error:
            return error.cause

    async def _handle_in_turn(self, messages: Many[Message], services: ClientServices) -> None:
        """Handle messages at once while the address may ask for so much, else one after the other, each in its turn."""
        quota = self._quota
        if quota is UNLIMITED or quota.has_now(sum(map(_cost_of, messages)), trio.current_time()):
            await self._handle(messages, services)
            return
        for message in messages:
            wait_s = quota.reserve(_cost_of(message), trio.current_time(), wait_s_max=limits.ADDRESS_WAIT_S_MAX)
            await trio.sleep(min(wait_s, limits.ADDRESS_WAIT_S_MAX))
            if wait_s > limits.ADDRESS_WAIT_S_MAX:
                self.edge.refuse_busy(message, wait_s)
            else:
                await self._handle([message], services)

    async def _handle(self, messages: Many[Message], services: ClientServices) -> None:
        run: list[Message] = []
        for message in messages:
            if isinstance(message, CreateRoom | DialBack):
                self.edge.handle(run)
                run = []
            if isinstance(message, CreateRoom) and self.edge.is_open:
                await self._create_room(message, services)
            elif isinstance(message, DialBack) and self.edge.is_open:
                await self._dial_back(message, services)
            else:
                run.append(message)
        self.edge.handle(run)

    async def _create_room(self, message: CreateRoom, services: ClientServices) -> None:
        try:
            self.edge.reply(RoomCreated(message.id, await services.create_room(message.genesis)))
        except RefusedError as error:
            self.edge.refuse(message.id, error)

    async def _dial_back(self, message: DialBack, services: ClientServices) -> None:
        try:
            self.edge.reply(await services.dial_back(message, self._tls.peer_host))
        except RefusedError as error:
            self.edge.refuse(message.id, error)

    async def _tell_tip(self, attachment: Attachment, services: ClientServices) -> None:
        """Find out where the log of a room ends; at most one task for each room of the connection."""
        try:
            while (call := attachment.subscribe_call) is not None:
                self.edge.tell_tip(attachment, call, await services.read_tip(attachment.room))
        except RefusedError as error:
            # The room has ended here, and so will this connection.
            log.debug("tip_not_read", room=room_label(attachment.room.room_id), reason=error.text)

    # --- writing -------------------------------------------------------------------------------------------------

    async def _write(self, services: ClientServices) -> None:
        edge, tls = self.edge, self._tls
        try:
            while True:
                frames = edge.take_output()
                if frames:
                    self._sending_since = trio.current_time()
                    await tls.send(frames)
                    self._sending_since = math.inf
                    if not edge.outbox.is_full:
                        self._drained.set()
                elif self._is_ending:
                    self._scope.cancel()
                    return
                elif not await self._catch_up(services):
                    await self._wake.wait()
                    self._wake = trio.Event()
        except PeerError as error:
            self.cut(error.cause)
        except HistoryGapError as error:
            self.edge.note_damage()
            log.warning("history_gap_found", reason=str(error))
            self.cut("history_gap")

    async def _catch_up(self, services: ClientServices) -> bool:
        """Bring subscribers up to date; True if there may be more to send or to do."""
        if not self.edge.behind:
            return False
        subscription = self.edge.catch_up()
        if subscription is None:
            return self.edge.outbox.bytes_now > 0
        await self._read_page(subscription, services)
        return True

    async def _read_page(self, subscription: Subscription, services: ClientServices) -> None:
        room = self.edge.room_of(subscription)
        page = await services.read_history(room, subscription.cursor)
        if self.edge.is_subscribed(subscription):
            room.feed.catch_up_with(subscription, page)
        if not page:
            # Committed, no longer in memory, not yet in history: the host is about to store it.
            log.debug("history_awaited", room=room_label(room.room_id), sequence=subscription.cursor)
            if self._wake.is_set():
                self._wake = trio.Event()
                return
            with trio.move_on_after(limits.HISTORY_RETRY_S):
                await self._wake.wait()


def _cost_of(message: Message) -> int:
    """What a message takes of its address's share."""
    return max(len(message.blocks), 1) if isinstance(message, Append) else 1


class ClientServer:
    """All client connections of a node."""

    def __init__(self, backend: Backend, services: ClientServices, *, nonce: Callable[[], bytes]) -> None:
        self._backend = backend
        self._services = services
        self._nonce = nonce
        self._connections: dict[ClientConnection, None] = {}
        self._is_draining = False

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def send_queue_bytes(self) -> int:
        """Bytes waiting for all clients."""
        return sum(connection.edge.outbox.bytes_now for connection in self._connections)

    async def serve(
        self, tls: TlsConnection, decoder: FrameDecoder, first: Many[Message], quota: Quota = UNLIMITED
    ) -> None:
        """Serve one connection whose first messages are decoded, until its end; `quota` is its address's."""

        def edge_of(on_output: Callable[[], None]) -> ClientEdge:
            return ClientEdge(self._backend, nonce=self._nonce(), on_output=on_output)

        connection = ClientConnection(tls, decoder, edge_of, quota)
        self._connections[connection] = None
        try:
            if self._is_draining:
                connection.edge.drain()
            await connection.run(first, self._services)
        finally:
            del self._connections[connection]
            self._backend.metrics.disconnected(connection.cause)

    async def sweep(self) -> None:
        """Cut silent and stuck connections, until cancelled."""
        while True:
            await trio.sleep(limits.SWEEP_S)
            now = trio.current_time()
            for connection in tuple(self._connections):
                connection.sweep(now)

    async def tell_conditions(self) -> None:
        """Tell clients how their rooms stand, whenever that changes, until cancelled."""
        while True:
            await trio.sleep(limits.CONDITION_S)
            margins: dict[HostedRoom, int] = {}
            for number, connection in enumerate(tuple(self._connections)):
                connection.edge.tell_conditions(margins)
                if number % _CONNECTIONS_AT_ONCE == _CONNECTIONS_AT_ONCE - 1:
                    await trio.lowlevel.checkpoint()

    def tell_servers(self, room_id: RoomId) -> None:
        """Tell clients that a room has other servers now."""
        for connection in tuple(self._connections):
            connection.edge.tell_servers(room_id)

    async def drain(self) -> None:
        """Tell clients to go, wait for appends in flight, end all connections. The caller sets the deadline."""
        self._is_draining = True
        for connection in tuple(self._connections):
            connection.edge.drain()
        # Looking now and then, during shutdown only, beats a hook in the path of every answer.
        while any(connection.edge.has_unanswered for connection in self._connections):  # noqa: ASYNC110 - see above
            await trio.sleep(limits.DRAIN_POLL_S)
        for connection in tuple(self._connections):
            connection.finish("drained")
        while self._connections:  # noqa: ASYNC110 - as above
            await trio.sleep(limits.DRAIN_POLL_S)
