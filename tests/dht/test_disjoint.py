from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dht.disjoint import Claims, DisjointLookup
from dht.items import sign_item_with_seed
from dht.krpc import Answer, Arguments
from dht.limits import DISJOINT_PATHS, DISJOINT_QUERIES_MAX, FAST_GET_S, REPLY_NODES_MAX
from dht.lookup import Lookup, Wanted
from dht.node_id import Address, pack_node, secure_node_id
from dht.routing_table import Admission
from dht.simulator.adversary import Lie
from dht.simulator.measure import publish, read
from dht.simulator.network import Network
from dht.simulator.world import new_item, settled

ITEM = sign_item_with_seed(bytes(32), seq=5, value=b"hej")
TARGET = ITEM.target
WANTED = Wanted(public_key=ITEM.public_key)
ADMISSION = Admission()


def node(number: int, host: str | None = None) -> tuple[bytes, Address]:
    address = host or f"20.{number // 256}.{number % 256}.1"
    return secure_node_id(address, number.to_bytes(20, "little")), (address, 7610)


def lookup(may_ask: object = None, **how: int) -> Lookup:
    assert may_ask is None or callable(may_ask)
    return Lookup(TARGET, wanted=WANTED, is_fast=True, admission=ADMISSION, own_id=b"o" * 20, may_ask=may_ask, **how)


def paths(first: Lookup | None = None, **how: int) -> DisjointLookup:
    return DisjointLookup(first or lookup(), lambda may_ask: lookup(may_ask, **how), admission=ADMISSION)


def answer(number: int, *, nodes: list[tuple[bytes, Address]] | None = None, holds: bool = False) -> Answer:
    values: Arguments = {b"nodes": b"".join(pack_node(*each) for each in nodes or []), b"token": b"t"}
    if holds:
        values |= {b"k": ITEM.public_key, b"seq": ITEM.seq, b"sig": ITEM.signature, b"v": ITEM.value}
    return Answer(transaction=b"xy", sender=node(number)[0], values=values)


def asked(some: DisjointLookup) -> list[Address]:
    return [candidate.address for candidate in some.next_queries()]


def test_a_node_belongs_to_the_path_that_asks_it_first_and_so_does_its_network() -> None:
    claims = Claims(ADMISSION)

    assert claims.take(0, ("20.0.0.1", 1))
    assert claims.take(0, ("20.0.0.1", 1))
    assert not claims.take(1, ("20.0.0.1", 1))
    assert not claims.take(1, ("20.0.0.2", 1))
    assert claims.take(1, ("20.0.1.2", 1))
    assert claims.owner(("20.0.0.9", 1)) == 0
    assert claims.owner(("20.0.2.1", 1)) is None
    assert claims.take(0, ("127.0.0.1", 1))
    assert claims.take(1, ("127.0.0.1", 2))


def test_paths_share_no_node_even_if_everybody_names_the_same_ones() -> None:
    some = paths()
    some.add_seeds(node(number) for number in range(DISJOINT_PATHS))
    named = [node(number) for number in range(100, 100 + REPLY_NODES_MAX)]
    numbers = {node(number)[1]: number for number in (*range(DISJOINT_PATHS), *range(100, 100 + REPLY_NODES_MAX))}
    seen: list[Address] = []

    while addresses := asked(some):
        seen += addresses
        for address in addresses:
            some.on_answer(answer(numbers[address], nodes=named), address, 0.0)

    assert len(seen) == len(set(seen)) == DISJOINT_PATHS + REPLY_NODES_MAX
    assert some.is_finished(0.0)
    assert some.queries == len(seen)


def test_seeds_are_dealt_so_that_each_path_begins_with_other_nodes() -> None:
    some = paths()
    some.add_seeds(node(number) for number in range(2 * DISJOINT_PATHS))

    first = asked(some)

    assert sorted(first) == sorted(node(number)[1] for number in range(2 * DISJOINT_PATHS))


def test_a_liar_does_not_take_a_node_from_the_others_by_naming_it() -> None:
    some = paths()
    some.add_seeds([node(0), node(1)])
    asked(some)
    honest = node(7)
    far = bytes(byte ^ 0xFF for byte in TARGET)
    crowd = [(far, honest[1]), *[node(number) for number in range(200, 207)]]

    some.on_answer(answer(0, nodes=crowd), node(0)[1], 0.0)
    assert honest[1] not in asked(some), "the liar's path has nearer ones to ask"
    some.on_answer(answer(1, nodes=[honest]), node(1)[1], 0.0)
    assert honest[1] in asked(some)


