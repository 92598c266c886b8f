"""A small but real server of one room: TLS on loopback, a list for a log, and faults on request.

Several doubles share one `SharedLog`, as replicas do. `Faults` decides at named points what goes wrong:
"received" (a message came in), "executed" (a block is in the log, its answer not sent), "delivering" (before a delivery).
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto

import nacl.exceptions
import nacl.signing
import trio

from wire.channel import MessageChannel
from wire.errors import DecodeError, PeerError, RefusalCode
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import RoomEpoch, RoomId, Sequence
from wire.messages import (
    Append,
    Appended,
    AppendRefused,
    Deliver,
    GetRoomStatus,
    Hello,
    KnownServers,
    Message,
    OpenSession,
    Ping,
    Pong,
    Prove,
    Proved,
    Refused,
    RoomCondition,
    RoomStatus,
    RoomTip,
    ServerHello,
    ServersChanged,
    SessionOpened,
    Subscribe,
    Subscribed,
    proof_message,
)
from wire.room import (
    BlockKind,
    BlockResult,
    Delivery,
    Purpose,
    ResultKind,
    chain_next,
    chain_start,
    decode_block_header,
    decode_entries,
    encode_result,
)
from wire.tls import accept, server_context
from wire.versions import PROTOCOL_VERSION

ROOM_ID = RoomId(b"r" * 16)
NONCE = b"n" * 32


def read_seed(epoch: int) -> bytes:
    return b"r%031d" % epoch


def write_seed(epoch: int) -> bytes:
    return b"w%031d" % epoch


class OwnKeys:
    """Keys of a member; a test sets `number` to change the epoch, None for somebody who is no member."""

    def __init__(self, number: int | None = 0) -> None:
        self.number = number

    @property
    def epoch(self) -> RoomEpoch | None:
        return None if self.number is None else RoomEpoch(self.number)

    def read_seed(self) -> bytes | None:
        return None if self.number is None else read_seed(self.number)

    def write_seed(self) -> bytes | None:
        return None if self.number is None else write_seed(self.number)

    def join_seed(self) -> bytes | None:
        return None

    def admin_seed(self) -> bytes | None:
        return None


class Fault(Enum):
    """What goes wrong."""

    NONE = auto()
    CUT = auto()
    BUSY = auto()
    GAP = auto()
    DROP = auto()
    REPEAT = auto()
    EVICT = auto()


Faults = Callable[[str], Fault]


def no_faults(point: str) -> Fault:
    return Fault.NONE


class SharedLog:
    """The room: what all doubles agree on."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.next_sequence = 1
        self.epoch = 0
        self.changed = trio.Event()
        self._chains = {0: chain_start(ROOM_ID)}
        self._sessions: dict[int, dict[int, bytes]] = {}
        self._session_numbers = itertools.count(256, 256)

    @property
    def entries(self) -> list[bytes]:
        return [
            entry
            for delivery in self.deliveries
            if decode_block_header(delivery.block).kind is BlockKind.APP
            for entry in decode_entries(delivery.block)
        ]

    def chain(self, through: int) -> bytes:
        return self._chains[through]

    def open_session(self) -> int:
        session = next(self._session_numbers)
        self._sessions[session] = {}
        return session

    def forget_sessions(self) -> None:
        self._sessions.clear()

    def execute(self, session: int, number: int, block: bytes) -> bytes | RefusalCode:
        """Once, in order, like the client table (VRR 4.1)."""
        results = self._sessions.get(session)
        if results is None:
            return RefusalCode.EVICTED
        if number <= len(results):
            return results[number]
        if number > len(results) + 1:
            return RefusalCode.SEQUENCE_GAP
        results[number] = encode_result(self._apply(session, number, block))
        return results[number]

    def _apply(self, session: int, number: int, block: bytes) -> BlockResult:
        header = decode_block_header(block)
        if header.epoch != self.epoch:
            return BlockResult(ResultKind.STALE, Sequence(0), RoomEpoch(self.epoch))
        delivery = Delivery(Sequence(self.next_sequence), len(self.deliveries), session, number, block)
        self.append(delivery, header.count)
        if header.kind is BlockKind.COMMIT:
            self.epoch += 1
        return BlockResult(ResultKind.ACCEPTED, delivery.first_sequence, RoomEpoch(self.epoch))

    def append(self, delivery: Delivery, count: int) -> None:
        chain = chain_next(self._chains[self.next_sequence - 1], delivery)
        self.deliveries.append(delivery)
        self.next_sequence += count
        self._chains[self.next_sequence - 1] = chain
        self.changed.set()
        self.changed = trio.Event()


