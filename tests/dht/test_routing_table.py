from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.errors import QuotaExceeded
from dht.limits import (
    ALLOWED_MAX,
    BUCKET_IDLE_S,
    BUCKET_NODES_MAX,
    FAILURES_MAX,
    NODE_GOOD_S,
    REPLACEMENTS_MAX,
    TABLE_SMALL_NODES,
)
from dht.node_id import Address, distance, secure_node_id, shared_prefix_bits
from dht.routing_table import Admission, RoutingTable

OWN = bytes(20)
FAR = 0x80


def table(**change: object) -> RoutingTable:
    admission = Admission.of(change.get("allowed"), restrict_ips=bool(change.get("restrict_ips", True)))  # type: ignore[arg-type]  # tests pass lists
    return RoutingTable(OWN, admission=admission, now=0.0)


def node(number: int, first: int = FAR) -> tuple[bytes, Address]:
    """Node ids in one bucket; private addresses, which are exempt from BEP 42, one per /24."""
    return bytes([first]) + number.to_bytes(19, "big"), (f"10.{number // 256}.{number % 256}.1", 7610)


def fill(some: RoutingTable, count: int = BUCKET_NODES_MAX, now: float = 0.0) -> None:
    for number in range(count):
        assert some.on_answered(*node(number), now)


def test_a_full_bucket_keeps_its_old_nodes_and_lets_newcomers_wait() -> None:
    some = table()
    fill(some)

    assert some.wants(*node(100))
    assert not some.on_answered(*node(100), 1.0)
    assert len(some) == BUCKET_NODES_MAX
    assert some.waiting == 1


def test_a_node_leaves_after_three_failures_and_a_waiting_one_enters() -> None:
    some = table()
    fill(some)
    some.on_answered(*node(100), 1.0)
    victim = node(0)[1]

    for _ in range(FAILURES_MAX):
        assert some.at(victim) is not None
        some.on_failed(victim, 2.0)

    assert some.at(victim) is None
    assert some.at(node(100)[1]) is not None
    assert some.waiting == 0


def test_an_answer_forgives_failures() -> None:
    some = table()
    fill(some, 1)
    for _ in range(FAILURES_MAX - 1):
        some.on_failed(node(0)[1], 1.0)

    some.on_answered(*node(0), 2.0)
    some.on_failed(node(0)[1], 3.0)

    assert some.at(node(0)[1]) is not None


def test_a_newcomer_takes_the_place_of_one_that_failed() -> None:
    some = table()
    fill(some)
    some.on_failed(node(3)[1], 1.0)

    assert some.on_answered(*node(100), 2.0)

    assert some.at(node(3)[1]) is None
    assert len(some) == BUCKET_NODES_MAX


def test_the_wait_is_bounded_and_the_latest_are_kept() -> None:
    some = table()
    fill(some)
    for number in range(100, 150):
        some.on_answered(*node(number), 1.0)

    assert some.waiting == REPLACEMENTS_MAX
    for _ in range(FAILURES_MAX):
        some.on_failed(node(0)[1], 2.0)
    assert some.at(node(149)[1]) is not None


def test_one_node_per_address_and_one_per_network_and_bucket() -> None:
    some = table()
    some.on_answered(*node(1), 0.0)
    host = node(1)[1][0]

    assert not some.on_answered(node(2)[0], (host, 7611), 0.0)
    assert not some.on_answered(node(2, first=0x40)[0], (host, 7611), 0.0), "an address counts in the whole table"
    assert not some.on_answered(node(2)[0], ("10.0.1.9", 7610), 0.0)
    assert some.on_answered(node(2, first=0x40)[0], ("10.0.1.9", 7610), 0.0), "a network counts in its bucket"


def test_the_rule_on_addresses_can_be_switched_off_and_exempts_loopback() -> None:
    free, strict = table(restrict_ips=False), table()

    assert free.on_answered(node(1)[0], ("10.0.0.1", 1), 0.0)
    assert free.on_answered(node(2)[0], ("10.0.0.1", 2), 0.0)
    assert strict.on_answered(node(1)[0], ("127.0.0.1", 1), 0.0)
    assert strict.on_answered(node(2)[0], ("127.0.0.1", 2), 0.0)


