from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from room_server.cluster_plan import next_configuration, voters_of
from room_server.margin import Standing
from tests.room_server.rosters import record
from vr.configuration import Configuration, Member
from vr.types import GroupId, ReplicaId

READY = Standing(is_close=True, is_suspected=False)
BEHIND = Standing(is_close=False, is_suspected=False)
DOWN = Standing(is_close=True, is_suspected=True)


def member(number: int) -> Member:
    return Member(ReplicaId(record(number).replica_id), record(number).node_key)


def group(members: list[int], standbys: list[int] = []) -> Configuration:  # noqa: B006 - only read
    return Configuration(
        group=GroupId(b"g" * 16), members=tuple(map(member, members)), standbys=tuple(map(member, standbys))
    )


def following(
    current: Configuration, roster: list[int], *, standing: dict[int, Standing] | None = None, own: int = 1
) -> tuple[list[int], list[int]] | None:
    known = {one.replica_id: READY for one in current.replicas}
    known |= {member(number).replica_id: how for number, how in (standing or {}).items()}
    following = next_configuration(current, [record(number) for number in roster], known, own=member(own).replica_id)
    if following is None:
        return None
    assert following.epoch == current.epoch + 1
    if member(own) in following.members:
        assert following.members[following.first_primary] == member(own)
    return [one.replica_id[0] for one in following.members], [one.replica_id[0] for one in following.standbys]


@pytest.mark.parametrize(
    ("members", "standbys", "roster", "expected"),
    [
        ([1], [], [1], None),
        ([1], [], [1, 2], ([1], [2])),
        ([1], [2], [1, 2], None),
        ([1], [2], [1, 2, 3], ([1], [2, 3])),
        ([1], [2, 3], [1, 2, 3], ([1, 2, 3], [])),
        ([1, 2, 3], [], [1, 2, 3, 4], ([1, 2, 3], [4])),
        ([1, 2, 3], [4, 5], [1, 2, 3, 4, 5], ([1, 2, 3, 4, 5], [])),
        ([1, 2, 3, 4, 5], [], [1, 2, 3, 4, 5, 6, 7], None),
        ([1, 2, 3, 4, 5], [], [1, 2, 4, 5, 6], ([1, 2, 4, 5], [6])),
        ([1, 2, 4, 5], [6], [1, 2, 4, 5, 6], ([1, 2, 4, 5, 6], [])),
        ([1, 2, 3, 4, 5], [], [1, 2, 3, 4], ([1, 2, 3], [4])),
        ([1, 2, 3], [], [1, 2], ([1], [2])),
    ],
)
def test_group_follows_the_roster(
    members: list[int], standbys: list[int], roster: list[int], expected: tuple[list[int], list[int]] | None
) -> None:
    assert following(group(members, standbys), roster) == expected


def test_a_newcomer_that_is_behind_or_down_gets_no_vote() -> None:
    current = group([1], [2, 3])

    assert following(current, [1, 2, 3], standing={3: BEHIND}) is None
    assert following(current, [1, 2, 3], standing={3: DOWN}) is None


def test_who_is_down_keeps_its_vote_and_goes_first_when_there_are_too_many() -> None:
    assert following(group([1, 2, 3]), [1, 2, 3], standing={2: DOWN}) is None
    assert following(group([1, 2, 3, 4, 5]), [1, 2, 3, 4], standing={2: DOWN}) == ([1, 3, 4], [2])


def test_who_leads_brings_itself_out() -> None:
    assert following(group([1, 2, 3]), [2, 3, 4]) == ([2, 3], [4])


def test_the_only_voter_does_not_leave_before_somebody_can_follow() -> None:
    assert following(group([1], [2]), [2], standing={2: BEHIND}) is None
    assert following(group([1], [2]), [2]) == ([2], [])


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 12), min_size=1), st.lists(st.sets(st.integers(1, 12)), min_size=12, max_size=12))
def test_growing_always_ends_as_the_table_says(roster: set[int], ready_in_turn: list[set[int]]) -> None:
    current, nodes = group([1]), sorted(roster | {1})
    for ready in [*ready_in_turn, *[set(nodes)] * 20]:
        standing = {one.replica_id: READY if one.replica_id[0] in ready else BEHIND for one in current.replicas}
        next_one = next_configuration(
            current, [record(number) for number in nodes], standing, own=current.members[0].replica_id
        )
        current = next_one or current
        assert current.size % 2 == 1
    assert current.size == voters_of(len(nodes))
    assert len(current.replicas) == min(len(nodes), 5)
