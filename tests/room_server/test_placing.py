from __future__ import annotations

from collections.abc import Iterable

import pytest

from room_server.margin import Standing
from room_server.placing import Halt, next_step
from tests.room_server.rosters import key, record
from vr.configuration import Configuration, Member
from vr.types import GroupId, ReplicaId
from wire.certificate import Server
from wire.ids import NodeKey
from wire.room import Place

READY = Standing(is_close=True, is_suspected=False)
BEHIND = Standing(is_close=False, is_suspected=False)
DOWN = Standing(is_close=True, is_suspected=True)


def server(number: int) -> Server:
    known = record(number)
    return Server(known.replica_id, known.node_key, known.host, known.port)


def members(numbers: Iterable[int]) -> tuple[Member, ...]:
    return tuple(Member(ReplicaId(record(number).replica_id), key(number)) for number in numbers)


def step(
    wanted: list[int],
    *,
    now: list[int],
    standbys: list[int] | None = None,
    standing: dict[int, Standing] | None = None,
    unknown: frozenset[int] = frozenset(),
) -> tuple[list[NodeKey], list[NodeKey]] | Halt:
    configuration = Configuration(
        group=GroupId(b"r" * 16), epoch=4, members=members(now), standbys=members(standbys or ())
    )
    states = dict.fromkeys((*now, *(standbys or ())), READY) | (standing or {})
    found = next_step(
        configuration,
        [key(number) for number in wanted],
        standing={ReplicaId(record(number).replica_id): state for number, state in states.items()},
        places={key(number): server(number) for number in range(1, 9) if number not in unknown},
    )
    if isinstance(found, Place):
        assert found.epoch == 5
        return [one.node_key for one in found.servers], [one.node_key for one in found.standbys]
    return found


def keys(*numbers: int) -> list[NodeKey]:
    return [key(number) for number in numbers]


def test_newcomers_stand_by_first_and_everybody_who_has_the_vote_keeps_it() -> None:
    assert step([1, 2, 4], now=[1, 2, 3]) == (keys(1, 2, 3), keys(4))


def test_the_vote_goes_to_the_wanted_servers_when_newcomers_have_everything() -> None:
    assert step([1, 2, 4], now=[1, 2, 3], standbys=[4], standing={4: BEHIND}) is Halt.WAIT
    assert step([1, 2, 4], now=[1, 2, 3], standbys=[4]) == (keys(1, 2, 4), [])


def test_a_dead_server_is_replaced_by_a_living_one() -> None:
    assert step([1, 2, 4], now=[1, 2, 3], standbys=[4], standing={3: DOWN}) == (keys(1, 2, 4), [])


def test_no_vote_is_given_while_less_would_be_survived_than_now() -> None:
    assert step([1, 2, 4], now=[1, 2, 3], standbys=[4], standing={2: DOWN}) == (keys(1, 2, 4), [])
    assert step([1, 2, 4], now=[1, 2, 3], standbys=[4], standing={4: DOWN}) is Halt.WAIT


def test_what_is_there_is_done_whatever_the_order() -> None:
    assert step([3, 1, 2], now=[1, 2, 3]) is Halt.DONE


@pytest.mark.parametrize(
    ("wanted", "unknown"), [([1, 2], frozenset()), ([1], frozenset()), ([1, 2, 4], frozenset({4}))]
)
def test_what_would_survive_less_or_is_unknown_is_never_done(wanted: list[int], unknown: frozenset[int]) -> None:
    assert step(wanted, now=[1, 2, 3], unknown=unknown) is Halt.NEVER


def test_a_room_grows() -> None:
    assert step([1, 2, 3], now=[1]) == (keys(1), keys(2, 3))
    assert step([1, 2, 3], now=[1], standbys=[2, 3]) == (keys(1, 2, 3), [])


def test_another_server_is_wanted_than_the_one_that_stands_by() -> None:
    assert step([1, 2, 5], now=[1, 2, 3], standbys=[4]) == (keys(1, 2, 3), keys(5))