def test_a_private_network_lets_in_whom_it_lists() -> None:
    listed_by_address, listed_by_id, stranger = node(1), node(2), node(3)
    some = table(allowed=[listed_by_address[1], listed_by_id[0]])

    assert some.on_answered(*listed_by_address, 0.0)
    assert some.on_answered(*listed_by_id, 0.0)
    assert not some.wants(*stranger)
    assert not some.on_answered(*stranger, 0.0)


def test_listed_servers_may_stand_in_one_network() -> None:
    nodes = [(node(number)[0], (f"192.168.1.{number}", 7610)) for number in range(1, 6)]
    some = table(allowed=[address for _, address in nodes])

    assert all(some.on_answered(*each, 0.0) for each in nodes)


def test_an_endless_allow_list_is_refused() -> None:
    with pytest.raises(QuotaExceeded):
        Admission.of([("10.0.0.1", port) for port in range(ALLOWED_MAX + 1)], restrict_ips=True)


@pytest.mark.parametrize("address", [("0.0.0.0", 1), ("224.0.0.1", 1), ("10.0.0.1", 0)])
def test_addresses_that_cannot_be_do_not_enter(address: Address) -> None:
    some = table()

    assert not some.wants(node(1)[0], address)
    assert not some.on_answered(node(1)[0], address, 0.0)


def test_we_do_not_know_ourselves() -> None:
    some = table()

    assert not some.wants(OWN, ("10.0.0.1", 1))
    assert not some.on_answered(OWN, ("10.0.0.1", 1), 0.0)


def test_an_id_moves_only_when_its_old_address_is_silent() -> None:
    some = table()
    node_id, old = node(1)
    new = ("10.9.9.9", 7610)
    some.on_answered(node_id, old, 0.0)

    assert not some.wants(node_id, new)
    assert not some.on_answered(node_id, new, 1.0)
    some.on_failed(old, 2.0)
    assert some.wants(node_id, new)
    assert some.on_answered(node_id, new, 3.0)
    assert some.at(old) is None
    assert len(some) == 1


def test_an_address_with_a_new_id_is_a_new_node() -> None:
    some = table()
    some.on_answered(*node(1), 0.0)

    assert some.on_answered(node(2)[0], node(1)[1], 1.0)

    assert len(some) == 1
    assert [contact.node_id for contact in some] == [node(2)[0]]


def test_ids_bound_to_their_address_are_preferred() -> None:
    """BEP 42: prefer, do not require."""
    some = table()
    entropy = random.Random(1)
    for number in range(BUCKET_NODES_MAX):
        assert some.on_answered(bytes([FAR]) + entropy.randbytes(19), (f"20.0.{number}.1", 1), 0.0)
    while True:
        host = f"21.{entropy.randrange(256)}.{entropy.randrange(256)}.1"
        bound = secure_node_id(host, entropy.randbytes(20))
        if shared_prefix_bits(OWN, bound) == 0:
            break

    assert some.on_answered(bound, (host, 1), 1.0)

    assert len(some) == BUCKET_NODES_MAX
    assert some.at((host, 1)) is not None


@given(st.integers(0, 1 << 32), st.binary(min_size=20, max_size=20), st.integers(1, 150))
def test_closest_is_what_sorting_everything_gives(seed: int, target: bytes, count: int) -> None:
    some, rng = table(), random.Random(seed)
    for number in range(120):
        shift = rng.randrange(12)
        node_id = (rng.getrandbits(160) >> shift).to_bytes(20, "big")
        some.on_answered(node_id, node(number)[1], 0.0)
    everyone = sorted((contact.node_id for contact in some), key=lambda node_id: distance(node_id, target))

    assert [contact.node_id for contact in some.closest(target, count)] == everyone[:count]


def test_failing_nodes_are_not_handed_on() -> None:
    some = table()
    fill(some, 3)
    some.on_failed(node(1)[1], 1.0)

    assert len(some.closest(OWN, 8)) == 3
    assert node(1)[1] not in [contact.address for contact in some.closest(OWN, 8, good_only=True)]


def test_the_node_silent_for_longest_is_asked_when_it_is_no_longer_good() -> None:
    some = table()
    some.on_answered(*node(1), 0.0)
    some.on_answered(*node(2), 100.0)

    assert some.stale(NODE_GOOD_S, 9) == []
    assert [contact.address for contact in some.stale(NODE_GOOD_S + 1, 9)] == [node(1)[1]]
    assert [contact.address for contact in some.stale(1e9, 9)] == [node(1)[1], node(2)[1]]
    assert len(some.stale(1e9, 1)) == 1


