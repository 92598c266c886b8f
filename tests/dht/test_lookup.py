from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.items import MutableItem, sign_item_with_seed
from dht.krpc import Answer, Arguments
from dht.limits import (
    BUCKET_NODES_MAX,
    FAST_GET_S,
    LOOKUP_CANDIDATES_MAX,
    LOOKUP_PARALLEL,
    LOOKUP_QUERIES_MAX,
    LOOKUP_SEEDS_MAX,
    LOOKUP_WIDTH_MAX,
    REPLY_NODES_MAX,
)
from dht.lookup import Lookup, Wanted
from dht.node_id import Address, distance, pack_node, secure_node_id
from dht.routing_table import Admission
from dht.storage import SignedValue

OWN = b"o" * 20
ITEM = sign_item_with_seed(bytes(32), seq=5, value=b"hej")
TARGET = ITEM.target


def node(number: int) -> tuple[bytes, Address]:
    """A node whose distance to the target is its number."""
    node_id = (int.from_bytes(TARGET, "big") ^ number).to_bytes(20, "big")
    return node_id, (f"10.{number // 256 % 256}.{number % 256}.1", 7610)


def lookup(*, is_fast: bool = True, wants_item: bool = True, **admission: bool) -> Lookup:
    wanted = Wanted(public_key=ITEM.public_key) if wants_item else None
    rule = Admission.of(None, restrict_ips=admission.get("restrict_ips", True))
    return Lookup(TARGET, wanted=wanted, is_fast=is_fast, admission=rule, own_id=OWN)


def answer(sender: bytes, *, nodes: list[tuple[bytes, Address]] | None = None, item: MutableItem | None = None, **more: bytes | int) -> Answer:  # fmt: skip
    values: Arguments = {b"id": sender, b"token": b"t"}
    values |= {b"nodes": b"".join(pack_node(*each) for each in nodes or [])}
    if item is not None:
        values |= {b"k": item.public_key, b"seq": item.seq, b"sig": item.signature, b"v": item.value}
    values |= {key.encode(): value for key, value in more.items()}
    return Answer(transaction=b"xy", sender=sender, values=values)


def asked(some: Lookup) -> list[Address]:
    return [candidate.address for candidate in some.next_queries()]


def test_asks_the_nearest_first_and_keeps_alpha_outstanding() -> None:
    some = lookup()
    some.add_seeds(node(number) for number in (50, 10, 40, 20, 30, 60))

    assert asked(some) == [node(number)[1] for number in (10, 20, 30, 40)]
    assert asked(some) == []
    some.on_answer(answer(node(10)[0], nodes=[node(1)]), node(10)[1], 0.0)
    assert asked(some) == [node(1)[1]]
    assert LOOKUP_PARALLEL == 4


def test_a_slow_node_frees_its_place_and_may_still_answer() -> None:
    some = lookup()
    some.add_seeds(node(number) for number in range(1, 7))
    asked(some)

    some.on_slow(node(1)[1])
    assert asked(some) == [node(5)[1]]
    assert some.on_answer(answer(node(1)[0], item=ITEM), node(1)[1], 0.0) is not None


def test_a_failed_node_is_not_heard_any_more() -> None:
    some = lookup()
    some.add_seeds([node(1)])
    asked(some)
    some.on_failed(node(1)[1])

    assert some.is_finished(0.0)
    assert some.on_answer(answer(node(1)[0], item=ITEM), node(1)[1], 0.0) is None


def test_seeds_of_unknown_id_come_first_and_find_their_place_when_they_answer() -> None:
    some = lookup()
    hint = ("192.0.2.1", 7610)
    some.add_seeds([node(1), (None, hint)])

    assert asked(some) == [hint, node(1)[1]]
    some.on_answer(answer(node(9)[0]), hint, 0.0)
    some.on_answer(answer(node(1)[0]), node(1)[1], 0.0)
    assert [candidate.address for candidate in some.closest(8)] == [node(1)[1], hint]


def test_one_answer_of_a_lone_pinning_replica_is_enough() -> None:
    some = lookup()
    hint = ("192.0.2.1", 7610)
    some.add_seeds([(None, hint)])
    asked(some)

    found = some.on_answer(answer(node(9)[0], item=ITEM), hint, 0.0)

    assert found is not None
    assert found.to_item() == ITEM
    assert some.is_finished(0.0)


