from __future__ import annotations

import msgspec
import pytest

from room_server.rooms import HostedRoom, PendingOpen, Route, configuration_of
from tests.room_server.builders import ROOM_ID, genesis
from tests.room_server.fakes import LocalBackend
from vr.ready import Rejected, RejectReason, Reply
from vr.types import ClientId, OpNumber, RequestNumber, SessionNumber
from wire.errors import RefusalCode
from wire.ids import NodeKey
from wire.room import GenesisMember

CLIENT, SESSION = ClientId(b"c" * 16), SessionNumber(256)


class Recorder:
    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def answered(self, route: Route, number: int, result: bytes) -> None:
        self.heard.append(("answered", number, result))

    def append_refused(self, route: Route, number: int, code: RefusalCode, retry_after_s: float) -> None:
        self.heard.append(("append_refused", number, code, retry_after_s))

    def session_opened(self, room: HostedRoom, client: ClientId, call: int, session: SessionNumber) -> None:
        self.heard.append(("session_opened", call, session))

    def open_refused(self, client: ClientId, call: int, code: RefusalCode, retry_after_s: float) -> None:
        self.heard.append(("open_refused", call, code, retry_after_s))


@pytest.fixture
def room(backend: LocalBackend) -> HostedRoom:
    room = backend.rooms.get(ROOM_ID)
    assert room is not None
    return room


def reply(number: int) -> Reply:
    return Reply(client=CLIENT, session=SESSION, number=RequestNumber(number), op=OpNumber(1), result=b"r")


def rejected(number: int, reason: RejectReason) -> Rejected:
    return Rejected(client=CLIENT, session=SESSION, number=RequestNumber(number), reason=reason, retry_after_s=0.5)


def test_configuration_has_the_genesis_members_in_order() -> None:
    members = tuple(GenesisMember(bytes([n]) * 16, NodeKey(bytes([n]) * 32), "h", n) for n in (3, 1, 2))

    configuration = configuration_of(genesis(members=members))

    assert configuration.group == ROOM_ID
    assert [member.replica_id[0] for member in configuration.members] == [3, 1, 2]
    assert configuration == configuration_of(genesis(members=members))


def test_reply_goes_to_the_connection_that_appended_last(backend: LocalBackend, room: HostedRoom) -> None:
    first, second = Recorder(), Recorder()
    old = room.route(CLIENT, SESSION, first)
    assert room.route(CLIENT, SESSION, first) is old

    new = room.route(CLIENT, SESSION, second)
    backend.rooms.on_reply(room.group, reply(4))

    assert (first.heard, second.heard) == ([], [("answered", 4, b"r")])
    assert new.answered == 4
    assert not room.drop_route(old)
    assert room.drop_route(new)
    backend.rooms.on_reply(room.group, reply(5))
    assert len(second.heard) == 1


@pytest.mark.parametrize("reason", list(RejectReason))
def test_every_rejection_reaches_the_client_as_a_refusal(
    backend: LocalBackend, room: HostedRoom, reason: RejectReason
) -> None:
    recorder = Recorder()
    room.route(CLIENT, SESSION, recorder)

    backend.rooms.on_rejected(room.group, rejected(3, reason))

    [(kind, number, code, retry_after_s)] = recorder.heard
    assert (kind, number, retry_after_s) == ("append_refused", 3, 0.5)
    assert isinstance(code, RefusalCode)


def test_refused_register_is_told_once(backend: LocalBackend, room: HostedRoom) -> None:
    recorder = Recorder()
    room.opens[CLIENT] = PendingOpen(recorder, 9, b"try")

    backend.rooms.on_rejected(room.group, rejected(0, RejectReason.BUSY))
    backend.rooms.on_rejected(room.group, rejected(0, RejectReason.BUSY))

    assert recorder.heard == [("open_refused", 9, RefusalCode.BUSY, 0.5)]


def test_only_the_owner_of_an_open_drops_it(room: HostedRoom) -> None:
    owner, other = Recorder(), Recorder()
    room.opens[CLIENT] = PendingOpen(owner, 9, b"try")

    room.drop_open(CLIENT, other)
    assert CLIENT in room.opens
    room.drop_open(CLIENT, owner)

    assert room.opens == {}


def test_a_session_of_an_earlier_attempt_opens_nothing(backend: LocalBackend, room: HostedRoom) -> None:
    """It may have been used, and given up, through another server: its numbers are taken."""
    recorder = Recorder()
    room.opens[CLIENT] = PendingOpen(recorder, 9, b"second")
    answer = Reply(client=CLIENT, session=SESSION, number=RequestNumber(0), op=OpNumber(7), result=b"first")

    backend.rooms.on_reply(room.group, answer)
    assert recorder.heard == []
    backend.rooms.on_reply(room.group, msgspec.structs.replace(answer, result=b"second"))

    assert [heard[:2] for heard in recorder.heard] == [("session_opened", 9)]
