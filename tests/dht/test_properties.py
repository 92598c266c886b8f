"""What holds whatever comes (dht.md 4): bounds of storage and of what leaves, and sequence numbers that only rise."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dht import bencode
from dht.dht import Dht
from dht.egress import EGRESS_BURST_S
from dht.items import sign_item_with_seed
from dht.krpc import Arguments, Failure, decode, encode_query
from dht.limits import (
    EGRESS_NETWORK_BYTES_PER_S,
    HARD_TIMEOUT_S,
    ITEM_LIFE_S,
    SOFT_TIMEOUT_S_MAX,
    VERIFICATIONS_MAX,
)
from dht.storage import PlainValue, SignedValue, Storage, StoreRefusal
from tests.dht.cores import core

ITEMS = {
    (key, seq): SignedValue.of(sign_item_with_seed(bytes([key]) * 32, seq=seq, value=b"%d" % seq))
    for key in range(4)
    for seq in range(4)
}
PING_BYTES_MAX = 80
VALUE = SignedValue.of(sign_item_with_seed(b"v" * 32, seq=1, value=bytes(900)))

PUTS = st.tuples(
    st.integers(0, 3), st.integers(0, 3), st.sampled_from([None, 0, 1, 2]), st.sampled_from([b"a", b"b", b"c", None])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PUTS),
        st.tuples(st.just("plain"), st.tuples(st.binary(min_size=1, max_size=2), st.sampled_from([b"a", b"b"]))),
        st.tuples(st.just("forge"), PUTS),
        st.tuples(st.just("wait"), st.floats(0, ITEM_LIFE_S)),
    ),
    max_size=60,
)


def take(storage: Storage, step: tuple[str, object], now: float) -> float:
    """Do one step; return the time after it."""
    match step:
        case ("wait", float(seconds)):
            storage.expire(now + seconds)
            return now + seconds
        case ("plain", (bytes(value), network)):
            storage.put_plain(PlainValue(encoded_value=bencode.encode(value)), network=network, now=now)
        case (kind, (int(key), int(seq), cas, network)):
            item = ITEMS[key, seq]
            item = msgspec.structs.replace(item, signature=bytes(64)) if kind == "forge" else item
            storage.put_signed(item, cas=cas, network=network, now=now)
    return now


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_storage_stays_in_its_bounds_and_sequence_numbers_only_rise(
    steps: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dht.storage.ITEMS_MAX", 4)
    monkeypatch.setattr("dht.storage.ITEMS_PER_NETWORK_MAX", 2)
    storage = Storage(bytes(20))
    pinned = ITEMS[0, 0]
    storage.pin(pinned)
    now, highest = 0.0, 0
    for step in steps:
        with contextlib.suppress(StoreRefusal):
            now = take(storage, step, now)

        held = storage.get(pinned.target, now)
        assert isinstance(held, SignedValue)
        assert held.seq >= highest
        held.verify()
        highest = held.seq
        assert len(storage) <= 4 + 1
        for key in range(1, 4):
            kept = storage.get(ITEMS[key, 0].target, now)
            assert kept is None or kept in ITEMS.values(), "nothing forged is stored"


QUERIES = st.lists(
    st.tuples(
        st.sampled_from([b"ping", b"find_node", b"get", b"put", b"get_peers", b"vote", b"sample_infohashes"]),
        st.sampled_from([VALUE.target, bytes(20), b"short"]),
        st.integers(0, 255),
        st.floats(0, 0.01),
    ),
    min_size=50,
    max_size=400,
)


def loaded() -> Dht:
    """A node that knows others and holds an item as large as they come."""
    some = core()
    some.storage.pin(VALUE)
    for number in range(40):
        some.table.on_answered(bytes([number * 6 + 1]) * 20, (f"10.0.{number}.1", 7610), 0.0)
    return some


@settings(deadline=None, max_examples=25)
@given(queries=QUERIES)
def test_no_queries_make_a_node_send_a_silent_network_more_than_its_rule_allows(
    queries: list[tuple[bytes, bytes, int, float]],
) -> None:
    some, now, sent = loaded(), 0.0, 0
    for number, (method, target, host, pause_s) in enumerate(queries):
        now += pause_s
        arguments: Arguments = {b"id": number.to_bytes(20, "big"), b"target": target}
        some.receive(encode_query(method, arguments, transaction=b"xy"), (f"203.0.114.{host}", 7610), now)
        if some.next_deadline() <= now:
            some.tick(now)
        sent += sum(len(data) for data, to in some.take_datagrams() if to[0].startswith("203.0.114."))

    answers_max = EGRESS_NETWORK_BYTES_PER_S * (EGRESS_BURST_S + now)
    pings_max = PING_BYTES_MAX * VERIFICATIONS_MAX * (1 + now / HARD_TIMEOUT_S)
    assert sent <= answers_max + pings_max


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=60))
def test_an_error_message_from_anybody_changes_nothing(data: bytes) -> None:
    some = loaded()
    message = bencode.encode({b"e": [203, data], b"t": b"xy", b"y": b"e"})
    assert isinstance(decode(message), Failure)

    before = len(some.table)

    some.receive(message, ("203.0.114.1", 7610), SOFT_TIMEOUT_S_MAX)

    assert some.take_datagrams() == []
    assert some.take_events() == []
    assert len(some.table) == before
