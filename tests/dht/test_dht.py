from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht import bencode
from dht.dht import Dht
from dht.events import LookupEnded
from dht.krpc import Arguments, ErrorCode, Query, encode_answer, encode_failure, encode_query
from dht.limits import (
    BUCKET_NODES_MAX,
    FAILURES_MAX,
    HARD_TIMEOUT_S,
    ITEM_LIFE_S,
    NODE_GOOD_S,
    REPLY_NODES_MAX,
    SELF_LOOKUP_S,
    TABLE_SMALL_NODES,
    VERIFICATIONS_MAX,
)
from dht.node_id import Address, distance, is_secure, pack_node
from dht.simulator.network import Network
from dht.simulator.world import grown as grown_by_joining
from dht.storage import SignedValue
from tests.dht.cores import ASKER, HERE, core, item, ping, queries_of


@pytest.fixture(scope="module")
def grown() -> Network:
    """Sixty nodes that know each other; tests only read and publish under keys of their own."""
    network = Network(seed=7)
    network.grow(60)
    return network


def test_a_stranger_enters_the_table_only_after_it_answered_from_its_address() -> None:
    some = core()
    some.receive(ping(), HERE, 1.0)
    assert len(some.table) == 0

    ((verification, to),) = queries_of(some)
    assert (verification.method, to) == (b"ping", HERE)
    answer = encode_answer({b"id": ASKER}, transaction=verification.transaction, to=HERE)
    some.receive(answer, ("192.0.2.66", 7610), 1.1)
    assert len(some.table) == 0
    some.receive(answer, HERE, 1.1)

    assert [contact.address for contact in some.table] == [HERE]
    assert some.counters.dropped == {"unsolicited": 1}


def test_read_only_askers_are_answered_and_never_enter() -> None:
    """BEP 43."""
    some = core()
    some.receive(ping(read_only=True), HERE, 1.0)

    assert len(some.take_datagrams()) == 1
    assert queries_of(some) == []


def test_a_read_only_node_says_so_and_answers_nothing() -> None:
    """BEP 43."""
    some = core(read_only=True)
    some.receive(ping(), HERE, 1.0)
    assert some.take_datagrams() == []

    some.get(bytes(32), b"", 1.0, seeds=[HERE])

    ((query, _),) = queries_of(some)
    assert query.read_only


def test_a_flood_of_strangers_causes_few_pings() -> None:
    some = core()
    for number in range(200):
        some.receive(ping(bytes([number]) * 20), (f"20.0.{number}.1", 7610), 1.0)

    assert len(queries_of(some)) == VERIFICATIONS_MAX


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_no_datagram_hurts(datagram: bytes) -> None:
    some = core()

    some.receive(datagram, HERE, 1.0)

    assert some.counters.datagrams_in == 1


@given(
    st.sampled_from([b"ping", b"find_node", b"get", b"put", b"get_peers", b"vote"]),
    st.dictionaries(
        st.sampled_from([b"target", b"info_hash", b"seq", b"k", b"sig", b"v", b"token", b"salt", b"cas", b"want"]),
        st.integers(-5, 5) | st.binary(max_size=80) | st.just(bytes(20)) | st.lists(st.integers(0, 3), max_size=2),
    ),
)
@settings(max_examples=300)
def test_no_query_hurts(method: bytes, arguments: dict[bytes, bencode.Value]) -> None:
    some = core()

    some.receive(encode_query(method, {b"id": ASKER} | arguments, transaction=b"xy"), HERE, 1.0)

    assert len(some.storage) == 0
    assert len(some.take_datagrams()) >= 1


@given(
    st.dictionaries(
        st.sampled_from([b"nodes", b"nodes6", b"k", b"seq", b"sig", b"v", b"token"]),
        st.integers(-5, 5) | st.binary(max_size=80) | st.just(bytes(26)) | st.lists(st.integers(0, 3), max_size=2),
    )
)
@settings(max_examples=200)
def test_no_answer_hurts(values: dict[bytes, bencode.Value]) -> None:
    some = core()
    some.get(item().public_key, b"", 1.0, seeds=[HERE])
    ((query, _),) = queries_of(some)

    some.receive(encode_answer({b"id": ASKER} | values, transaction=query.transaction, to=HERE), HERE, 1.1)
    for step in range(40):
        some.tick(2.0 + step)

    (ended,) = some.take_events()
    assert isinstance(ended, LookupEnded)
    assert ended.item is None


