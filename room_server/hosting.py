"""Rooms on replication: creates groups, submits requests, reads history, and takes what the host reports.

Everything here runs in the node's one event loop. The host calls `on_*` from its own task and must not be kept waiting;
`create_room` and `read_history` wait for its worker thread.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many

import structlog
import trio

from room_server import limits
from room_server.epoch_book import EpochBook, certificates_of, make_statement
from room_server.errors import RefusedError, StartError
from room_server.feed import RingBudget
from room_server.genesis_sync import OfferedRoom, names
from room_server.logs import room_label
from room_server.metrics import NodeMetrics
from room_server.room import RoomService, stored_deliveries
from room_server.rooms import HostedRoom, Rooms, configuration_of
from vr.errors import UnknownGroup
from vr.host import Busy, GenesisConflict, Host, HostError
from vr.log import Request
from vr.ready import CommittedOp, EpochEnd, Rejected, Reply
from vr.replica import Replica, Status
from vr.types import ClientId, GroupId, SessionNumber
from wire.certificate import EpochSignature
from wire.errors import DecodeError, RefusalCode
from wire.ids import NodeKey, RoomId, Sequence
from wire.room import Delivery, Genesis, decode_genesis

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Hosting:
    """The rooms of this node and the host that replicates them.

    Args:
        node_key: this server's.
        sign: says in its name where a room goes.
        rooms_max: rooms hosted at most.
        budget: bounds the memory of all feeds.
        metrics: to count what is committed.
        on_created: called with each room that was created here, not with those restored.
        wall_us: the clock, unix microseconds.
    """

    def __init__(
        self,
        *,
        node_key: NodeKey,
        sign: Callable[[bytes], EpochSignature],
        rooms_max: int,
        budget: RingBudget,
        metrics: NodeMetrics,
        on_created: Callable[[HostedRoom], None],
        wall_us: Callable[[], int],
    ) -> None:
        self.rooms = Rooms(budget)
        self._node_key = node_key
        self._sign = sign
        self.rooms_max = rooms_max
        self._metrics = metrics
        self._on_created = on_created
        self._wall_us = wall_us
        self._host: Host | None = None
        self.on_epochs: Callable[[HostedRoom], None] = lambda _: None
        """Called when more is known of how a room came to its servers."""
        self.may_create: Callable[[], bool] = lambda: True
        """Whether clients may make rooms here now."""
        self._one_at_a_time = trio.Lock()

    @property
    def host(self) -> Host:
        """The open host."""
        assert self._host is not None, "attach comes before use"
        return self._host

    def attach(self, host: Host) -> None:
        """Take the opened host: rooms that were not replayed stand where their checkpoints left them."""
        self._host = host
        notes = host.notes()
        for room in self.rooms:
            room.feed.start_at(room.service.next_sequence)
            _load_book(room, notes.get(room.group, ()))
            room.move_seen = room.service.move
            self._note_epoch(room.group, host.replica(room.group))
        self.rooms.departed = {
            RoomId(group): certificates_of(kept) for group, kept in notes.items() if self.rooms.get(group) is None
        }

    def service_of(self, group: GroupId, genesis: bytes) -> RoomService:
        """The service of a group, made from its genesis (`vr.host` service factory).

        Raises:
            StartError: the stored genesis has rotted.
        """
        room = self.rooms.get(group)
        if room is None:
            try:
                record = decode_genesis(genesis)
            except DecodeError as error:
                raise StartError(f"history.db: the genesis of room {room_label(group)} has rotted: {error}") from error
            room = self.rooms.add(record, genesis)
        return room.service

    # --- what the host reports (vr.host Embedder) ----------------------------------------------------------------

    def on_committed(self, group: GroupId, operations: Many[CommittedOp]) -> None:
        """Operations were committed and applied here."""
        self._metrics.batches_committed.inc(len(operations))
        for operation in operations:
            self._metrics.batch_ops.observe(len(operation.requests))
        made_us = operations[-1].entry.header.timestamp_us
        if self._host is not None and self._host.replica(group).is_primary:
            self._metrics.commit_duration.observe(max(self._wall_us() - made_us, 0) / 1e6)
        timestamp_us = self.rooms.on_committed(group, operations)
        if timestamp_us:
            self._metrics.delivery_duration.observe(max(self._wall_us() - timestamp_us, 0) / 1e6)

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        """A request submitted here is committed."""
        self.rooms.on_reply(group, reply)

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        """A request submitted here was not taken up."""
        self.rooms.on_rejected(group, rejected)

    def on_epoch_end(self, group: GroupId, end: EpochEnd) -> Many[tuple[int, bytes]]:
        """A room's servers change: say so, if we had a vote, and keep it with the change."""
        room = self.rooms.get(group)
        assert room is not None, "its operations were told before"
        log.info("room_epoch_ended", room=room_label(group), epoch=end.configuration.epoch, op=end.op)
        before = room.book.servers_at(end.configuration.epoch - 1)
        if before is None:
            return ()  # Epochs were skipped by a snapshot, or the book is not read back yet: others tell of them.
        statement = make_statement(
            room_id=room.room_id,
            configuration=end.configuration,
            ended_by=(end.op, end.checksum),
            move=room.service.move,
            before=before,
        )
        had_vote = self._node_key in before.node_keys
        move = room.service.move
        is_wished = move is not None and move.epoch == end.configuration.epoch
        room.book.begin(
            statement,
            self._sign(statement) if had_vote else None,
            descriptor=move.descriptor if move is not None and is_wished else b"",
        )
        self.on_epochs(room)
        return room.book.notes()

    def on_status(self, group: GroupId) -> None:
        """A replica changed its view or status."""
        if self._host is None:
            return
        replica = self._host.replica(group)
        self._note_epoch(group, replica)
        log.info(
            "room_status_changed",
            room=room_label(group),
            view=replica.view,
            status=replica.status.name.lower(),
            op=replica.head_op,
        )

    def _note_epoch(self, group: GroupId, replica: Replica) -> None:
        """Tell others in which epoch we are: those who left wait for a majority of those who came."""
        room = self.rooms.get(group)
        epoch = -1 if replica.status is Status.RETIRED else replica.configuration.epoch
        if room is not None and room.epoch != epoch:
            room.epoch = epoch
            if replica.configuration.epoch > 0:
                self.on_epochs(room)

    # --- what connections ask ------------------------------------------------------------------------------------

    def submit(self, room: HostedRoom, requests: list[Request]) -> None:
        """Hand requests to replication.

        Raises:
            RefusedError: BUSY, UNKNOWN_ROOM or UNAVAILABLE; none was taken.
        """
        try:
            self.host.submit(room.group, requests)
        except Busy as error:
            raise RefusedError(RefusalCode.BUSY, str(error), retry_after_s=error.retry_after_s) from error
        except UnknownGroup as error:
            raise RefusedError(RefusalCode.UNKNOWN_ROOM, "this node does not host that room") from error
        except HostError as error:
            raise RefusedError(RefusalCode.UNAVAILABLE, str(error), retry_after_s=1.0) from error

    def forget(self, room: HostedRoom, client: ClientId, session: SessionNumber) -> None:
        """Nobody here waits for this session any more; of a room that has left there is nothing to forget."""
        if self.rooms.get(room.room_id) is room:
            self.host.forget(room.group, client, session)

    async def create_room(self, encoded: bytes) -> RoomId:
        """Host a room durably; the same genesis again is harmless.

        Raises:
            RefusedError: MALFORMED, NOT_REPLICA, FORBIDDEN, ROOM_CONFLICT, LIMIT or UNAVAILABLE.
        """
        try:
            genesis = decode_genesis(encoded)
        except DecodeError as error:
            raise RefusedError(RefusalCode.MALFORMED, str(error)) from error
        if not names(genesis, self._node_key, self.host.replica_id):
            raise RefusedError(RefusalCode.NOT_REPLICA, "the genesis does not name this node with this data folder")
        if self.rooms.get(genesis.room_id) is None and not self.may_create():
            raise RefusedError(RefusalCode.FORBIDDEN, "this cluster takes no new rooms (its operators' policy)")
        async with self._one_at_a_time:
            await self._create(genesis, encoded)
        return genesis.room_id

    async def host_room(self, offered: OfferedRoom) -> None:
        """Host a room that a peer told of; a refusal is logged, because nobody waits for it."""
        genesis = offered.genesis
        async with self._one_at_a_time:
            try:
                await self._create(genesis, offered.encoded_genesis, offered.book)
            except RefusedError as error:
                log.warning("room_refused", room=room_label(genesis.room_id), reason=error.text)

    async def _create(self, genesis: Genesis, encoded: bytes, book: EpochBook | None = None) -> None:
        known = self.rooms.get(genesis.room_id)
        if known is not None:
            if known.encoded_genesis != encoded:
                raise RefusedError(RefusalCode.ROOM_CONFLICT, "that room exists with another genesis")
            return
        configuration = None if book is None else book.configuration
        if configuration is None and genesis.room_id in self.rooms.departed:
            # Begun anew it would be another room of the same name, for whoever does not know where it went.
            raise RefusedError(RefusalCode.ROOM_CONFLICT, "that room has moved to other servers")
        if len(self.rooms) >= self.rooms_max:
            raise RefusedError(RefusalCode.LIMIT, f"this node hosts its {self.rooms_max} rooms already")
        try:
            await self.host.create_group(configuration or configuration_of(genesis), encoded)
        except GenesisConflict as error:
            raise RefusedError(RefusalCode.ROOM_CONFLICT, "that room exists with another genesis") from error
        except HostError as error:
            raise RefusedError(RefusalCode.UNAVAILABLE, str(error)) from error
        room = self.rooms.get(genesis.room_id)
        assert room is not None, "create_group asked for the service"
        room.feed.start_at(room.service.next_sequence)
        if book is not None:
            room.book = book
            self.on_epochs(room)
        self._note_epoch(room.group, self.host.replica(room.group))
        log.info("room_created", room=room_label(room.room_id), replicas=len(genesis.members))
        self._on_created(room)

    async def read_tip(self, room: HostedRoom) -> Sequence:
        """The sequence above everything that anybody was promised before this call. Without a majority it waits.

        Raises:
            RefusedError: the room is not served here any more.
        """
        while True:
            try:
                await self.host.read_index(room.group)
            except Busy as error:
                await trio.sleep(error.retry_after_s)
            except (HostError, UnknownGroup) as error:
                raise RefusedError(RefusalCode.UNAVAILABLE, str(error)) from error
            else:
                return room.service.next_sequence

    async def read_history(self, room: HostedRoom, sequence: Sequence) -> list[Delivery]:
        """A page of deliveries that begins at or before `sequence`; empty when nothing is stored there yet, or the room has left.

        Raises:
            HistoryGapError: what is stored has rotted.
        """
        try:
            entries = await self.host.read_history(room.group, sequence, limits.HISTORY_PAGE_BYTES)
        except (Busy, UnknownGroup):
            return []
        return [delivery for stored in entries for delivery in stored_deliveries(stored.entry, stored.results)]


def _load_book(room: HostedRoom, notes: Many[bytes]) -> None:
    try:
        room.book.load(notes)
    except DecodeError as error:
        # What it says can be learnt again from the room's other servers.
        log.warning("epochs_rotten", room=room_label(room.room_id), reason=str(error))