def test_a_fast_get_looks_for_newer_versions_for_a_second() -> None:
    some = lookup()
    some.add_seeds([node(1), node(2)])
    asked(some)
    some.on_answer(answer(node(1)[0], item=ITEM), node(1)[1], 10.0)

    assert not some.is_finished(10.0 + FAST_GET_S - 0.01)
    assert some.query() == (b"get", {b"target": TARGET, b"seq": 5})
    newer = sign_item_with_seed(bytes(32), seq=6, value=b"new")
    assert some.on_answer(answer(node(2)[0], item=newer), node(2)[1], 10.5) is not None
    assert some.best is not None
    assert some.best.seq == 6


def test_a_fast_get_ends_at_its_deadline_although_nodes_are_silent() -> None:
    some = lookup()
    some.add_seeds([node(1), node(2)])
    asked(some)
    some.on_answer(answer(node(1)[0], item=ITEM), node(1)[1], 10.0)

    assert not some.is_finished(10.5)
    assert some.is_finished(10.0 + FAST_GET_S)


def test_a_put_goes_on_to_the_nearest_k() -> None:
    some = lookup(is_fast=False)
    some.add_seeds(node(number) for number in range(1, 31))
    for number in range(1, 30):
        assert not some.is_finished(1e9)
        while some.next_queries():
            pass
        some.on_answer(answer(node(number)[0], item=ITEM), node(number)[1], 0.0)
        if number == BUCKET_NODES_MAX:
            break
    for number in range(BUCKET_NODES_MAX + 1, 31):
        some.on_failed(node(number)[1])

    assert some.is_finished(0.0)
    assert len(some.closest(100)) == BUCKET_NODES_MAX
    assert all(candidate.token == b"t" and candidate.seq == 5 for candidate in some.closest(100))


def test_slow_nodes_do_not_hold_up_the_end_unless_they_are_all_there_is() -> None:
    some = lookup()
    some.add_seeds([node(1), node(2)])
    asked(some)
    some.on_slow(node(1)[1])
    some.on_slow(node(2)[1])

    assert not some.is_finished(0.0)
    some.on_answer(answer(node(2)[0]), node(2)[1], 0.0)
    assert some.is_finished(0.0)


def test_what_does_not_verify_is_never_handed_on() -> None:
    stranger = sign_item_with_seed(b"x" * 32, seq=9, value=b"mine now")
    forged = msgspec.structs.replace(ITEM, seq=99)
    salted = sign_item_with_seed(bytes(32), seq=9, value=b"elsewhere", salt=b"other")
    some = lookup()
    some.add_seeds([node(number) for number in range(1, 7)])
    asked(some)
    some.on_failed(node(4)[1])
    asked(some)

    for number, bad in enumerate((stranger, forged, salted), start=1):
        assert some.on_answer(answer(node(number)[0], item=bad), node(number)[1], 0.0) is None
    odd = answer(node(5)[0], item=ITEM, v=5)
    assert some.on_answer(odd, node(5)[1], 0.0) is None

    assert some.best is None
    assert some.rejected == 4
    assert some.on_answer(answer(node(5)[0], seq=1 << 63), node(5)[1], 0.0) is None


def test_an_older_version_is_not_handed_on_after_a_newer() -> None:
    some = lookup()
    some.add_seeds([node(1), node(2)])
    asked(some)
    some.on_answer(answer(node(1)[0], item=ITEM), node(1)[1], 0.0)

    older = sign_item_with_seed(bytes(32), seq=4, value=b"old")
    assert some.on_answer(answer(node(2)[0], item=older), node(2)[1], 0.0) is None
    assert some.best == SignedValue.of(ITEM)


def test_our_own_storage_begins_the_second() -> None:
    some = lookup()
    some.add_seeds([node(1)])
    asked(some)
    some.on_local(SignedValue.of(ITEM), 10.0)

    assert some.best == SignedValue.of(ITEM)
    assert some.is_finished(10.0 + FAST_GET_S)


def test_an_answer_brings_in_only_so_many_nodes_and_one_per_network() -> None:
    some = lookup()
    some.add_seeds([node(100)])
    asked(some)
    many = [node(number) for number in range(1, 30)]
    some.on_answer(answer(node(100)[0], nodes=many), node(100)[1], 0.0)
    for address in asked(some):
        some.on_failed(address)
    assert len(asked(some)) == REPLY_NODES_MAX - LOOKUP_PARALLEL

    crowd = lookup()
    crowd.add_seeds([node(100)])
    asked(crowd)
    same_network = [(node(number)[0], ("10.7.7.1", number)) for number in range(1, 9)]
    crowd.on_answer(answer(node(100)[0], nodes=same_network), node(100)[1], 0.0)
    assert len(asked(crowd)) == 1