def test_a_get_of_nobody_ends_at_once_and_of_the_silent_after_the_hard_timeout() -> None:
    some = core()
    some.get(bytes(32), b"", 1.0)
    assert [type(event) for event in some.take_events()] == [LookupEnded]

    some.get(bytes(32), b"", 1.0, seeds=[HERE])
    now = 1.0
    while not (events := some.take_events()):
        now = some.next_deadline()
        some.tick(now)
        some.take_datagrams()
    assert now == 1.0 + HARD_TIMEOUT_S
    assert events == [LookupEnded(operation=2, item=None, queries=1, answered=0)]


def test_a_lone_hint_is_asked_again_when_a_datagram_is_lost() -> None:
    some = core()
    some.get(item().public_key, b"", 1.0, seeds=[HERE])
    (first,) = some.take_datagrams()
    sent = []
    while some.next_deadline() < 3.0:
        some.tick(some.next_deadline())
        sent += [datagram for datagram, to in some.take_datagrams() if to == HERE]

    assert sent == [first[0]]


def test_a_hint_at_a_pinning_replica_takes_one_round_trip() -> None:
    network = Network(seed=1, host_delay_s=0.025)
    replica, reader = network.add(), network.add(read_only=True)
    network.nodes[replica].storage.pin(SignedValue.of(item()))

    found, first_s = network.get(reader, item(), seeds=[replica])

    assert found == item()
    assert first_s < 0.3
    assert network.delivered == 2


def test_items_are_found_from_everywhere(grown: Network) -> None:
    addresses = list(grown.nodes)
    mine = item(seed=20)

    result = grown.put(addresses[5], mine)

    assert BUCKET_NODES_MAX <= result.stored == result.closest_queried <= 2 * BUCKET_NODES_MAX, "density is estimated"
    assert result.refused == {}
    assert result.held == 0
    for address in addresses[::7]:
        found, _ = grown.get(address, mine)
        assert found == mine


def test_a_cold_reader_finds_an_item_within_a_second(grown: Network) -> None:
    mine = item(seed=21)
    grown.put(next(iter(grown.nodes)), mine)

    reader = grown.add(read_only=True, bootstrap=[list(grown.nodes)[30]])
    found, first_s = grown.get(reader, mine)

    assert found == mine
    assert first_s < 1.0


def test_anyone_with_the_bytes_announces_again_and_a_newer_version_wins(grown: Network) -> None:
    addresses = list(grown.nodes)[:60]
    old, new = item(1, b"old", seed=22), item(2, b"new", seed=22)
    grown.put(addresses[1], old)

    again = grown.put(addresses[2], old)
    grown.put(addresses[3], new)
    late = grown.put(addresses[4], old)

    assert again.stored == BUCKET_NODES_MAX
    assert again.held >= REPLY_NODES_MAX, "the nearest are the same from everywhere"
    assert late.refused[302] >= REPLY_NODES_MAX
    assert late.newer == new
    assert grown.get(addresses[50], old)[0] == new


def test_compare_and_swap_and_skipping(grown: Network) -> None:
    addresses = list(grown.nodes)[:60]
    grown.put(addresses[1], item(1, seed=23))

    mismatch = grown.put(addresses[2], item(3, seed=23), cas=2)
    skipped = grown.put(addresses[2], item(1, seed=23), unless_held=8)

    assert mismatch.refused[301] >= REPLY_NODES_MAX
    assert skipped.closest_queried == 0
    assert skipped.held >= REPLY_NODES_MAX


def test_what_is_missing_is_reported_missing(grown: Network) -> None:
    before = dict(grown.nodes[next(iter(grown.nodes))].counters.lookups)
    found, first_s = grown.get(next(iter(grown.nodes)), item(seed=99))

    assert found is None
    assert first_s == float("inf")
    assert grown.nodes[next(iter(grown.nodes))].counters.lookups["missing"] == before.get("missing", 0) + 1


def test_silent_nodes_and_lost_datagrams_cost_little_time() -> None:
    network = Network(seed=3)
    addresses = network.grow(60)
    network.put(addresses[0], item())
    for address in addresses[1::4]:
        network.silent.add(address)
    network.lost = 0.02
    began = network.now

    found, first_s = network.get(addresses[0], item())

    assert found == item()
    assert first_s <= 1.0
    assert network.now - began <= 1.5 + 0.02


def test_without_announcements_the_network_forgets_and_with_them_it_does_not() -> None:
    network = Network(seed=4)
    addresses = network.grow(9)
    kept, forgotten = item(seed=1), item(seed=2)
    network.put(addresses[0], kept)
    network.put(addresses[0], forgotten)
    for _ in range(3):
        network.run(ITEM_LIFE_S / 2)
        network.put(addresses[3], kept)

    assert network.get(addresses[7], kept)[0] == kept
    assert network.get(addresses[7], forgotten)[0] is None
    assert network.nodes[addresses[5]].counters.items_expired >= 1


