"""The server's side of a talk with `RoomProtocol`, in the hands of a test."""

from __future__ import annotations

from typing import TypeVar

from client.append_window import AppendWindow, Ticket
from client.room_protocol import RoomProtocol
from wire.frames import FrameDecoder
from wire.ids import ClientId, RoomEpoch, RoomId, Sequence
from wire.messages import (
    Append,
    Appended,
    Deliver,
    Message,
    OpenSession,
    Prove,
    Proved,
    RoomTip,
    SessionOpened,
    Subscribe,
    Subscribed,
    decode,
)
from wire.room import (
    BlockResult,
    Delivery,
    Purpose,
    ResultKind,
    encode_app_block,
    encode_result,
)

ROOM_ID = RoomId(b"r" * 16)
CLIENT = ClientId(b"c" * 16)
Kind = TypeVar("Kind", bound=Message)


class OwnKeys:
    """Keys that a test can change."""

    def __init__(self, epoch: int | None = 0, *, write: bool = True, join: bool = False) -> None:
        self.number = epoch
        self.write = write
        self.join = join

    @property
    def epoch(self) -> RoomEpoch | None:
        return None if self.number is None else RoomEpoch(self.number)

    def read_seed(self) -> bytes | None:
        return None if self.number is None else b"r%31d" % self.number

    def write_seed(self) -> bytes | None:
        return b"w%31d" % self.number if self.write and self.number is not None else None

    def join_seed(self) -> bytes | None:
        return b"j" * 32 if self.join else None

    def admin_seed(self) -> bytes | None:
        return None


def prove(purpose: Purpose, seed: bytes, *, id: int, room_id: RoomId, epoch: RoomEpoch) -> Prove:  # noqa: A002 - the wire's name
    return Prove(id, room_id, purpose, epoch, seed)


class Talk:
    """A protocol, and the server's side of the talk in the hands of the test."""

    def __init__(self, keys: OwnKeys | None = None, *, after: int = 0, chain: bytes | None = None) -> None:
        self.keys = keys or OwnKeys()
        self.window = AppendWindow(CLIENT)
        self.protocol = RoomProtocol(ROOM_ID, self.keys, self.window, after=Sequence(after), chain=chain)
        self.now = 0.0

    def connect(self) -> list[Message]:
        self.protocol.connected(prove)
        return self.said()

    def said(self) -> list[Message]:
        data = self.protocol.take_output()
        return [decode(frame) for frame in FrameDecoder().feed(data)]

    def hear(self, *messages: Message) -> list[Message]:
        self.protocol.received(messages, self.now)
        return self.said()

    def pass_time(self) -> list[Message]:
        self.now = self.protocol.wake_at
        self.protocol.on_time(self.now)
        return self.said()

    def attach(self, *, next_sequence: int = 1, chain: bytes = b"", room_epoch: int = 0) -> list[Message]:
        """Answer everything that is said at first as a good server would; returns what is said then."""
        answers: list[Message] = []
        for message in self.connect():
            if isinstance(message, Prove):
                answers.append(Proved(message.id, ROOM_ID, message.purpose, RoomEpoch(room_epoch)))
            elif isinstance(message, Subscribe):
                answers.append(Subscribed(message.id, ROOM_ID, Sequence(next_sequence), RoomEpoch(room_epoch), chain))
                answers.append(RoomTip(message.id, ROOM_ID, Sequence(next_sequence)))
        return self.hear(*answers)

    def append(self, epoch: int = 0) -> Ticket:
        ticket = Ticket(encode_app_block(RoomEpoch(epoch), [b"e"]), RoomEpoch(epoch))
        self.window.add(ticket)
        return ticket

    def attach_with_session(self) -> None:
        self.append()
        (open_session,) = self.attach()
        assert isinstance(open_session, OpenSession)
        (append,) = self.hear(SessionOpened(open_session.id, ROOM_ID, 256))
        assert isinstance(append, Append)
        self.hear(appended(256, 1))


def of(kind: type[Kind], messages: list[Message]) -> Kind:
    (found,) = [message for message in messages if isinstance(message, kind)]
    return found


def appended(session: int, number: int, sequence: int = 1) -> Appended:
    result = encode_result(BlockResult(ResultKind.ACCEPTED, Sequence(sequence), RoomEpoch(0)))
    return Appended(ROOM_ID, session, ((number, result),))


def delivery(first: int, count: int = 1, epoch: int = 0) -> Delivery:
    return Delivery(Sequence(first), first, 1, first, encode_app_block(RoomEpoch(epoch), [b"e"] * count))


def deliver(*deliveries: Delivery) -> Deliver:
    return Deliver(ROOM_ID, deliveries)
