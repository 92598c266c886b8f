"""Which log goes on: what each disk says it has, may have had, and never had."""

from __future__ import annotations

import pytest

from tests.vr.group import Group
from vr import nacks
from vr.log import HEADER_BYTES, make_entry
from vr.messages import DoViewChange
from vr.nacks import NACKS_NOTHING, Undecided, choose_log
from vr.types import Checksum, OpNumber, ReplicaIndex, ViewNumber

LOST_TAIL = int(NACKS_NOTHING)


def vote(
    replica: int,
    log_view: int,
    head_op: int,
    nacks_above: int | None = None,
    *,
    commit: int = 0,
    last_view: int | None = None,
) -> DoViewChange:
    """A vote; `last_view` is the view in which its head was prepared, when it shows one."""
    headers = b""
    if last_view is not None:
        entry = make_entry(
            view=ViewNumber(last_view), op=OpNumber(head_op), commit=OpNumber(0), parent=Checksum(b"p" * 16),
            timestamp_us=1, requests=(),
        )  # fmt: skip
        headers = entry.data[:HEADER_BYTES]
    return DoViewChange(
        view=ViewNumber(9), replica=ReplicaIndex(replica), log_view=ViewNumber(log_view), head_op=OpNumber(head_op),
        commit=OpNumber(commit), commit_checksum=Checksum(b"c" * 16), headers=headers,
        nacks_above=OpNumber(head_op if nacks_above is None else nacks_above),
    )  # fmt: skip


def choose(size: int, *votes: DoViewChange) -> DoViewChange | Undecided:
    chosen = choose_log(Group(size).configuration, {item.replica: item for item in votes})
    again = choose_log(Group(size).configuration, {item.replica: item for item in reversed(votes)})
    assert chosen == again, "the order of the votes decides nothing"
    return chosen


def chosen_replica(size: int, *votes: DoViewChange) -> int | None:
    chosen = choose(size, *votes)
    return chosen.replica if isinstance(chosen, DoViewChange) else None


@pytest.mark.parametrize(
    ("votes", "chosen"),
    [
        ([(0, 1, 5), (1, 2, 3)], 1),  # the highest log view, though shorter
        ([(0, 2, 3), (1, 2, 5)], 1),  # of one log view the longest
        ([(0, 2, 5), (1, 1, 9), (2, 2, 4)], 0),
        ([(2, 2, 5), (1, 2, 5)], 1),  # equals: anybody, but always the same
    ],
)
def test_of_sound_logs_the_most_complete_goes_on(votes: list[tuple[int, int, int]], chosen: int) -> None:
    """VRR 4.2 step 3."""
    assert chosen_replica(3, *(vote(*item) for item in votes)) == chosen


def test_a_lost_tail_and_one_sound_log_of_three_decide_nothing() -> None:
    """The third may hold what the first forgot."""
    undecided = choose(3, vote(0, 1, 4, LOST_TAIL), vote(1, 1, 5))

    assert undecided == Undecided(op=OpNumber(6), nacks=1, needed=2, missing=(ReplicaIndex(2),))
    assert isinstance(undecided, Undecided)
    assert not undecided.is_final


def test_everybody_voted_and_nobody_may_guess() -> None:
    undecided = choose(3, vote(0, 1, 4, LOST_TAIL), vote(1, 1, 5), vote(2, 1, 3, LOST_TAIL))

    assert isinstance(undecided, Undecided)
    assert undecided.is_final


def test_a_third_that_never_had_it_decides() -> None:
    assert chosen_replica(3, vote(0, 1, 4, LOST_TAIL), vote(1, 1, 5), vote(2, 1, 4)) == 1


def test_a_hole_of_known_identity_nacks_what_is_above_the_log() -> None:
    """The damaged log certainly ended at 6: with the sound one that ends there too, nothing can follow."""
    assert chosen_replica(3, vote(0, 1, 3, 6), vote(1, 1, 6)) == 1


def test_a_hole_is_not_nacked() -> None:
    """Operation 6 was in the damaged log: the silent third may have committed it."""
    undecided = choose(3, vote(0, 1, 3, 6), vote(1, 1, 5))

    assert isinstance(undecided, Undecided)
    assert undecided.op == 6


def test_what_a_damaged_log_still_shows_is_kept() -> None:
    """Three of five never had operation 8, the damaged one shows 7: the log goes on through 7."""
    votes = [vote(0, 1, 7, 9), vote(1, 1, 5), vote(2, 1, 5)]

    assert chosen_replica(5, *votes) is None
    assert chosen_replica(5, *votes, vote(3, 1, 4)) == 0


def test_whoever_missed_a_view_nacks_what_was_prepared_in_it() -> None:
    """Its disk forgot a tail of view 1; it acknowledged nothing of view 4, which a sound log shows from its start."""
    assert chosen_replica(3, vote(0, 1, 4, LOST_TAIL), vote(1, 4, 6)) == 1


def test_whoever_missed_a_view_does_not_nack_what_is_older() -> None:
    """Nobody shows with which log view 4 began: operation 4 may be of view 1, and committed there."""
    damaged_leader = vote(0, 4, 3, LOST_TAIL, last_view=1)
    reaching = vote(0, 4, 3, LOST_TAIL, last_view=4)

    assert chosen_replica(5, damaged_leader, vote(1, 1, 6), vote(2, 1, 6, LOST_TAIL), vote(3, 1, 2, LOST_TAIL)) is None
    assert chosen_replica(5, reaching, vote(1, 1, 6), vote(2, 1, 6, LOST_TAIL), vote(3, 1, 2, LOST_TAIL)) == 0


def test_a_later_log_view_of_few_is_passed_over() -> None:
    """Only one of three was in view 4: nothing was committed there, the two sound logs of view 1 decide."""
    assert chosen_replica(3, vote(0, 4, 3, LOST_TAIL), vote(1, 1, 6), vote(2, 1, 5)) == 1


def test_no_log_without_what_a_voter_knows_committed() -> None:
    assert chosen_replica(3, vote(0, 2, 3, 3), vote(1, 1, 5, LOST_TAIL, commit=5)) is None


def test_so_many_nacks_that_the_others_are_no_quorum() -> None:
    configuration = Group(5).configuration

    assert not nacks.enough_nacks(configuration, [ReplicaIndex(0), ReplicaIndex(1)])
    assert nacks.enough_nacks(configuration, [ReplicaIndex(0), ReplicaIndex(1), ReplicaIndex(2)])
