from __future__ import annotations

import pytest

from room_server import limits
from room_server.errors import ConnectionCutError
from tests.room_server.builders import ROOM_ID
from tests.room_server.fakes import (
    KEYS,
    NODE_KEY,
    Client,
    LocalBackend,
    keyed_genesis,
    proof,
    refusal,
)
from wire import limits as wire_limits
from wire.errors import RefusalCode
from wire.ids import RoomEpoch, RoomId, Sequence
from wire.messages import (
    Prove,
    Proved,
    Purpose,
    Subscribe,
)
from wire.room import decode_genesis


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
