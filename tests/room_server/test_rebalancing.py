from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
from hypothesis import given

from room_server.rebalancing import RebalancePlan, plan_rebalance
from tests.room_server.rosters import key
from wire.ids import NodeKey, RoomId
from wire.peer_messages import RoomPlace

KEYS = [key(number) for number in range(1, 8)]
A, B, C, D, E, *_ = KEYS


def room(number: int, *servers: NodeKey, is_movable: bool = True, is_led: bool = True) -> RoomPlace:
    return RoomPlace(RoomId(number.to_bytes(16, "big")), servers, is_movable, is_led)


def changed(plan: RebalancePlan) -> dict[int, tuple[NodeKey, ...]]:
    return {int.from_bytes(change.room_id, "big"): change.then for change in plan.changes}


def test_what_is_even_stays_as_it_is() -> None:
    rooms = [room(number, A, B, C) for number in range(5)]

    plan = plan_rebalance(rooms, able=[A, B, C], leaving=(), replicas=3)

    assert (plan.changes, plan.held, plan.pinned) == ((), (), ())
    assert plan.loads == {A: 5, B: 5, C: 5}


def test_a_fourth_server_gets_its_share_and_no_room_moves_that_need_not() -> None:
    rooms = [room(number, A, B, C) for number in range(8)]

    plan = plan_rebalance(rooms, able=[A, B, C, D], leaving=(), replicas=3)

    assert set(plan.loads.values()) == {6}
    assert len(plan.changes) == 6
    assert all(D in then and len(then) == 3 for then in changed(plan).values())


def test_rooms_of_a_server_that_leaves_go_to_the_emptiest() -> None:
    rooms = [room(1, A, B, C), room(2, A, B, D)]

    plan = plan_rebalance(rooms, able=[A, B, D, E], leaving={C}, replicas=3)

    assert changed(plan)[1] == (A, B, E)


def test_a_room_that_has_too_few_servers_gets_more_once_there_are() -> None:
    rooms = [room(1, A), room(2, A, B)]

    assert changed(plan_rebalance(rooms, able=[A, B], leaving=(), replicas=3)) == {}
    more = changed(plan_rebalance(rooms, able=[A, B, C], leaving=(), replicas=3))
    assert {number: set(then) for number, then in more.items()} == {1: {A, B, C}, 2: {A, B, C}}


def test_nothing_survives_less_because_a_server_leaves() -> None:
    rooms = [room(1, A, B, C), room(2, A, B, C, is_movable=False)]

    plan = plan_rebalance(rooms, able=[A, B], leaving={C}, replicas=3)

    assert changed(plan) == {}
    assert plan.held == (rooms[0].room_id,)
    assert plan.pinned == (rooms[1].room_id,)


def test_a_server_that_is_down_keeps_its_rooms_and_gets_none() -> None:
    rooms = [room(number, A, B, C) for number in range(4)]

    plan = plan_rebalance(rooms, able=[A, B, D], leaving=(), replicas=3)

    assert all(C in then for then in changed(plan).values())
    assert C not in plan.loads


def test_a_server_outside_the_cluster_keeps_its_room() -> None:
    assert changed(plan_rebalance([room(1, A, E, C)], able=[A, B], leaving={C}, replicas=3)) == {1: (A, E, B)}


def test_nothing_is_planned_for_a_room_without_a_leader() -> None:
    rooms = [room(1, A, B, C, is_led=False), room(2, A, B, C)]

    plan = plan_rebalance(rooms, able=[A, B, D], leaving={C}, replicas=3)

    assert changed(plan) == {2: (A, B, D)}
    assert plan.leaderless == (rooms[0].room_id,)


@given(
    rooms=st.lists(
        st.tuples(st.lists(st.sampled_from(KEYS), min_size=1, max_size=5, unique=True), st.booleans()), max_size=30
    ),
    able=st.lists(st.sampled_from(KEYS), min_size=1, unique=True),
    leaving=st.sets(st.sampled_from(KEYS)),
    replicas=st.integers(1, 7),
)
def test_no_room_survives_less_and_carrying_a_plan_out_leaves_nothing_to_do(
    rooms: list[tuple[list[NodeKey], bool]], able: list[NodeKey], leaving: set[NodeKey], replicas: int
) -> None:
    places = [room(number, *servers, is_movable=movable) for number, (servers, movable) in enumerate(rooms)]
    able = [one for one in able if one not in leaving]

    plan = plan_rebalance(places, able=able, leaving=leaving, replicas=replicas)

    then = {place.room_id: place.servers for place in places}
    for change in plan.changes:
        assert change.now == then[change.room_id]
        assert len(change.then) == len(set(change.then)) >= len(change.now)
        assert set(change.then) - set(change.now) <= set(able)
        then[change.room_id] = change.then
    movable = {place.room_id for place in places if place.is_movable}
    assert {change.room_id for change in plan.changes} <= movable
    for room_id in movable - set(plan.held):
        assert not leaving & set(then[room_id])
    counts = Counter(server for servers in then.values() for server in servers)
    assert plan.loads == {one: counts[one] for one in able}
    after = [RoomPlace(place.room_id, then[place.room_id], place.is_movable, True) for place in places]
    again = plan_rebalance(after, able=able, leaving=leaving, replicas=replicas)
    assert again.changes == ()
