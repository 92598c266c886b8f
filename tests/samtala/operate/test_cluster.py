from __future__ import annotations

import msgspec
import pytest

from room_server.cluster_report import ClusterReport, Role
from samtala.operate.cluster import headline, judge_upgrade, rooms_of, state_of
from tests.samtala.operate.cluster_reports import node, report, vitals


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (report(), "all rooms survive 1 failure"),
        (report(node("a", vitals(margin=2)), node("b", vitals(led=0, margin=None))), "all rooms survive 2 failures"),
        (report(node("a", vitals(margin=2)), node("b", vitals(margin=0))), "some rooms survive no failure"),
        (report(node("a", vitals(margin=2, stopped=1))), "1 room without a majority: read-only"),
        (report(node("a", vitals(led=0, margin=None)), node("b", None, up=False)), "no room yet"),
    ],
)
def test_headline_is_what_the_worst_room_survives(seen: ClusterReport, words: str) -> None:
    assert headline(seen) == words


def test_rooms_are_counted_where_they_are_led() -> None:
    assert rooms_of(report(node("a", vitals(led=15)), node("b", vitals(led=27)), node("c", None))) == 42


def test_state_is_one_word_when_all_is_well() -> None:
    assert state_of(node("a")) == "ok"
    assert state_of(node("a", vitals(reason="draining"))) == "draining"
    assert state_of(node("a", None)) == "silent"
    assert state_of(node("a", None, up=False)) == "DOWN"


def test_every_server_of_a_healthy_cluster_may_be_stopped() -> None:
    verdict = judge_upgrade(report())

    assert verdict.is_good
    assert [stop.why_not for stop in verdict.nodes] == ["", "", ""]
    assert verdict.versions == ("0.4.1",)


@pytest.mark.parametrize(
    ("seen", "why_not"),
    [
        (
            report(node("a"), node("b", vitals(critical=("a", "b"))), node("c")),
            "a room led by b would lose its majority",
        ),
        (report(node("a"), node("b"), node("c", None)), "c has not told how it is"),
        (
            report(node("a"), node("b", vitals(reason="catching up: 1 rooms")), node("c")),
            "b is not ready yet: catching up",
        ),
        (report(node("a"), node("b"), node("c", up=False)), "the roster would lose its majority"),
        (report(node("a", up=False), node("b"), node("c")), "it is down already"),
    ],
)
def test_a_server_that_is_needed_now_is_not_stopped(seen: ClusterReport, why_not: str) -> None:
    verdict = judge_upgrade(seen)

    assert verdict.nodes[0].why_not.startswith(why_not)
    assert not verdict.is_good


def test_servers_without_a_vote_and_the_only_voter_are_not_needed_for_the_roster() -> None:
    verdict = judge_upgrade(report(node("a"), node("b", role=Role.STANDBY)))

    assert verdict.is_good


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (report(node("a"), node("b", vitals(protocol=2))), "servers speak different protocols (1, 2)"),
        (report(node("a", vitals(stopped=2)), node("b")), "2 rooms without a majority"),
    ],
)
def test_some_things_come_before_any_upgrade(seen: ClusterReport, problem: str) -> None:
    verdict = judge_upgrade(seen)

    assert verdict.problems[0].startswith(problem)
    assert not verdict.is_good


def test_a_server_of_the_older_version_holds_the_formats_back() -> None:
    nodes = [msgspec.structs.replace(node(name), level=level) for name, level in (("a", 2), ("b", 1), ("c", 2))]

    behind = judge_upgrade(report(*nodes)).formats

    assert behind.startswith("level 1; a later one when b knows it.")
    all_new = msgspec.structs.replace(report(nodes[0], nodes[2]), level=2)
    assert judge_upgrade(all_new).formats == "level 2, known to all"
