from __future__ import annotations

import pytest

from room_server import limits
from room_server.attachment import Attachment
from room_server.errors import ConnectionCutError, RefusedError
from room_server.feed import RingBudget
from room_server.room import RoomService
from room_server.rooms import HostedRoom
from tests.room_server.builders import ROOM_ID, app, commit, request
from tests.room_server.fakes import (
    CLIENT_NONCE,
    KEYS,
    NODE_KEY,
    SERVER_NONCE,
    Client,
    LocalBackend,
    keyed_genesis,
    proof,
    refusal,
)
from vr.types import OpNumber
from wire import limits as wire_limits
from wire.errors import RefusalCode
from wire.ids import RoomEpoch, RoomId, Sequence
from wire.messages import (
    Prove,
    Proved,
    Subscribe,
)
from wire.room import CommitBody, Override, Purpose, decode_genesis, encode_commit_block, encode_control_block


@pytest.mark.parametrize("purpose", list(Purpose))
def test_right_proof_is_accepted_and_answers_the_epoch(backend: LocalBackend, purpose: Purpose) -> None:
    proved = Client(backend).one(proof(purpose), Proved)

    assert (proved.purpose, proved.epoch) == (purpose, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        proof(Purpose.READ, key=KEYS[Purpose.WRITE]),
        proof(Purpose.READ, node_key=type(NODE_KEY)(b"M" * 32)),
        proof(Purpose.READ, server_nonce=b"t" * 32),
        proof(Purpose.READ, client_nonce=b"t" * 32),
        Prove(1, ROOM_ID, Purpose.WRITE, RoomEpoch(0), proof(Purpose.READ).signature),
        Prove(1, ROOM_ID, Purpose.READ, RoomEpoch(0), b""),
        Prove(1, ROOM_ID, Purpose.READ, RoomEpoch(0), b"\xff" * 64),
        Prove(1, ROOM_ID, Purpose.READ, RoomEpoch(0), b"x" * 1000),
    ],
)
def test_wrong_proof_opens_nothing(backend: LocalBackend, wrong: Prove) -> None:
    client = Client(backend)

    assert refusal(client.say(wrong)) is RefusalCode.BAD_PROOF
    assert refusal(client.say(Subscribe(1, ROOM_ID, Sequence(0)))) is RefusalCode.NOT_PROVEN


@pytest.mark.parametrize(
    "early",
    [
        proof(Purpose.READ, epoch=1),
        proof(Purpose.WRITE, epoch=1),
        proof(Purpose.JOIN, epoch=1),
        Prove(1, ROOM_ID, Purpose.READ, RoomEpoch(-1), b""),
    ],
)
def test_epoch_that_this_replica_does_not_know_is_told_apart_from_a_wrong_proof(
    backend: LocalBackend, early: Prove
) -> None:
    assert refusal(Client(backend).say(early)) is RefusalCode.UNKNOWN_EPOCH


def test_guessing_proofs_ends_the_connection(backend: LocalBackend) -> None:
    client = Client(backend)
    wrong = Prove(1, ROOM_ID, Purpose.READ, RoomEpoch(0), b"x" * 64)

    with pytest.raises(ConnectionCutError) as caught:
        client.edge.handle([wrong] * limits.BAD_PROOFS_MAX)

    assert caught.value.cause == "bad_proof"
    assert len(client.hear()) == limits.BAD_PROOFS_MAX


def test_rooms_per_connection_are_bounded(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_limits, "ROOMS_PER_CONNECTION_MAX", 1)
    other = RoomId(b"o" * 16)
    encoded = keyed_genesis(other)
    backend.rooms.add(decode_genesis(encoded), encoded)
    client = Client(backend)

    client.one(proof(Purpose.READ), Proved)

    assert refusal(client.say(proof(Purpose.READ, room_id=other))) is RefusalCode.LIMIT
    client.one(proof(Purpose.WRITE), Proved)


def test_override_needs_the_admin_key_and_nothing_else() -> None:
    """R4, e2ee.md 3.1."""
    room = HostedRoom(decode_genesis(keyed_genesis()), b"", RingBudget())
    override = Override(write_key=b"w" * 32, read_key=b"r" * 32, group_info=b"")
    block = encode_control_block(RoomEpoch(0), override)

    assert why_not(room, Purpose.WRITE, block) is RefusalCode.NOT_PROVEN
    assert why_not(room, Purpose.JOIN, block) is RefusalCode.NOT_PROVEN
    assert why_not(room, Purpose.ADMIN, block) is None
    assert why_not(room, Purpose.ADMIN, app(0)) is RefusalCode.NOT_PROVEN


def test_writers_of_an_ended_epoch_are_let_in_while_it_may_be_reopened() -> None:
    """R3, e2ee.md 3.1."""
    room = HostedRoom(decode_genesis(keyed_genesis()), b"", RingBudget())
    apply(room.service, commit(0))

    assert why_not(room, Purpose.WRITE, commit(0)) is None
    apply(room.service, app(1))
    with pytest.raises(RefusedError, match="epoch 1"):
        why_not(room, Purpose.WRITE, commit(0))


def test_write_proofs_are_undone_with_the_epoch_that_they_are_of() -> None:
    room = HostedRoom(decode_genesis(keyed_genesis()), b"", RingBudget())
    attachment = proven(room, Purpose.WRITE)
    override = Override(write_key=b"o" * 32, read_key=b"o" * 32, group_info=b"")
    assert attachment.why_not_append(app(0), 0.0) is None

    apply(room.service, encode_control_block(RoomEpoch(0), override))

    assert attachment.why_not_append(app(0), 0.0) is RefusalCode.NOT_PROVEN


def proven(room: HostedRoom, purpose: Purpose) -> Attachment:
    attachment = Attachment(room)
    attachment.check_proof(proof(purpose), node_key=NODE_KEY, server_nonce=SERVER_NONCE, client_nonce=CLIENT_NONCE)
    return attachment


def why_not(room: HostedRoom, purpose: Purpose, block: bytes) -> RefusalCode | None:
    return proven(room, purpose).why_not_append(block, 0.0)


def apply(service: RoomService, *blocks: bytes) -> None:
    service.apply(OpNumber(1), 1, [request(block) for block in blocks])


def test_new_link_needs_the_admin_key_and_shuts_out_who_came_by_the_old_one() -> None:
    room = HostedRoom(decode_genesis(keyed_genesis()), b"", RingBudget())
    joiner = proven(room, Purpose.JOIN)
    body = CommitBody(
        commit=b"c", group_info=b"g", next_write_key=b"w" * 32, next_read_key=b"r" * 32, join_key=b"n" * 32
    )
    block = encode_commit_block(RoomEpoch(0), body)
    assert joiner.is_joiner
    assert why_not(room, Purpose.WRITE, block) is RefusalCode.NOT_PROVEN
    assert why_not(room, Purpose.ADMIN, block) is None

    apply(room.service, block)

    assert not joiner.is_joiner
    assert joiner.why_not_append(commit(1, external=True), 0.0) is RefusalCode.NOT_PROVEN


def test_joins_by_link_are_rationed_per_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOINS_AT_ONCE_MAX", 2)
    room = HostedRoom(decode_genesis(keyed_genesis()), b"", RingBudget())
    joiner, block = proven(room, Purpose.JOIN), commit(0, external=True)

    refusals = [joiner.why_not_append(block, now) for now in (10.0, 10.0, 10.0, 10.4, 10.6)]

    assert refusals == [None, None, RefusalCode.BUSY, RefusalCode.BUSY, None]
    assert proven(room, Purpose.WRITE).why_not_append(commit(0), 10.6) is None
