from __future__ import annotations

import pytest

from tests.room_server.fakes import Client, LocalBackend, keyed_genesis, proof
from wire.ids import Sequence
from wire.room import Purpose, decode_genesis


@pytest.fixture
def backend() -> LocalBackend:
    backend = LocalBackend()
    encoded = keyed_genesis()
    backend.rooms.add(decode_genesis(encoded), encoded).feed.start_at(Sequence(1))
    return backend


@pytest.fixture
def member(backend: LocalBackend) -> Client:
    client = Client(backend)
    client.say(proof(Purpose.READ), proof(Purpose.WRITE))
    return client
