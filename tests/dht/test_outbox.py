from __future__ import annotations

from dht.counters import Counters
from dht.krpc import Query, decode
from dht.limits import SENDS_PER_ADDRESS_BURST, SENDS_PER_ADDRESS_PER_S
from dht.outbox import Outbox
from dht.routing_table import Admission, RoutingTable
from dht.transactions import Purpose
from tests.dht.cores import HERE


def outbox(*, read_only: bool = False) -> tuple[Outbox, Counters]:
    numbers = iter(range(1, 1 << 16))
    counters = Counters()
    table = RoutingTable(b"m" * 20, admission=Admission(), now=0.0)
    made = Outbox(
        table, entropy=lambda size: next(numbers).to_bytes(size, "big"), counters=counters, read_only=read_only
    )
    return made, counters


def test_a_query_carries_our_id_and_whether_we_answer() -> None:
    made, counters = outbox(read_only=True)

    assert made.ask(HERE, b"ping", {}, purpose=Purpose.UPKEEP, now=0.0)

    ((datagram, to),) = made.take()
    query = decode(datagram)
    assert isinstance(query, Query)
    assert (query.sender, query.read_only, to) == (b"m" * 20, True, HERE)
    assert (counters.queries_sent, counters.datagrams_out, counters.bytes_out) == (1, 1, len(datagram))
    assert made.take() == []


def test_queries_to_one_address_wait_for_its_rate_and_fail_when_that_takes_too_long() -> None:
    made, counters = outbox()

    sent = [made.ask(HERE, b"ping", {}, purpose=Purpose.UPKEEP, now=0.0) for _ in range(40)]

    assert len(made.take()) == SENDS_PER_ADDRESS_BURST
    assert sent.count(True) == SENDS_PER_ADDRESS_BURST + 2 * SENDS_PER_ADDRESS_PER_S
    assert counters.queries_sent == sent.count(True)