def test_pinned_items_outlive_everything() -> None:
    network = Network(seed=5)
    addresses = network.grow(6)
    network.nodes[addresses[4]].storage.pin(SignedValue.of(item()))

    network.run(2 * ITEM_LIFE_S)

    assert network.get(addresses[1], item())[0] == item()


def test_dead_nodes_leave_the_tables() -> None:
    network = Network(seed=6)
    addresses = network.grow(20)
    for address in addresses[10:]:
        network.drop(address)

    network.run((FAILURES_MAX + 1) * NODE_GOOD_S)

    dead = set(addresses[10:])
    for core_ in network.nodes.values():
        assert not dead & {contact.address for contact in core_.table}
        assert len(core_.table) == 9


def test_servers_find_each_other_in_whatever_order_they_start() -> None:
    network = Network(seed=8)
    first = network.add(bootstrap=[("21.0.0.1", 1)])
    network.nodes[first].bootstrap = ("20.0.1.7", 7610), ("20.0.2.7", 7610)
    network.nodes[first].find(network.nodes[first].own_id, network.now)
    network.after(first)
    network.run(30.0)

    network.add()
    network.add()
    network.run(30.0)

    assert len(network.nodes[first].table) == 2


def test_a_private_network_keeps_strangers_out_of_its_tables_and_answers_them() -> None:
    network = Network(seed=9)
    members = [("20.0.0.7", 7610), ("20.0.1.7", 7610), ("20.0.2.7", 7610)]
    for _ in members:
        network.add(allowed=members, bootstrap=members)
    stranger = network.add(bootstrap=members)
    for address, some in network.nodes.items():
        some.find(some.own_id, network.now)
        network.after(address)
    network.run(60.0)
    network.nodes[members[0]].storage.pin(SignedValue.of(item()))

    assert network.get(stranger, item())[0] == item()
    for member in members:
        assert {contact.address for contact in network.nodes[member].table} == set(members) - {member}


def test_an_id_is_bound_to_our_address_once_others_have_told_us() -> None:
    """BEP 42."""
    network = Network(seed=10)
    addresses = network.grow(30)
    newcomer = network.add(bootstrap=[addresses[3]])
    some = network.nodes[newcomer]
    before = some.own_id
    some.find(before, network.now)
    network.after(newcomer)

    network.run(5.0)

    assert some.external.host == newcomer[0]
    assert is_secure(some.own_id, newcomer[0])
    assert some.own_id != before
    assert len(some.table) > 10


def joined(network: Network) -> Dht:
    newcomer = network.add(bootstrap=[next(iter(network.nodes))])
    network.join(newcomer)
    network.run(5.0)
    return network.nodes[newcomer]


def test_who_gets_another_id_while_it_joins_knows_its_neighbours_there() -> None:
    """BEP 42."""
    network = Network(seed=21)
    network.grow(60)
    some = joined(network)

    ids = [other.own_id for other in network.nodes.values() if other is not some]
    nearest = sorted(ids, key=lambda node_id: distance(node_id, some.own_id))[:BUCKET_NODES_MAX]

    assert is_secure(some.own_id, str(some.external.host))
    assert len({contact.node_id for contact in some.table} & set(nearest)) >= BUCKET_NODES_MAX - 3


def test_who_has_joined_does_not_look_around_again_at_once() -> None:
    network = Network(seed=21)
    network.grow(30)
    some = joined(network)
    assert len(some.table) < TABLE_SMALL_NODES
    lookups = dict(some.counters.lookups)

    network.run(SELF_LOOKUP_S - 30.0)
    assert some.counters.lookups == lookups
    network.run(60.0)
    assert some.counters.lookups != lookups


def test_joining_costs_few_datagrams() -> None:
    network = grown_by_joining(21, 100)
    assert network.sent / 100 <= 150


def test_a_given_id_stays() -> None:
    network = Network(seed=11)
    network.grow(15)
    newcomer = network.add(own_id=b"f" * 20, bootstrap=[next(iter(network.nodes))])
    network.nodes[newcomer].find(b"f" * 20, network.now)
    network.after(newcomer)

    network.run(5.0)

    assert network.nodes[newcomer].own_id == b"f" * 20


def test_a_small_network_is_looked_over_regularly() -> None:
    network = Network(seed=12)
    addresses = network.grow(3)
    before = network.nodes[addresses[0]].counters.queries_sent

    network.run(2 * SELF_LOOKUP_S)

    assert network.nodes[addresses[0]].counters.queries_sent > before