def test_strangers_cannot_point_us_at_our_own_machine_or_ourselves() -> None:
    some = lookup()
    some.add_seeds([node(100)])
    asked(some)
    named: list[tuple[bytes, Address]] = [
        (node(1)[0], ("127.0.0.1", 22)),
        (node(2)[0], ("0.0.0.0", 7610)),
        (node(3)[0], ("10.0.0.1", 0)),
        (OWN, ("10.3.3.3", 7610)),
    ]
    some.on_answer(answer(node(100)[0], nodes=named), node(100)[1], 0.0)

    assert asked(some) == []
    assert some.is_finished(0.0)


def test_broken_lists_of_nodes_are_passed_over() -> None:
    some = lookup()
    some.add_seeds([node(1), node(2)])
    asked(some)

    assert some.on_answer(answer(node(1)[0], item=ITEM, nodes_=b"x"), node(1)[1], 0.0) is not None
    broken = Answer(transaction=b"xy", sender=node(2)[0], values={b"id": node(2)[0], b"nodes": bytes(27)})
    assert some.on_answer(broken, node(2)[1], 0.0) is None
    assert some.is_finished(0.0)


def test_seeds_are_bounded() -> None:
    some = lookup()
    some.add_seeds(node(number) for number in range(1, 200))
    while batch := asked(some):
        for address in batch:
            some.on_failed(address)

    assert some.queries == LOOKUP_SEEDS_MAX


def test_a_lookup_for_nodes_takes_no_items() -> None:
    some = lookup(wants_item=False)
    some.add_seeds([node(1)])
    asked(some)

    assert some.query() == (b"find_node", {b"target": TARGET})
    assert some.on_answer(answer(node(1)[0], item=ITEM), node(1)[1], 0.0) is None


def test_liars_that_name_ever_nearer_nodes_are_followed_only_so_far() -> None:
    some = lookup(restrict_ips=False)
    some.add_seeds([node(1)])
    nearer = 1 << 120
    while batch := some.next_queries():
        for candidate in batch:
            nearer -= REPLY_NODES_MAX
            forged = [
                (
                    (int.from_bytes(TARGET, "big") ^ nearer - n).to_bytes(20, "big"),
                    ("10.9.9.9", nearer % 50_000 + n + 1),
                )
                for n in range(REPLY_NODES_MAX)
            ]
            some.on_answer(answer(candidate.node_id or b"", nodes=forged), candidate.address, 0.0)
        if some.is_finished(0.0):
            break

    assert some.is_finished(0.0)
    assert some.queries <= LOOKUP_QUERIES_MAX


def test_a_lookup_with_no_end_of_silent_nodes_stops_at_its_cap() -> None:
    some = lookup(restrict_ips=False)
    some.add_seeds([node(1)])
    number = 2
    asked(some)
    some.on_answer(answer(node(1)[0], nodes=[node(n) for n in range(2, 10)]), node(1)[1], 0.0)
    while batch := asked(some):
        for address in batch:
            number += 8
            if some.queries % 3:
                some.on_failed(address)
            else:
                more = [node(n) for n in range(number, number + 8)]
                some.on_answer(answer(b"far!" * 5, nodes=more), address, 0.0)

    assert some.queries == LOOKUP_QUERIES_MAX
    assert some.is_finished(0.0)


nodes = st.lists(st.integers(1, 3_000), max_size=12)
steps = st.lists(st.tuples(st.sampled_from(["answer", "slow", "fail", "lie"]), nodes), max_size=60)


