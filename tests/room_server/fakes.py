"""Replication in one object, for tests of the edge: commits when told to, exactly once, as `vr` does."""

from __future__ import annotations

from typing import TypeVar

import nacl.signing

from room_server.edge import ClientEdge
from room_server.errors import RefusedError
from room_server.feed import RingBudget
from room_server.letterboxes import LetterBoxes
from room_server.metrics import NodeMetrics
from room_server.rooms import HostedRoom, Rooms
from tests.room_server.builders import ROOM_ID, genesis
from vr.log import Request, make_entry
from vr.ready import CommittedOp, Reply
from vr.types import Checksum, OpNumber, SessionNumber, ViewNumber
from vr.types import ClientId as VrClientId
from wire.errors import RefusalCode
from wire.frames import LENGTH_BYTES
from wire.ids import ClientId, NodeKey, RoomEpoch, RoomId
from wire.messages import (
    Append,
    AppendRefused,
    Hello,
    Message,
    NodeInfo,
    OpenSession,
    Prove,
    Refused,
    RoomStatus,
    ServerHello,
    SessionOpened,
    decode,
    proof_message,
)
from wire.room import Purpose, encode_genesis

NODE_KEY = NodeKey(b"N" * 32)
KEYS = {
    Purpose.READ: nacl.signing.SigningKey(b"r" * 32),
    Purpose.WRITE: nacl.signing.SigningKey(b"w" * 32),
    Purpose.JOIN: nacl.signing.SigningKey(b"j" * 32),
    Purpose.ADMIN: nacl.signing.SigningKey(b"a" * 32),
}
SERVER_NONCE = b"s" * 32
CLIENT_NONCE = b"c" * 32
CLIENT = ClientId(b"c" * 16)
Kind = TypeVar("Kind", bound=Message)


def keyed_genesis(room_id: RoomId = ROOM_ID, **changes: object) -> bytes:
    """A genesis whose keys tests can sign with."""
    keys = {
        "write_key": bytes(KEYS[Purpose.WRITE].verify_key),
        "read_key": bytes(KEYS[Purpose.READ].verify_key),
        "join_key": bytes(KEYS[Purpose.JOIN].verify_key),
        "admin_key": bytes(KEYS[Purpose.ADMIN].verify_key),
    }
    return encode_genesis(genesis(room_id, **(keys | changes)))


def proof(
    purpose: Purpose,
    *,
    epoch: int = 0,
    call: int = 1,
    room_id: RoomId = ROOM_ID,
    key: nacl.signing.SigningKey | None = None,
    node_key: NodeKey = NODE_KEY,
    server_nonce: bytes = SERVER_NONCE,
    client_nonce: bytes = CLIENT_NONCE,
) -> Prove:
    """A right proof, unless told otherwise."""
    signed = proof_message(
        purpose=purpose,
        node_key=node_key,
        server_nonce=server_nonce,
        client_nonce=client_nonce,
        room_id=room_id,
        epoch=RoomEpoch(epoch),
    )
    return Prove(call, room_id, purpose, RoomEpoch(epoch), (key or KEYS[purpose]).sign(signed).signature)


class LocalBackend:
    """The node of one replica: requests wait in `waiting` until `commit` (`room_server.rooms.Backend`)."""

    def __init__(self) -> None:
        self.name = "a"
        self.node_key = NODE_KEY
        self.rooms = Rooms(RingBudget())
        self.letters = LetterBoxes()
        self.metrics = NodeMetrics(version="0", peers=[])
        self.waiting: list[tuple[HostedRoom, Request]] = []
        self.submits = 0
        self.forgotten: list[SessionNumber] = []
        self.refusal: RefusedError | None = None
        self.clock = 0.0
        self.margin = 1
        self._op = 0
        self._results: dict[tuple[RoomId, SessionNumber, int], bytes] = {}

    def submit(self, room: HostedRoom, requests: list[Request]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.submits += 1
        self.waiting.extend((room, request) for request in requests)

    def forget(self, room: HostedRoom, client: VrClientId, session: SessionNumber) -> None:
        self.forgotten.append(session)

    def node_info(self, call: int) -> NodeInfo:
        return NodeInfo(call, ())

    def room_margin(self, room: HostedRoom) -> int:
        return self.margin

    def room_status(self, call: int, room: HostedRoom) -> RoomStatus:
        service = room.service
        return RoomStatus(
            call, room.room_id, 0, "normal", NODE_KEY, 0, 0, service.epoch, service.next_sequence, service.chain, 0, ()
        )

    def wall_us(self) -> int:
        return 1_000_000

    def now(self) -> float:
        return self.clock

    def commit(self) -> None:
        """Commit all that waits, one operation per request; resends are answered and not applied again."""
        waiting, self.waiting = self.waiting, []
        for room, request in waiting:
            self._op += 1
            if request.number == 0:
                session = SessionNumber(self._op << 8)
                self.rooms.on_reply(room.group, _reply(request, session, self._op, request.body))
                continue
            key = (room.room_id, request.session, request.number)
            if key not in self._results:
                self._apply(room, request, key)
            self.rooms.on_reply(room.group, _reply(request, request.session, self._op, self._results[key]))

    def _apply(self, room: HostedRoom, request: Request, key: tuple[RoomId, SessionNumber, int]) -> None:
        timestamp_us = 1_000 * self._op
        results = room.service.apply(OpNumber(self._op), timestamp_us, [request])
        self._results[key] = results[0]
        entry = make_entry(
            view=ViewNumber(0),
            op=OpNumber(self._op),
            commit=OpNumber(0),
            parent=Checksum(bytes(16)),
            timestamp_us=timestamp_us,
            requests=[request],
        )
        committed = CommittedOp(entry=entry, requests=[request], results=results, mark=room.service.mark())
        self.rooms.on_committed(room.group, [committed])


def _reply(request: Request, session: SessionNumber, op: int, result: bytes) -> Reply:
    return Reply(client=request.client, session=session, number=request.number, op=OpNumber(op), result=result)


class Client:
    """A client over no network: says things to an edge and reads its answers."""

    def __init__(self, backend: LocalBackend, *, hello: bool = True) -> None:
        self.backend = backend
        self.wakes = 0
        self.edge = ClientEdge(backend, nonce=SERVER_NONCE, on_output=self._woken)
        if hello:
            assert [type(message) for message in self.say(Hello(1, CLIENT_NONCE))] == [ServerHello]

    def _woken(self) -> None:
        self.wakes += 1

    def say(self, *messages: Message) -> list[Message]:
        self.edge.handle(messages)
        return self.hear()

    def hear(self) -> list[Message]:
        heard: list[Message] = []
        self.edge.catch_up()
        while frames := self.edge.take_output():
            heard += [decode(memoryview(frame)[LENGTH_BYTES:]) for frame in frames]
            self.edge.catch_up()
        return heard

    def one(self, message: Message, kind: type[Kind]) -> Kind:
        [answer] = self.say(message)
        assert isinstance(answer, kind), answer
        return answer

    def open_session(self) -> int:
        self.edge.handle([OpenSession(5, ROOM_ID, CLIENT)])
        self.backend.commit()
        [opened] = self.hear()
        assert isinstance(opened, SessionOpened)
        return opened.session


def append(session: int, number: int, *blocks: bytes) -> Append:
    return Append(ROOM_ID, CLIENT, session, number, blocks)


def refusal(answers: list[Message]) -> RefusalCode:
    [refused] = answers
    assert isinstance(refused, Refused | AppendRefused)
    return refused.code
