from __future__ import annotations

import msgspec
import pytest

from dht import bencode
from dht.errors import QuotaExceeded
from dht.events import Event, LookupEnded
from dht.krpc import encode_answer
from dht.limits import (
    HARD_TIMEOUT_S,
    LOOKUPS_MAX,
)
from tests.dht.cores import ASKER, HERE, core, item, queries_of


def test_operations_beyond_the_limit_wait_their_turn() -> None:
    some = core()
    for number in range(LOOKUPS_MAX + 5):
        some.get(bytes(32), b"", 1.0, seeds=[(f"20.0.{number}.1", 1)])
    assert some.take_events() == []

    ended: list[Event] = []
    for step in range(60):
        some.tick(1.0 + step / 4)
        some.take_datagrams()
        ended += some.take_events()

    assert len(ended) == LOOKUPS_MAX + 5


def test_many_waiting_operations_that_end_as_they_begin_do_not_nest() -> None:
    some = core()
    for number in range(LOOKUPS_MAX):
        some.get(bytes(32), b"", 1.0, seeds=[(f"20.0.{number}.1", 1)])
    for _ in range(3_000):
        some.get(bytes(32), b"", 1.0)

    while some.next_deadline() < 1.0 + HARD_TIMEOUT_S + 0.1:
        some.tick(some.next_deadline())

    assert len(some.take_events()) == LOOKUPS_MAX + 3_000


def test_waiting_operations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dht.operations.LOOKUPS_WAITING_MAX", 2)
    some = core()
    for number in range(LOOKUPS_MAX + 2):
        some.get(bytes(32), b"", 1.0, seeds=[(f"20.0.{number}.1", 1)])

    with pytest.raises(QuotaExceeded):
        some.get(bytes(32), b"", 1.0, seeds=[HERE])


def test_a_cancelled_operation_is_forgotten_and_lets_the_next_begin() -> None:
    some = core()
    numbers = [some.get(bytes(32), b"", 1.0, seeds=[(f"20.0.{n}.1", 1)]) for n in range(LOOKUPS_MAX + 1)]
    assert len(queries_of(some)) == LOOKUPS_MAX

    some.cancel(numbers[0], 1.0)

    assert [to for _, to in queries_of(some)] == [(f"20.0.{LOOKUPS_MAX}.1", 1)]
    some.cancel(10_000, 1.0)


def test_what_a_writer_is_refused_for_storing_what_is_there_already_counts_as_stored() -> None:
    """Bittorrent-dht answers 302 to the same version again."""
    some = core()
    mine = item(3)
    some.put(mine, 1.0, seeds=[HERE])
    ((get, _),) = queries_of(some)
    values: dict[bytes, bencode.Value] = {b"id": ASKER, b"token": b"t", b"seq": 3}
    some.receive(encode_answer(values, transaction=get.transaction, to=HERE), HERE, 1.1)
    ((put, _),) = queries_of(some)
    assert put.arguments[b"seq"] == 3

    refusal = bencode.encode({b"e": [302, b"sequence"], b"t": put.transaction, b"y": b"e"})
    some.receive(refusal, HERE, 1.2)

    (ended,) = some.take_events()
    assert ended.result.stored == 1  # type: ignore[union-attr]  # a failure either way
    assert ended.result.held == 1  # type: ignore[union-attr]


def test_a_put_whose_nodes_fall_silent_ends() -> None:
    some = core()
    some.put(item(), 1.0, seeds=[HERE])
    ((get, _),) = queries_of(some)
    some.receive(encode_answer({b"id": ASKER, b"token": b"t"}, transaction=get.transaction, to=HERE), HERE, 1.1)
    while not (events := some.take_events()):
        some.tick(some.next_deadline())

    assert events[0].result.stored == 0  # type: ignore[union-attr]  # a failure either way
    assert some.counters.puts == {"unstored": 1}


def test_forged_answers_do_not_reach_a_get() -> None:
    some = core()
    some.get(item().public_key, b"", 1.0, seeds=[HERE])
    ((query, _),) = queries_of(some)
    forged = msgspec.structs.replace(item(), seq=9)
    values: dict[bytes, bencode.Value] = {
        b"id": ASKER,
        b"k": forged.public_key,
        b"seq": 9,
        b"sig": forged.signature,
        b"v": forged.value,
    }

    some.receive(encode_answer(values, transaction=query.transaction, to=HERE), HERE, 1.1)

    assert some.take_events() == [LookupEnded(operation=1, item=None, queries=1, answered=1)]
    assert some.counters.items_rejected == 1