@settings(max_examples=150, deadline=None)
@given(steps, st.booleans())
def test_a_lookup_ends_under_any_answers(script: list[tuple[str, list[int]]], is_fast: bool) -> None:
    """Liars name ever nearer nodes; the bounds on queries and candidates end it all the same."""
    some = lookup(is_fast=is_fast, restrict_ips=False)
    some.add_seeds(node(number) for number in (2_900, 2_950, 3_000))
    waiting: list[Address] = []
    by_address = {node(number)[1]: node(number)[0] for number in range(200_000, 199_000, -1)}
    nearer = 1 << 100
    for turn in range(LOOKUP_QUERIES_MAX * 3):
        waiting += asked(some)
        if some.is_finished(0.0) or not waiting:
            break
        action, named = script[turn % len(script)] if script else ("fail", [])
        address = waiting.pop(0)
        sender = by_address.get(address, TARGET)
        match action:
            case "slow":
                some.on_slow(address)
                if turn > LOOKUP_QUERIES_MAX:
                    some.on_failed(address)
                else:
                    waiting.append(address)
            case "fail":
                some.on_failed(address)
            case "lie":
                nearer -= 8
                forged = [((int.from_bytes(TARGET, "big") ^ nearer - n).to_bytes(20, "big"), ("10.9.9.9", nearer % 60_000 + n + 1)) for n in range(8)]  # fmt: skip
                some.on_answer(answer(sender, nodes=forged), address, 0.0)
            case _:
                some.on_answer(answer(sender, nodes=[node(number) for number in named]), address, 0.0)
    for address in waiting:
        some.on_failed(address)
    while batch := asked(some):
        for address in batch:
            some.on_failed(address)

    assert some.is_finished(0.0)
    assert some.queries <= LOOKUP_QUERIES_MAX
    assert len(some.closest(10_000)) <= LOOKUP_CANDIDATES_MAX
    ranks = [distance(candidate.node_id or b"", TARGET) for candidate in some.closest(10_000)]
    assert ranks == sorted(ranks)


def test_ids_that_are_not_bound_to_their_public_address_are_asked_last() -> None:
    """BEP 42: anybody can claim to be the nearest."""
    some = lookup()
    claimed = [(node(number)[0], (f"20.0.{number}.1", 7610)) for number in range(1, 6)]
    bound = [(secure_node_id(f"21.0.{n}.1", bytes([n]) * 20), (f"21.0.{n}.1", 7610)) for n in range(5)]

    some.add_seeds([*claimed, *bound])

    assert set(asked(some)) < {address for _, address in bound}


def test_an_answer_under_a_claimed_id_loses_its_place() -> None:
    some = lookup()
    bound = [(secure_node_id(f"21.0.{n}.1", bytes([n]) * 20), (f"21.0.{n}.1", 7610)) for n in range(3)]
    some.add_seeds(bound)
    first, *others = asked(some)
    some.on_answer(answer(node(1)[0]), first, 0.0)
    ids = {address: node_id for node_id, address in bound}
    for address in others:
        some.on_answer(answer(ids[address]), address, 0.0)

    assert some.closest(3)[-1].node_id == node(1)[0]


def test_crowds_beside_the_target_are_passed_as_far_as_the_nearest_are_expected() -> None:
    """Pubky's rule: k nodes nearer than k are expected may be Sybils."""
    wanted = Wanted(public_key=ITEM.public_key)
    some = Lookup(TARGET, wanted=wanted, is_fast=True, admission=Admission(), own_id=OWN, reach=30)
    some.add_seeds(node(number) for number in range(1, 41))

    while queried := asked(some):
        for address in queried:
            sender = next(node_id for node_id, at in map(node, range(1, 41)) if at == address)
            some.on_answer(answer(sender), address, 0.0)

    assert len(some.storers()) == 30
    assert some.is_finished(0.0)


def test_a_reach_without_end_has_an_end() -> None:
    wanted = Wanted(public_key=ITEM.public_key)
    some = Lookup(TARGET, wanted=wanted, is_fast=True, admission=Admission(), own_id=OWN, reach=1 << 160)
    number, answered = 1, 0
    some.add_seeds([node(number)])
    while queried := asked(some):
        for address in queried:
            sender = next(node_id for node_id, at in map(node, range(1, number + 1)) if at == address)
            more = [node(number + step) for step in range(1, 5)]
            number += 4
            some.on_answer(answer(sender, nodes=more), address, 0.0)
            answered += 1

    assert LOOKUP_WIDTH_MAX <= answered <= LOOKUP_QUERIES_MAX
    assert len(some.storers()) == LOOKUP_WIDTH_MAX
    assert some.is_finished(0.0)


def test_a_lookup_of_our_own_id_goes_on_towards_another_one() -> None:
    some = lookup(wants_item=False)
    some.add_seeds(node(number) for number in (1, 2, 3, 4, 5, 6, 300))
    for address in asked(some):
        some.on_answer(answer(next(each[0] for each in map(node, range(1, 7)) if each[1] == address)), address, 0.0)
    far = node(301)[0]

    some.move_to(far)

    assert some.query()[1][b"target"] == far
    again = asked(some)
    assert again[0] == node(300)[1], "the nearest now"
    assert set(again) & {node(number)[1] for number in range(1, 5)}, "they know us by the old id"