@given(st.integers(0, 159), st.binary(min_size=20, max_size=20), st.binary(min_size=20, max_size=20))
def test_random_ids_fall_into_the_bucket_they_are_for(prefix: int, own: bytes, entropy: bytes) -> None:
    some = RoutingTable(own, admission=Admission(), now=0.0)

    assert shared_prefix_bits(own, some.random_id(prefix, entropy)) == prefix


def test_an_idle_bucket_is_refreshed_once() -> None:
    some = table()
    some.on_answered(*node(1), 0.0)

    assert some.idle_target(BUCKET_IDLE_S, bytes(20)) is None
    target = some.idle_target(BUCKET_IDLE_S + 1, bytes(20))
    assert target is not None
    assert shared_prefix_bits(OWN, target) == 0
    assert some.idle_target(BUCKET_IDLE_S + 2, bytes(20)) is None


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=300))
def test_the_table_never_breaks_its_bounds(steps: list[tuple[int, bool]]) -> None:
    some = table()
    for now, (number, answers) in enumerate(steps):
        if answers:
            some.on_answered(*node(number), float(now))
        else:
            some.on_failed(node(number)[1], float(now))

        assert len(some) <= BUCKET_NODES_MAX
        assert some.waiting <= REPLACEMENTS_MAX
        assert len({contact.node_id for contact in some}) == len(some)


def test_the_reach_is_the_distance_of_the_kth_from_our_own_id() -> None:
    table = RoutingTable(bytes(20), admission=Admission(), now=0.0)
    for number in range(1, 20):
        table.on_answered((number << 80).to_bytes(20, "big"), (f"10.0.{number}.1", 1), 0.0)
    assert table.reach() == 0

    table.on_answered((20 << 80).to_bytes(20, "big"), ("10.0.20.1", 1), 0.0)
    table.on_answered((400 << 80).to_bytes(20, "big"), ("10.0.40.1", 1), 0.0)

    assert table.reach() == 20 << 80


def bound(number: int, host: str) -> tuple[bytes, tuple[str, int]]:
    return secure_node_id(host, bytes([number]) * 20), (host, 7610)


def test_once_the_network_is_not_small_an_unbound_id_is_not_worth_a_ping() -> None:
    """BEP 42: who is just joining comes again under a bound id."""
    some = RoutingTable(b"m" * 20, admission=Admission(), now=0.0)
    stranger = (bytes(20), ("20.0.0.1", 7610))
    assert some.wants(*stranger), "in a small network nobody's id is bound"
    for number in range(1, 2 * TABLE_SMALL_NODES):
        some.on_answered(*bound(number * 3, f"20.1.{number}.1"), 1.0)
    assert len(some) >= TABLE_SMALL_NODES

    assert not some.wants(*stranger)
    assert any(some.wants(*bound(3, f"20.0.{number}.1")) for number in range(9))
    assert not any(some.wants(bytes([number]) * 20, (f"20.0.{number}.1", 7610)) for number in range(200))
    assert some.on_answered(*stranger, 2.0), "who answers is entered all the same"


def test_in_a_private_network_ids_need_not_be_bound() -> None:
    allowed = [("20.0.0.1", 7610), *[(f"20.1.{number}.1", 7610) for number in range(1, 2 * TABLE_SMALL_NODES)]]
    some = RoutingTable(b"m" * 20, admission=Admission.of(allowed, restrict_ips=True), now=0.0)
    for number, address in enumerate(allowed[1:], start=1):
        some.on_answered(bytes([number * 3]) * 20, address, 1.0)

    assert len(some) >= TABLE_SMALL_NODES
    assert some.wants(bytes(20), allowed[0])


def test_a_known_node_that_says_to_have_another_id_is_worth_a_ping() -> None:
    some = RoutingTable(b"m" * 20, admission=Admission(), now=0.0)
    some.on_answered(b"1" * 20, ("20.0.0.1", 7610), 1.0)

    assert not some.wants(b"1" * 20, ("20.0.0.1", 7610))
    assert some.wants(b"2" * 20, ("20.0.0.1", 7610))