class _CutError(Exception):
    pass


class ServerDouble:
    """One server. `lag` deliveries are not known here yet; `epochs` are those whose keys it knows."""

    def __init__(self, log: SharedLog, name: int, *, faults: Faults = no_faults) -> None:
        self.log = log
        self.faults = faults
        self.identity = NodeIdentity(bytes([name]) * 32)
        self.address = ServerAddress("127.0.0.1", 0, self.identity.public)
        self.is_silent = False
        self.known_epoch: int | None = None
        """Greatest epoch known here; None: the log's."""
        self.lies_about_chain = False
        self.is_cut_off = False
        """Greets and delivers, but takes no append any further: alone on its side of a partition."""
        self.says_so = False
        self.certificates: tuple[bytes, ...] = ()
        """Of all epochs of the room's servers, the first epoch's (1) first."""
        self.connections = 0
        self.received: list[Message] = []
        self._context = server_context(self.identity)
        self.sessions: set[_Session] = set()
        self._scopes: set[trio.CancelScope] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ServerDouble]:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = ServerAddress("127.0.0.1", listeners[0].socket.getsockname()[1], self.identity.public)
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._handle, listeners)
            yield self
            nursery.cancel_scope.cancel()

    def cut_all(self) -> None:
        """Cut every connection, as a crash does."""
        for scope in tuple(self._scopes):
            scope.cancel()

    async def move(self, *certificates: bytes) -> None:
        """The room has other servers from now on: tell all clients that asked."""
        self.certificates = (*self.certificates, *certificates)
        for session in tuple(self.sessions):
            await session.tell(certificates)

    async def _handle(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        session: _Session | None = None
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                channel = MessageChannel(await accept(stream, self._context))
                async with trio.open_nursery() as nursery:
                    session = _Session(self, channel, nursery)
                    self.sessions.add(session)
                    await session.run()
                    nursery.cancel_scope.cancel()
            except* (PeerError, _CutError):
                pass
            finally:
                self.sessions = {kept for kept in self.sessions if kept is not session}
                self._scopes.discard(scope)
                await trio.aclose_forcefully(stream)


class _Session:
    """One client connection."""

    def __init__(self, server: ServerDouble, channel: MessageChannel, nursery: trio.Nursery) -> None:
        self._server = server
        self._log = server.log
        self._channel = channel
        self._nursery = nursery
        self._sending = trio.Lock()
        self._client_nonce = b""
        self._read_epoch = -1
        self._write_epoch = -1
        self._feed = trio.CancelScope()
        self._asks_for_moves = False

    async def run(self) -> None:
        while True:
            for message in await self._channel.receive():
                self._server.received.append(message)
                fault = self._server.faults("received")
                if fault is Fault.CUT:
                    raise _CutError
                if self._server.is_silent or (fault is Fault.DROP and isinstance(message, Ping)):
                    continue
                answers = self._answer(message, fault)
                if answers:
                    await self._send(*answers)

    async def tell(self, certificates: tuple[bytes, ...]) -> None:
        if self._asks_for_moves:
            await self._send(ServersChanged(ROOM_ID, certificates))

    async def _send(self, *messages: Message) -> None:
        async with self._sending:
            if not self._server.is_silent:
                await self._channel.send(*messages)

    @property
    def _epoch(self) -> int:
        known = self._server.known_epoch
        return self._log.epoch if known is None else min(known, self._log.epoch)

    def _answer(self, message: Message, fault: Fault) -> list[Message]:
        match message:
            case Hello():
                self._client_nonce = message.nonce
                return [ServerHello(PROTOCOL_VERSION, NONCE, self._server.identity.public, "double", 0)]
            case Ping():
                return [Pong(message.id)]
            case KnownServers():
                self._asks_for_moves = True
                later = self._server.certificates[message.epoch :]
                return [ServersChanged(message.room_id, later)] if later else []
            case Prove():
                return [self._prove(message)]
            case Subscribe():
                return self._subscribe(message)
            case OpenSession():
                if fault is Fault.BUSY:
                    return [Refused(message.id, RefusalCode.BUSY, "busy", 0.001)]
                return [SessionOpened(message.id, message.room_id, self._log.open_session())]
            case Append():
                return [] if self._server.is_cut_off else self._append(message, fault)
            case GetRoomStatus():
                return [self._status(message.id)]
            case _:
                raise DecodeError(f"the double knows no {type(message).__name__}")

    def _prove(self, message: Prove) -> Message:
        is_read = message.purpose is Purpose.READ
        known = message.epoch <= self._epoch if is_read else message.epoch == self._epoch
        if not known:
            return Refused(message.id, RefusalCode.UNKNOWN_EPOCH, f"epoch {self._epoch} here")
        seed = (read_seed if is_read else write_seed)(message.epoch)
        signed = proof_message(
            purpose=message.purpose,
            node_key=self._server.identity.public,
            server_nonce=NONCE,
            client_nonce=self._client_nonce,
            room_id=message.room_id,
            epoch=message.epoch,
        )
        try:
            nacl.signing.SigningKey(seed).verify_key.verify(signed, message.signature)
        except nacl.exceptions.CryptoError:
            return Refused(message.id, RefusalCode.BAD_PROOF, "the proof does not hold")
        if is_read:
            self._read_epoch = max(self._read_epoch, message.epoch)
            self._log.changed.set()
            self._log.changed = trio.Event()
        else:
            self._write_epoch = message.epoch
        return Proved(message.id, message.room_id, message.purpose, RoomEpoch(self._epoch))

    def _subscribe(self, message: Subscribe) -> list[Message]:
        if self._read_epoch < 0:
            return [Refused(message.id, RefusalCode.NOT_PROVEN, "READ is not proven")]
        log = self._log
        chain = b"lie" * 8 if self._server.lies_about_chain else log.chain(log.next_sequence - 1)
        self._feed.cancel()
        self._feed = trio.CancelScope()
        self._nursery.start_soon(self._deliver, message.after, self._feed)
        spare = -1 if self._server.is_cut_off else 1
        return [
            Subscribed(message.id, message.room_id, Sequence(log.next_sequence), RoomEpoch(self._epoch), chain),
            RoomTip(message.id, message.room_id, Sequence(log.next_sequence)),
            *([RoomCondition(message.room_id, spare)] if self._server.says_so else []),
        ]

    async def _deliver(self, after: int, scope: trio.CancelScope) -> None:
        log = self._log
        with scope:
            index = next((i for i, item in enumerate(log.deliveries) if item.first_sequence > after), None)
            place = len(log.deliveries) if index is None else index
            while True:
                changed = log.changed
                ready = list(
                    itertools.takewhile(
                        lambda item: decode_block_header(item.block).epoch <= self._read_epoch, log.deliveries[place:]
                    )
                )[:50]
                if not ready:
                    await changed.wait()
                    continue
                fault = self._server.faults("delivering")
                if fault is Fault.CUT:
                    self._nursery.cancel_scope.cancel()
                place += len(ready) + (fault is Fault.DROP) - (fault is Fault.REPEAT)
                await self._send(Deliver(ROOM_ID, tuple(ready)))

    def _append(self, message: Append, fault: Fault) -> list[Message]:
        if fault in {Fault.BUSY, Fault.GAP}:
            code = RefusalCode.BUSY if fault is Fault.BUSY else RefusalCode.SEQUENCE_GAP
            return [AppendRefused(message.room_id, message.session, message.number, code, 0.001)]
        if fault is Fault.EVICT:
            self._log.forget_sessions()
        results: list[tuple[int, bytes]] = []
        refused: list[Message] = []
        for number, block in enumerate(message.blocks, message.number):
            if decode_block_header(block).epoch > self._write_epoch:
                refused = [AppendRefused(message.room_id, message.session, number, RefusalCode.NOT_PROVEN)]
                break
            outcome = self._log.execute(message.session, number, block)
            if isinstance(outcome, RefusalCode):
                refused = [AppendRefused(message.room_id, message.session, number, outcome)]
                break
            results.append((number, outcome))
        if self._server.faults("executed") is Fault.CUT:
            raise _CutError
        answered: list[Message] = [Appended(message.room_id, message.session, tuple(results))] if results else []
        return answered + refused

    def _status(self, number: int) -> RoomStatus:
        log = self._log
        return RoomStatus(
            number, ROOM_ID, 0, "normal", self._server.identity.public, len(log.deliveries), len(log.deliveries),
            RoomEpoch(log.epoch), Sequence(log.next_sequence), log.chain(log.next_sequence - 1), 1, (),
        )  # fmt: skip
