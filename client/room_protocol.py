"""What we say to a server about one room, and what we make of its answers. Sans-IO; lives on across connections.

    connected ─▶ Prove READ, Subscribe, Prove WRITE, open calls      in one flight, nothing waits for an answer
                   ◀ Proved, Subscribed ─▶ live      ◀ RoomTip, Deliver, Deliver, … ─▶ caught up
                   ◀ Proved(WRITE) ─▶ OpenSession, once there is something to append ─▶ Append, everything unanswered again
    disconnected ─▶ the same on another server, behind the last delivery that was given out

| a server says | we |
|---|---|
| BUSY, a gap in numbers | send the same again, after the pause that it asks for |
| EVICTED, UNKNOWN_SESSION | report unknown outcomes; the next append opens another session |
| UNKNOWN_EPOCH | it lags: prove again soon, then go elsewhere. For WRITE also: we lag; the owner will learn the epoch |
| DRAINING, UNAVAILABLE, UNKNOWN_ROOM, a refused proof | go elsewhere |
| nothing can be appended here | go elsewhere, if there is somewhere (`client.standstill`) |
| deliveries with a gap or a repeat, another chain hash | alarm the owner, go elsewhere |
| the room has other servers | believe it if those before them signed it (`client.whereabouts`); else alarm, go elsewhere |

A member who was away holds keys of an old epoch: it may read on from there, and cannot write until it has caught up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from enum import Enum, auto
from functools import partial
from typing import Final, NoReturn, Protocol, TypeAlias

import msgspec

from client import connection_limits as limits
from client.append_window import AppendWindow, Failure
from client.whereabouts import Whereabouts
from wire.certificate import RoomServers
from wire.errors import PeerError, RefusalCode
from wire.frames import encode_frame
from wire.ids import RoomEpoch, RoomId, Sequence
from wire.messages import (
    Appended,
    AppendRefused,
    Deliver,
    Message,
    OpenSession,
    Ping,
    Pong,
    Prove,
    Proved,
    Refused,
    RoomCondition,
    RoomTip,
    ServersChanged,
    SessionOpened,
    Subscribe,
    Subscribed,
    encode,
)
from wire.room import BlockResult, Delivery, Purpose, ResultKind, chain_next, decode_block_header

_NO_EPOCH: Final = RoomEpoch(-1)
_LOST_SESSION: Final = frozenset({RefusalCode.EVICTED, RefusalCode.UNKNOWN_SESSION})
_NEVER_ACCEPTED: Final = frozenset({RefusalCode.MALFORMED, RefusalCode.LIMIT, RefusalCode.FORBIDDEN})
_TRY_AGAIN: Final = frozenset({RefusalCode.BUSY, RefusalCode.SEQUENCE_GAP, RefusalCode.NOT_PROVEN, RefusalCode.FULL})
_HINDRANCES: Final = {
    RefusalCode.BUSY: "the server is busy, or the room has had its share for now",
    RefusalCode.FULL: "the room has all the space that its servers give it; their operators can give it more, its owner can move it",
}


class ServerUnfitError(PeerError):
    """This server cannot serve us now: try another."""

    cause = "unfit"


class Keys(Protocol):
    """The owner's keys: 32-byte Ed25519 seeds, asked for whenever a proof is needed."""

    @property
    def epoch(self) -> RoomEpoch | None:
        """The epoch we are in, or None before joining."""

    def read_seed(self) -> bytes | None:
        """Opens reading through our epoch."""

    def write_seed(self) -> bytes | None:
        """Opens writing in our epoch."""

    def join_seed(self) -> bytes | None:
        """Opens joining."""

    def admin_seed(self) -> bytes | None:
        """Opens the acts of the room's owner; None unless one is about to be done."""


class Prover(Protocol):
    """Signs proofs for one connection (`wire.channel.ClientChannel.proof`)."""

    def __call__(self, purpose: Purpose, seed: bytes, *, id: int, room_id: RoomId, epoch: RoomEpoch) -> Prove:  # noqa: A002 (the wire's name)
        """Sign."""


class Deliveries(msgspec.Struct, frozen=True, gc=False):
    """Blocks in order, right behind those before; `through` is the sequence of their last entry.

    `chain` is the hash over all history through there, None if it is not tracked.
    """

    deliveries: tuple[Delivery, ...]
    through: Sequence
    chain: bytes | None = None


class Alarm(msgspec.Struct, frozen=True):
    """A server contradicts the room's history as we know it through `sequence`: it lies, or data was damaged."""

    text: str
    sequence: Sequence