def test_an_idle_node_is_quiet() -> None:
    network = Network(seed=13)
    addresses = network.grow(20)
    before = network.delivered

    network.run(1_800.0)

    per_node_per_s = (network.delivered - before) / len(addresses) / 1_800
    assert per_node_per_s < 0.5


def test_a_stranger_that_asks_twice_is_pinged_once() -> None:
    some = core()
    some.receive(ping(), HERE, 1.0)
    some.receive(ping(), HERE, 1.1)

    assert len(queries_of(some)) == 1


SIX = [(bytes([number]) * 20, (f"2001:db8:{number}::1", 7610)) for number in range(1, 4)]


def paired() -> tuple[Dht, Dht]:
    four, six = core(), core()
    four.pair(six)
    six.pair(four)
    return four, six


def asked_and_told(four: Dht, nodes: list[tuple[bytes, Address]], *, seed: Address = HERE) -> Query:
    """Begin a lookup, and let the node it asks name nodes of IPv6; returns the question."""
    four.find(bytes(20), 1.0, seeds=[seed])
    ((query, to),) = queries_of(four)
    values: Arguments = {b"id": ASKER, b"nodes6": b"".join(pack_node(*node) for node in nodes)}
    four.receive(encode_answer(values, transaction=query.transaction, to=to), to, 1.1)
    return query


def test_nodes_of_the_other_family_are_pinged_before_they_are_known() -> None:
    """BEP 32."""
    four, six = paired()
    assert not six.has_datagrams

    query = asked_and_told(four, SIX)

    assert query.arguments[b"want"] == [b"n4", b"n6"]
    assert six.has_datagrams
    assert len(six.table) == 0
    pings = queries_of(six)
    assert {to for _, to in pings} == {address for _, address in SIX}
    for ping_, to in pings:
        own_id = next(node_id for node_id, address in SIX if address == to)
        six.receive(encode_answer({b"id": own_id}, transaction=ping_.transaction, to=to), to, 1.2)
    assert len(six.table) == len(SIX)
    assert [contact.address for contact in four.table] == [HERE]


def test_nobody_elsewhere_can_name_what_runs_on_this_machine_in_the_other_family() -> None:
    four, six = paired()
    asked_and_told(four, [(b"6" * 20, ("::1", 7610))])
    assert not six.has_datagrams

    four, six = paired()
    asked_and_told(four, [(b"6" * 20, ("::1", 7610))], seed=("127.0.0.1", 7610))
    assert six.has_datagrams


def test_nodes_of_the_other_family_are_wanted_only_while_few_are_known() -> None:
    four, six = paired()
    for number in range(1, TABLE_SMALL_NODES + 1):
        six.table.on_answered(bytes([number * 6]) * 20, (f"2001:db8:{number}::1", 7610), 1.0)

    assert len(six.table) >= TABLE_SMALL_NODES
    assert b"want" not in asked_and_told(four, []).arguments


def test_a_lone_node_wants_nothing() -> None:
    assert b"want" not in asked_and_told(core(), []).arguments


def test_our_queries_are_counted_by_method_and_outcome() -> None:
    some = core()
    some.find(bytes(20), 1.0, seeds=[HERE, ("20.0.0.2", 7610), ("20.0.0.3", 7610)])
    (first, _), (second, other), _ = queries_of(some)
    some.receive(encode_answer({b"id": ASKER}, transaction=first.transaction, to=HERE), HERE, 1.1)
    refusal = encode_failure(ErrorCode.SERVER, b"no", transaction=second.transaction, to=other)
    some.receive(refusal, other, 1.2)
    some.tick(1.0 + HARD_TIMEOUT_S)

    assert some.counters.asked == {("find_node", outcome): 1 for outcome in ("answered", "refused", "silent")}


class NetworkOfIpv6(Network):
    """Hosts with an IPv6 /64 each."""

    def new_address(self) -> Address:
        host, port = super().new_address()
        first, second, third, _ = host.split(".")
        return f"2a01:{first}:{second}:{third}::7", port


def test_a_network_of_ipv6_works_and_binds_ids_to_addresses() -> None:
    """BEP 32, 42."""
    network = NetworkOfIpv6(seed=30)
    addresses = network.grow(40)
    network.run(30.0)

    late = [address for address in addresses[20:] if network.nodes[address].external.host == address[0]]
    assert len(late) == 20
    assert all(is_secure(network.nodes[address].own_id, address[0]) for address in late)
    mine = item(seed=21)
    assert network.put(addresses[2], mine).stored >= BUCKET_NODES_MAX
    assert network.get(addresses[39], mine)[0] == mine