def test_what_one_path_finds_ends_all_of_them_soon() -> None:
    some = paths()
    some.add_seeds(node(number) for number in range(DISJOINT_PATHS))
    asked(some)

    found = some.on_answer(answer(2, holds=True), node(2)[1], 1.0)

    assert found is not None
    assert some.best == found
    assert some.query()[1][b"seq"] == ITEM.seq
    assert some.deadline == 1.0 + FAST_GET_S
    assert not some.is_finished(1.0)
    assert some.is_finished(1.0 + FAST_GET_S)
    assert some.on_answer(answer(3, holds=True), node(3)[1], 1.1) is None, "no news"


def test_a_late_answer_to_the_first_lookup_still_counts() -> None:
    first = lookup()
    first.add_seeds([node(9)])
    first.next_queries()
    first.on_slow(node(9)[1])
    some = paths(first)
    some.add_seeds([node(0)])
    asked(some)

    assert some.on_answer(answer(9, holds=True), node(9)[1], 0.0) is not None
    assert some.queries == 2


def test_each_path_has_its_own_bound_of_queries() -> None:
    some = paths(queries_max=2)
    some.add_seeds(node(number) for number in range(40))

    while addresses := asked(some):
        for address in addresses:
            some.on_failed(address)

    assert some.queries == 2 * DISJOINT_PATHS
    assert some.is_finished(0.0)


actions = st.lists(st.tuples(st.sampled_from(["names", "fails", "slow", "holds"]), st.integers(0, 400)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(actions, st.integers(1, 60))
def test_whatever_is_answered_each_node_is_asked_once_and_it_ends(script: list[tuple[str, int]], seeds: int) -> None:
    some = paths()
    some.add_seeds(node(number) for number in range(seeds))
    numbers = {node(number)[1]: number for number in range(500)}
    seen: list[Address] = []
    waiting: list[Address] = []
    while not some.is_finished(0.0):
        new = asked(some)
        seen, waiting = seen + new, waiting + new
        if not waiting:
            break
        address = waiting.pop()
        action, first = script[len(seen) % len(script)] if script else ("fails", 0)
        holds = action == "holds" and first % 50 == 0
        match action:
            case "names" | "holds":
                named = [node(number) for number in range(first, first + REPLY_NODES_MAX)]
                some.on_answer(answer(numbers[address], nodes=named, holds=holds), address, 0.0)
            case _:
                if action == "slow":
                    some.on_slow(address)
                some.on_failed(address)

    assert len(seen) == len(set(seen)) == some.queries <= DISJOINT_PATHS * DISJOINT_QUERIES_MAX
    assert some.is_finished(FAST_GET_S)


def nothing_found(hosts: int) -> tuple[int, dict[str, int]]:
    network = settled(1, hosts)
    reader = next(iter(network.nodes))
    ended, _ = network.watch_get(reader, new_item(network))
    assert ended.item is None
    return ended.queries, network.nodes[reader].counters.disjoint


def test_a_get_that_asked_everybody_does_not_ask_again() -> None:
    queries, disjoint = nothing_found(15)
    assert queries <= 15
    assert disjoint == {}


def test_a_get_that_finds_nothing_goes_on_along_disjoint_paths_and_ends() -> None:
    queries, disjoint = nothing_found(300)
    assert 60 < queries <= 40 + DISJOINT_PATHS * DISJOINT_QUERIES_MAX
    assert disjoint == {"missing": 1}


def among_colluders(network: Network) -> dict[str, int]:
    read(network, publish(network, 10), 20)
    results = [core.counters.disjoint for core in network.nodes.values()]
    return {kind: sum(result.get(kind, 0) for result in results) for kind in ("found", "missing")}


def test_disjoint_lookups_find_what_colluders_hide_from_one() -> None:
    """Nine in ten collude, far more than k = 20 withstands."""
    results = among_colluders(settled(1, 30, lies=[Lie.COLLUDER] * 270))
    assert results["found"] >= 2