class ServersMoved(msgspec.Struct, frozen=True):
    """The room has other servers than before; those before them signed it. To be remembered."""

    known: RoomServers


ProtocolEvent: TypeAlias = Deliveries | Alarm | ServersMoved


class CallTicket:
    """A question on its way; sent again after a reconnect. `on_done` is called once, with the answer there."""

    __slots__ = ("answer", "build", "failure", "on_done")

    def __init__(self, build: Callable[[int], Message]) -> None:
        self.build = build
        self.answer: Message | None = None
        self.failure: Failure | None = None
        self.on_done: Callable[[], object] | None = None

    @property
    def is_done(self) -> bool:
        """The answer is there."""
        return self.answer is not None or self.failure is not None


class _Subscription(Enum):
    NONE = auto()
    ASKED = auto()
    STANDING = auto()


class RoomProtocol:
    """One room and whatever server it is reached through.

    Args:
        room_id: the room.
        keys: of its owner; call `keys_changed` when they change.
        window: what is to be appended.
        after: deliver what follows this sequence.
        chain: the hash through `after`; None: do not track it.
        known: the room's servers, whose successors are believed; None: follow nobody.

    Attributes:
        room_id: the room.
        events: what happened; the embedder takes them out.
        is_live: attached to a server: reading goes on, answers come.
        is_caught_up: all that anybody was promised before this connection subscribed has been given out.
        spare_failures: as the server says (`RoomCondition`); None until it does.
        answers: messages so far that answered appends.
    """

    def __init__(
        self,
        room_id: RoomId,
        keys: Keys,
        window: AppendWindow,
        *,
        after: Sequence,
        chain: bytes | None,
        known: RoomServers | None = None,
    ) -> None:
        self.events: list[ProtocolEvent] = []
        self.is_live = False
        self.is_caught_up = False
        self.answers = 0
        self.hindrance = ""
        """Why the newest blocks have to wait, in words for a person; empty if they do not."""
        self.spare_failures: int | None = None
        self.room_id = room_id
        self._keys = keys
        self._window = window
        self._whereabouts = Whereabouts(room_id, known)
        self._after: int = after
        self._chain = chain
        self._ids = itertools.count(1)
        self._tickets: dict[CallTicket, int] = {}
        self._reset(None)

    def _reset(self, prover: Prover | None) -> None:
        """Forget everything that belongs to one connection."""
        self.is_live = self.is_caught_up = False
        self.spare_failures = None
        self._prover = prover
        self._frames: list[bytes] = []
        self._handlers: dict[int, Callable[[Message], None]] = {}
        self._read_epoch = self._write_epoch = self._asked_read = self._asked_write = self._room_epoch = _NO_EPOCH
        self._is_joiner = self._has_asked_join = self._is_admin = self._has_asked_admin = False
        self._subscription = _Subscription.NONE
        self._target: tuple[int, bytes] | None = None
        """Where the server stood when we subscribed: its last sequence and the chain hash through it."""
        self._subscribe_call = 0
        self._tip: int | None = None
        """Everything below was promised to somebody before we subscribed; None until a majority has said so."""
        self._is_opening = False
        self._now = 0.0
        self._prove_at = self._resend_at = self._open_at = math.inf
        self._proof_tries = self._gaps = 0

    # --- for the embedder ----------------------------------------------------------------------------------------

    @property
    def after(self) -> Sequence:
        """The last sequence that was given out."""
        return Sequence(self._after)

    @property
    def chain(self) -> bytes | None:
        """The hash over all history through `after`, if it is tracked."""
        return self._chain

    @property
    def is_waiting(self) -> bool:
        """Somebody waits for an answer of the server."""
        return bool(self._handlers or self._window.unanswered)

    @property
    def is_appending(self) -> bool:
        """Appends, or the session for them, wait for an answer of the server."""
        return bool(self._is_opening or self._window.unanswered)

    @property
    def wake_at(self) -> float:
        """When to call `on_time`, monotonic seconds."""
        return min(self._prove_at, self._resend_at, self._open_at)

    @property
    def wants_output(self) -> bool:
        """`take_output` may have something."""
        if self._frames:
            return True
        if self._prover is None or self._resend_at < math.inf:
            return False
        return self._window.wants_to_send or (self._window.wants_session and not self._is_opening)

    def connected(self, prover: Prover) -> None:
        """Begin on a new connection whose hellos are exchanged."""
        self._reset(prover)
        self._window.resend()
        introduction = self._whereabouts.introduction()
        if introduction is not None:
            self._frames.append(encode_frame(encode(introduction)))
        self._introduce()
        for ticket in tuple(self._tickets):
            self._send_call(ticket)
        self._check_live()

    def disconnected(self) -> None:
        """The connection is gone."""
        self._reset(None)

    def believe(self, known: RoomServers) -> bool:
        """Take the owner's word for where the room is, unless we know better; tells whether it was taken."""
        return self._whereabouts.believe(known)

    def keys_changed(self) -> None:
        """The owner is in another epoch, or has become a member."""
        if self._prover is not None:
            self._introduce()

    def follow(self, after: Sequence, chain: bytes | None) -> None:
        """Deliver from somewhere else: a joiner learns only from its bundle where its history begins."""
        self._after = after
        self._chain = chain
        self._subscription = _Subscription.NONE
        if self._prover is not None:
            self._introduce()

    def call(self, ticket: CallTicket) -> None:
        """Ask something. Ask `can_call` first."""
        assert self.can_call
        self._tickets[ticket] = 0
        if self._prover is not None:
            self._send_call(ticket)

    @property
    def can_call(self) -> bool:
        """Another call may be made."""
        return len(self._tickets) < limits.CALLS_MAX

    def drop_call(self, ticket: CallTicket) -> None:
        """Nobody waits for this answer any more."""
        self._handlers.pop(self._tickets.pop(ticket, 0), None)

    def ping(self) -> None:
        """Ask whether the server is there; any bytes are an answer."""
        self._frames.append(encode_frame(encode(Ping(0))))

    def on_time(self, now: float) -> None:
        """Do what `wake_at` was for."""
        self._now = now
        if now >= self._prove_at:
            self._prove_at = math.inf
            self._proof_tries += 1
            self._introduce()
        if now >= self._resend_at:
            self._resend_at = math.inf
            self._window.resend()
        if now >= self._open_at:
            self._open_at = math.inf
            self._is_opening = False

    def take_output(self) -> bytes:
        """Frames of one write; empty when there is nothing to send."""
        if self._prover is None:
            return b""
        window = self._window
        if window.wants_session and not self._is_opening and self._may_open_session:
            self._is_opening = True
            self._send(partial(OpenSession, room_id=self.room_id, client_id=window.client_id), self._on_opened)
        frames, self._frames = self._frames, []
        if self._resend_at == math.inf and window.wants_to_send:
            appends = window.take_appends(self.room_id, self._may_send)
            frames += [encode_frame(encode(append)) for append in appends]
        return b"".join(frames)

    @property
    def _may_open_session(self) -> bool:
        return self._write_epoch >= 0 or self._is_joiner or self._is_admin

    def _may_send(self, epoch: RoomEpoch, needs: Purpose) -> bool:
        match needs:
            case Purpose.ADMIN:
                return self._is_admin
            case Purpose.JOIN:
                return self._is_joiner or epoch <= self._write_epoch
            case _:
                return epoch <= self._write_epoch

    def received(self, messages: Iterable[Message], now: float) -> None:
        """Act on the messages of one chunk, in order.

        Raises:
            ServerUnfitError: go elsewhere; what came before is done.
            DecodeError: a block or result in them is malformed.
        """
        self._now = now
        for message in messages:
            match message:
                case Deliver():
                    self._on_deliver(message)
                case Appended():
                    if self._window.answered(message.session, message.results):
                        self._gaps = 0
                        self.answers += 1
                        self.hindrance = ""
                case AppendRefused():
                    self._on_append_refused(message)
                case Pong():
                    pass
                case RoomTip() | RoomCondition() | ServersChanged():
                    self._on_news(message)
                case _:
                    self._on_answer(message)
        if not self.is_live:
            self._check_live()

    def _on_news(self, message: RoomTip | RoomCondition | ServersChanged) -> None:
        if isinstance(message, ServersChanged):
            self._on_servers_changed(message)
            return
        if message.room_id != self.room_id:
            return
        if isinstance(message, RoomCondition):
            self.spare_failures = message.spare_failures
        elif message.id == self._subscribe_call:
            self._tip = message.next_sequence
            self._check_caught_up()

    # --- proofs and subscription ---------------------------------------------------------------------------------

    def _send(self, build: Callable[[int], Message], handler: Callable[[Message], None]) -> int:
        number = next(self._ids)
        self._handlers[number] = handler
        self._frames.append(encode_frame(encode(build(number))))
        return number

    def _introduce(self) -> None:
        """Prove what is not proven yet, and subscribe as soon as that may succeed."""
        epoch, read_seed, write_seed = self._keys.epoch, self._keys.read_seed(), self._keys.write_seed()
        if epoch is not None and read_seed is not None:
            if epoch > self._asked_read:
                self._asked_read = epoch
                self._prove(Purpose.READ, read_seed, epoch)
            if self._subscription is _Subscription.NONE:
                self._subscribe()
        if epoch is not None and write_seed is not None and epoch > self._asked_write:
            self._asked_write = epoch
            self._prove(Purpose.WRITE, write_seed, epoch)
        join_seed = self._keys.join_seed()
        if join_seed is not None and write_seed is None and not self._has_asked_join:
            self._has_asked_join = True
            self._prove(Purpose.JOIN, join_seed, RoomEpoch(0))
        admin_seed = self._keys.admin_seed()
        if admin_seed is not None and not self._has_asked_admin:
            self._has_asked_admin = True
            self._prove(Purpose.ADMIN, admin_seed, RoomEpoch(0))

    def _prove(self, purpose: Purpose, seed: bytes, epoch: RoomEpoch) -> None:
        assert self._prover is not None
        prove = partial(self._prover, purpose, seed, room_id=self.room_id, epoch=epoch)
        self._send(lambda number: prove(id=number), partial(self._on_proved, purpose, epoch))

    def _on_proved(self, purpose: Purpose, epoch: RoomEpoch, answer: Message) -> None:
        if isinstance(answer, Refused):
            self._on_proof_refused(purpose, answer)
            return
        if not isinstance(answer, Proved):
            raise ServerUnfitError(f"answers a proof with {type(answer).__name__}")
        self._proof_tries = 0
        self._room_epoch = max(self._room_epoch, answer.epoch)
        if purpose is Purpose.READ:
            self._read_epoch = max(self._read_epoch, epoch)
            if self._subscription is _Subscription.NONE:
                self._subscribe()
        elif purpose is Purpose.WRITE:
            self._write_epoch = max(self._write_epoch, epoch)
        elif purpose is Purpose.JOIN:
            self._is_joiner = True
        else:
            self._is_admin = True

    def _on_proof_refused(self, purpose: Purpose, answer: Refused) -> None:
        if answer.code is not RefusalCode.UNKNOWN_EPOCH:
            raise ServerUnfitError(f"refused our {purpose.name} proof: {answer.text}")
        if purpose is Purpose.READ:
            self._asked_read = _NO_EPOCH
        else:
            self._asked_write = _NO_EPOCH
            epoch = self._keys.epoch
            if epoch is not None and epoch < self._room_epoch:
                return  # We lag, not the server: reading on will bring us the keys.
        if self._proof_tries >= limits.PROOF_RETRIES_MAX:
            raise ServerUnfitError(f"lags behind: {answer.text}")
        self._prove_at = min(self._prove_at, self._now + limits.PROOF_RETRY_S)

    def _subscribe(self) -> None:
        self._subscription = _Subscription.ASKED
        build = partial(Subscribe, room_id=self.room_id, after=self.after)
        self._tip = None
        self._subscribe_call = self._send(build, self._on_subscribed)

    def _on_subscribed(self, answer: Message) -> None:
        if isinstance(answer, Refused | Subscribed) and answer.id != self._subscribe_call:
            return  # `follow` has asked for something else since.
        if isinstance(answer, Refused):
            self._subscription = _Subscription.NONE
            if answer.code is RefusalCode.NOT_PROVEN:
                return  # The proof in front of it was refused, and is tried again.
            raise ServerUnfitError(f"refused the subscription: {answer.text}")
        if not isinstance(answer, Subscribed):
            raise ServerUnfitError(f"answers a subscription with {type(answer).__name__}")
        self._subscription = _Subscription.STANDING
        self._room_epoch = max(self._room_epoch, answer.epoch)
        self._target = (answer.next_sequence - 1, answer.chain)
        self._compare(self._after, self._chain)
        self._check_caught_up()

    def _check_live(self) -> None:
        if self._prover is None:
            return
        if self._keys.epoch is not None and self._keys.read_seed() is not None:
            self.is_live = self._subscription is _Subscription.STANDING and self._read_epoch >= 0
        elif self._keys.write_seed() is not None:
            self.is_live = self._write_epoch >= 0
        else:
            self.is_live = self._is_joiner or self._keys.join_seed() is None

    # --- deliveries ----------------------------------------------------------------------------------------------

    def _on_deliver(self, message: Deliver) -> None:
        if self._subscription is not _Subscription.STANDING:
            return  # Of the subscription before `follow`.
        if message.room_id != self.room_id or not message.deliveries:
            raise ServerUnfitError("delivers nothing, or another room")
        after, chain = self._after, self._chain
        for delivery in message.deliveries:
            if delivery.first_sequence != after + 1:
                self._alarm(f"a server delivered {delivery.first_sequence} where {after + 1} follows")
            after += decode_block_header(delivery.block).count
            if chain is not None:
                chain = chain_next(chain, delivery)
                self._compare(after, chain)
        self._after, self._chain = after, chain
        self.events.append(Deliveries(message.deliveries, Sequence(after), chain))
        self._check_caught_up()

    def _compare(self, after: int, chain: bytes | None) -> None:
        """Two who stand at the same place must have come the same way."""
        if self._target is not None and self._target[0] == after and chain not in (None, self._target[1]):
            self._alarm(f"a server holds another history through {after}")

    def _check_caught_up(self) -> None:
        if self._target is not None and self._target[0] <= self._after:
            self._target = None
        if self._tip is not None and self._tip <= self._after + 1:
            self.is_caught_up = True

    def _alarm(self, text: str) -> NoReturn:
        self.events.append(Alarm(text, self.after))
        raise ServerUnfitError(text)

    def _on_servers_changed(self, message: ServersChanged) -> None:
        try:
            has_moved = self._whereabouts.follow(message)
        except PeerError as error:
            self._alarm(f"a server names other servers without proof: {error}")
        if has_moved:
            assert self._whereabouts.known is not None, "it was followed"
            self.events.append(ServersMoved(self._whereabouts.known))

    # --- appends and calls ---------------------------------------------------------------------------------------

    def _on_opened(self, answer: Message) -> None:
        self._is_opening = False
        if isinstance(answer, SessionOpened):
            self._window.session_opened(answer.session)
        elif isinstance(answer, Refused) and answer.code in _TRY_AGAIN | _LOST_SESSION:
            self._is_opening = True
            self._prove_write_again(answer.code)
            self._open_at = self._now + _pause_s(answer.retry_after_s)
        else:
            raise ServerUnfitError(f"opens no session: {getattr(answer, 'text', type(answer).__name__)}")

    def _on_append_refused(self, message: AppendRefused) -> None:
        window = self._window
        if message.session != window.session:
            return
        if message.code in _LOST_SESSION:
            window.session_lost("the room's servers have forgotten this session")
        elif message.code in _NEVER_ACCEPTED:
            kind = ResultKind.FORBIDDEN if message.code is RefusalCode.FORBIDDEN else ResultKind.MALFORMED
            window.refuse(message.number, BlockResult(kind, Sequence(0), RoomEpoch(max(self._room_epoch, 0))))
        elif message.code in _TRY_AGAIN:
            self._gaps += message.code is RefusalCode.SEQUENCE_GAP
            if self._gaps > limits.GAPS_MAX:
                self._gaps = 0
                window.session_lost("the room's servers miss earlier requests of this session")
            else:
                self._prove_write_again(message.code)
                self.hindrance = _HINDRANCES.get(message.code, "")
                most_s = limits.FULL_RETRY_S_MAX if message.code is RefusalCode.FULL else limits.RESEND_S_MAX
                self._resend_at = min(self._resend_at, self._now + _pause_s(message.retry_after_s, most_s))
        else:
            raise ServerUnfitError(f"takes no appends: {message.code.name.lower()}")

    def _prove_write_again(self, code: RefusalCode) -> None:
        if code is RefusalCode.NOT_PROVEN:
            self._asked_write = self._write_epoch = _NO_EPOCH
            self._prove_at = min(self._prove_at, self._now + limits.RESEND_S_MIN)

    def _send_call(self, ticket: CallTicket) -> None:
        self._tickets[ticket] = self._send(ticket.build, partial(self._on_call_answered, ticket))

    def _on_call_answered(self, ticket: CallTicket, answer: Message) -> None:
        if self._tickets.pop(ticket, None) is None:
            return
        ticket.answer = answer
        if ticket.on_done is not None:
            ticket.on_done()

    def _on_answer(self, message: Message) -> None:
        number = getattr(message, "id", None)
        if isinstance(message, Refused) and number == 0:
            raise ServerUnfitError(f"{message.code.name.lower()}: {message.text}")
        if not isinstance(number, int):
            raise ServerUnfitError(f"unexpected {type(message).__name__}")
        handler = self._handlers.pop(number, None)
        if handler is not None:
            handler(message)


def _pause_s(retry_after_s: float, most_s: float = limits.RESEND_S_MAX) -> float:
    return min(max(retry_after_s, limits.RESEND_S_MIN), most_s)
