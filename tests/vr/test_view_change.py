"""View changes, claim by claim (VRR 4.2)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.vr.group import Group, request
from vr import view_change
from vr.errors import DecodeError
from vr.messages import (
    Commit,
    DoViewChange,
    GetView,
    Message,
    Prepare,
    PrepareOk,
    StartView,
    StartViewChange,
    decode,
)
from vr.replica import Status
from vr.state import ReplicaState
from vr.types import Checksum, OpNumber, ReplicaIndex, ViewNumber


def sent(group: Group, kind: type[Message], source: int | None = None) -> list[Message]:  # type: ignore[valid-type]  # a union of classes
    """Messages of a kind that wait in hand."""
    found = [(origin, decode(data)) for origin, _, data in group.packets]
    return [message for origin, message in found if isinstance(message, kind) and source in (None, origin)]


def without(*kinds: type) -> Callable[[int, int, Message], bool]:
    return lambda _source, _target, message: not isinstance(message, kinds)


def state_of(group: Group, index: int) -> ReplicaState:
    return group.replica(index)._state


def next_primary(group: Group, views: int = 1) -> int:
    return group.configuration.primary_index(group.view(views))


def working_group(size: int = 3, requests: int = 2) -> tuple[Group, int]:
    """A group with a session at a backup that will not be the next primary, and some operations."""
    group = Group(size)
    home = next_primary(group, 2)
    session = group.register(home)
    for number in range(1, requests + 1):
        group.submit(home, request(session, number))
        group.settle()
    return group, session


def test_a_majority_replaces_a_dead_primary_and_keeps_what_was_answered() -> None:
    """VRR 4.2, correctness: every committed operation survives into the next view."""
    group, session = working_group()
    group.crash(group.first)

    group.suspect(group.first)
    group.settle()

    new = next_primary(group)
    assert group.replica(new).is_primary
    assert group.replica(new).view == group.view(1)
    group.submit(new, request(session, 3))
    group.settle()
    assert group.services[new].bodies == [b"body 1", b"body 2", b"body 3"]


def test_start_view_change_alone_changes_nothing_at_its_sender() -> None:
    """VRR 4.2 step 1. Unlike there: advice; one deaf replica disturbs nobody (defect 7)."""
    group, _ = working_group()
    deaf = group.backups()[0]
    group.cut = {(other, deaf) for other in range(3)}
    group.replica(deaf).suspect(ReplicaIndex(group.first), group.now)

    group.run(5)

    assert {group.replica(index).view for index in range(3)} == {group.view(0)}
    assert group.replica(deaf).status is Status.NORMAL


def test_advice_to_stay_or_go_back_is_ignored() -> None:
    """Defect 6: StartViewChange of our own view pushes nobody out of it."""
    group, _ = working_group()
    target, other = group.backups()

    for view in (group.view(0),):
        group.replica(target).step(StartViewChange(view=view, replica=ReplicaIndex(other)), group.now)
        group.replica(target).step(StartViewChange(view=view, replica=ReplicaIndex(group.first)), group.now)

    assert group.replica(target).status is Status.NORMAL
    assert group.replica(target).view == view


def test_a_vote_leaves_only_when_it_is_durable() -> None:
    """VRR 4.2 step 2 with durable views (defect 11): view and log are on disk before DoViewChange."""
    group, _ = working_group()
    group.held_disks = {0, 1, 2}

    group.suspect(group.first)
    group.settle()

    assert group.replica(group.backups()[0]).status is Status.VIEW_CHANGE
    assert sent(group, DoViewChange) == []
    group.held_disks = set()
    group.sync(group.backups()[0])
    group.collect(group.backups()[0])
    assert len(sent(group, DoViewChange)) == 2, "to everybody"


def test_a_vote_is_the_same_within_a_view_also_after_a_restart() -> None:
    group, _ = working_group()
    voter = group.backups()[0]
    group.suspect(group.first)
    for index in group.backups():
        group.collect(index)
    group.deliver(lambda _s, target, _m: target == voter)
    group.collect(voter)
    group.sync(voter)
    group.collect(voter)
    first = sent(group, DoViewChange, voter)[0]
    group.packets.clear()

    group.crash(voter)
    group.start(voter)
    group.collect(voter)

    assert sent(group, DoViewChange, voter)[0] == first
    assert group.replica(voter).status is Status.VIEW_CHANGE


def test_a_vote_lifts_whoever_was_left_behind() -> None:
    """A DoViewChange of a higher view takes a NORMAL replica along, without its own suspicion."""
    group, _ = working_group(5)
    group.crash(group.first)
    voters = [index for index in group.backups() if index != next_primary(group)][:3]
    for voter in voters:
        group.replica(voter).suspect(ReplicaIndex(group.first), group.now)

    group.settle()

    assert {group.replica(index).view for index in group.backups()} == {group.view(1)}
    assert {group.replica(index).status for index in group.backups()} == {Status.NORMAL}


def test_a_minority_elects_nobody() -> None:
    group, _ = working_group(5)
    alone = group.backups()[:2]
    group.cut = {(a, b) for a in range(5) for b in range(5) if (a in alone) != (b in alone)}
    for index in alone:
        group.replica(index).suspect(ReplicaIndex(group.first), group.now)

    group.run(10)

    assert all(group.replica(index).view == group.view(0) for index in range(5))


def test_a_view_whose_primary_dies_before_it_begins_is_left_at_once() -> None:
    """A second death within one view change does not cost the patience that a slow view change is given."""
    group, _ = working_group(5)
    first, second = group.first, next_primary(group)
    group.held_disks.add(second)
    group.crash(first)
    group.suspect(first)
    group.settle()
    left = {group.replica(index).status for index in group.backups() if index != second}
    group.crash(second)

    group.suspect(second)
    group.settle()

    assert left == {Status.VIEW_CHANGE}
    alive = set(range(5)) - {first, second}
    assert {group.replica(index).view for index in alive} == {group.view(2)}
    assert {group.replica(index).status for index in alive} == {Status.NORMAL}


def test_start_view_waits_for_a_durable_log_view() -> None:
    """VRR 4.2 step 3-4: the new primary serves only when its log view survives a crash."""
    group, _ = working_group()
    new = next_primary(group)
    group.crash(group.first)
    group.suspect(group.first)
    for _ in range(4):
        for index in group.backups():
            group.collect(index)
            if state_of(group, index).status is Status.VIEW_CHANGE:
                group.sync(index)
                group.collect(index)
        group.deliver()

    assert group.replica(new).is_primary
    assert not state_of(group, new).is_serving
    assert sent(group, StartView) == []
    group.collect(new)
    group.sync(new)
    group.collect(new)
    assert len(sent(group, StartView)) == 2


def test_an_uncommitted_operation_that_a_voter_has_goes_on() -> None:
    """VRR 4.2 step 3: the log of the highest log view, the longest; nothing possibly committed is dropped."""
    group, session = working_group()
    holder = group.backups()[0]
    group.submit(group.first, request(session, 3))
    group.collect(group.first)
    group.deliver(lambda _s, target, message: target == holder and isinstance(message, Prepare))
    group.crash(group.first)
    group.packets.clear()

    group.suspect(group.first)
    group.settle()

    assert all(group.services[index].bodies[-1] == b"body 3" for index in group.backups())


def test_an_operation_only_the_dead_primary_had_gives_way() -> None:
    """VRR 4.2 step 5: whoever returns replaces its log; the request is executed once, from its client's resend."""
    group, session = working_group()
    group.submit(group.first, request(session, 3, b"lost"))
    group.collect(group.first)
    group.sync(group.first)
    group.crash(group.first)
    group.suspect(group.first)
    group.settle()
    new = next_primary(group)
    group.submit(new, request(session, 3, b"kept"))
    group.settle()

    group.start(group.first)
    group.trust(group.first)
    group.run(3)

    assert [service.bodies for service in group.services] == [[b"body 1", b"body 2", b"kept"]] * 3


def test_a_restarted_primary_never_resumes_its_view() -> None:
    """Defect 22: it could give one viewstamp to two operations."""
    group, session = working_group()
    group.crash(group.first)

    group.start(group.first)
    group.run(1)

    assert group.replica(group.first).view == group.view(1)
    group.submit(next_primary(group), request(session, 3))
    group.settle()
    assert [len(service.bodies) for service in group.services] == [3, 3, 3]


def test_a_restarted_backup_stays_in_its_view() -> None:
    group, _ = working_group()
    back = group.backups()[0]
    group.crash(back)

    group.start(back)
    group.run(1)

    assert group.replica(back).view == group.view(0)
    assert group.replica(back).status is Status.NORMAL
    assert group.services[back].bodies == [b"body 1", b"body 2"]


def test_a_whole_group_restarts() -> None:
    """Defect 8: VRR 4.3 needs a majority that never stopped; durable views do not."""
    group, session = working_group()
    for index in range(3):
        group.crash(index)

    for index in range(3):
        group.start(index)
    group.run(5)

    primary = next(index for index in range(3) if group.replica(index).is_primary)
    group.submit(primary, request(session, 3))
    group.settle()
    assert [service.bodies for service in group.services] == [[b"body 1", b"body 2", b"body 3"]] * 3


def test_the_log_of_a_view_is_installed_once() -> None:
    """Defect 5: a StartView that comes again, or late, truncates nothing."""
    group, session = working_group()
    group.crash(group.first)
    group.suspect(group.first)
    kept: list[tuple[int, Message]] = []
    for _ in range(10):
        for index in group.backups():
            group.collect(index)
            group.sync(index)
            group.collect(index)
        kept += [(to, decode(data)) for _, to, data in group.packets if isinstance(decode(data), StartView)]
        group.deliver()
    target, start_view = next((to, message) for to, message in kept if group.replicas[to] is not None)
    group.submit(next_primary(group), request(session, 3))
    group.settle()
    head = group.replica(target).head_op

    group.replica(target).step(start_view, group.now)
    group.settle()

    assert group.replica(target).head_op == head
    assert group.replica(target).status is Status.NORMAL


def test_a_start_view_that_lacks_committed_operations_is_refused() -> None:
    """Peer input never breaks us: better to stand still than to give up what is committed."""
    group, _ = working_group()
    target = next(index for index in group.backups() if index != next_primary(group))
    liar = next_primary(group)
    lie = StartView(
        view=group.view(1), replica=ReplicaIndex(liar), head_op=OpNumber(0), commit=OpNumber(0),
        commit_checksum=group.configuration.genesis_checksum(), headers=b"",
    )  # fmt: skip

    group.replica(target).step(lie, group.now)

    assert group.replica(target).head_op == 3
    assert group.replica(target).view == group.view(0)
    assert group.replica(target).dropped["log_without_what_is_committed"] == 1


def test_a_start_view_from_somebody_else_than_its_primary_is_refused() -> None:
    group, _ = working_group()
    target = group.backups()[0]
    impostor = next(index for index in range(3) if index not in (target, next_primary(group)))
    log = group.replica(target)._state.log
    lie = StartView(
        view=group.view(1), replica=ReplicaIndex(impostor), head_op=log.head_op, commit=log.head_op,
        commit_checksum=log.head_checksum, headers=b"",
    )  # fmt: skip

    group.replica(target).step(lie, group.now)

    assert group.replica(target).view == group.view(0)


def test_a_primary_that_asks_what_is_going_on_is_left() -> None:
    """Its log is damaged, it does not lead; nobody waits until a client suffers."""
    group, _ = working_group()
    group.crash(group.first)
    ask = GetView(view=group.view(0), replica=ReplicaIndex(group.first), nonce=1)

    for index in group.backups():
        group.replica(index).step(ask, group.now)
    group.settle()

    assert {group.replica(index).view for index in group.backups()} == {group.view(1)}


def test_a_primary_that_has_left_for_a_later_view_is_left() -> None:
    group, _ = working_group()
    group.crash(group.first)
    ask = GetView(view=group.view(2), replica=ReplicaIndex(group.first), nonce=1)

    for index in group.backups():
        group.replica(index).step(ask, group.now)
    group.settle()

    assert all(group.replica(index).view >= group.view(2) for index in group.backups())


def test_a_single_unserved_backup_finds_followers() -> None:
    """The primary's node is alive, its replica is not: whoever is asked to leave asks the primary for a sign first."""
    group, session = working_group()
    group.replicas[group.first] = None
    home = group.backups()[0]

    group.submit(home, request(session, 3))
    group.run(8.0)

    assert group.replica(home).view > group.view(0)
    assert group.services[home].bodies[-1] == b"body 3"


def test_advice_from_beyond_the_next_view_is_followed_at_once() -> None:
    group, _ = working_group()
    target, other = group.backups()

    group.replica(target).step(StartViewChange(view=group.view(2), replica=ReplicaIndex(other)), group.now)

    assert group.replica(target).status is Status.VIEW_CHANGE
    assert group.replica(target).view == group.view(2)


def test_a_primary_without_a_quorum_steps_down() -> None:
    """It hears its backups, but they do not hear it: they follow its advice once that comes through."""
    group, session = working_group()
    group.cut = {(group.first, backup) for backup in group.backups()}
    group.submit(group.first, request(session, 3))
    group.run(2.5)
    assert group.replica(group.first).view == group.view(0)

    group.cut = set()
    group.run(1.0)

    assert all(service.bodies[-1] == b"body 3" for service in group.services)


def test_a_primary_whose_own_disk_stalls_steps_down() -> None:
    """A majority of others still lets it commit; but it must not lead (hashicorp/raft 503)."""
    group, session = working_group()
    group.held_disks = {group.first}
    group.submit(group.first, request(session, 3))
    group.run(1.0)
    assert group.services[group.first].bodies[-1] == b"body 3"

    group.run(3.0)

    assert {group.replica(index).view for index in group.backups()} == {group.view(1)}
    assert group.replica(next_primary(group)).is_primary


def test_a_wedged_room_changes_its_view_though_every_node_is_alive() -> None:
    group, session = working_group()
    homes = group.backups()
    deaf_to_requests = {(home, group.first) for home in homes}
    group.cut = deaf_to_requests
    other = group.register(homes[0]) if not deaf_to_requests else session

    group.submit(homes[0], request(other, 3))
    group.submit(homes[1], request(other, 3))
    group.run(4.0)

    assert group.replica(homes[0]).view > group.view(0)
    assert group.services[homes[0]].bodies[-1] == b"body 3"


def test_a_client_ahead_of_its_session_costs_no_view_change() -> None:
    """Its predecessor never comes: the client's fault, refused in the end, nobody else's outage."""
    group, session = working_group()

    for home in range(3):
        group.submit(home, request(session, 7))
    group.run(8.0)

    assert {group.replica(index).view for index in range(3)} == {group.view(0)}
    assert all(group.rejected[index] for index in range(3))


def test_an_old_view_cannot_commit_after_a_new_one_began() -> None:
    """VRR 4.2, correctness: a replica that left acknowledges nothing older."""
    group, session = working_group()
    old = group.first
    group.cut = {(old, other) for other in range(3)} | {(other, old) for other in range(3)}
    group.suspect(old)
    group.settle()
    group.submit(old, request(session, 3, b"too late"))
    group.settle()

    group.cut = set()
    group.trust(old)
    group.run(4.0)

    assert [service.bodies for service in group.services] in (
        [[b"body 1", b"body 2", b"too late"]] * 3,
        [[b"body 1", b"body 2"]] * 3,
    )
    assert {group.replica(index).view for index in range(3)} == {group.view(1)}


def test_messages_of_another_epoch_are_dropped() -> None:
    group, _ = working_group()
    target, other = group.backups()
    view = ViewNumber(group.view(0) + (1 << 32))

    group.replica(target).step(StartViewChange(view=view, replica=ReplicaIndex(other)), group.now)
    group.replica(target).step(
        Commit(view=view, replica=ReplicaIndex(other), commit=OpNumber(9), head_op=OpNumber(9)), 2.0
    )

    assert group.replica(target).dropped["message_of_other_epoch"] == 2
    assert group.replica(target).view == group.view(0)


# --- the pure rules ---


@pytest.mark.parametrize(
    ("voters", "enough"), [([0], False), ([0, 1], True), ([1, 2], False), ([0, 0, 0], False), ([0, 1, 2], True)]
)
def test_a_quorum_is_of_distinct_replicas_ourselves_included(voters: list[int], enough: bool) -> None:
    configuration = Group().configuration

    indexes = [ReplicaIndex(voter) for voter in voters]

    assert view_change.is_view_change_quorum(configuration, ReplicaIndex(0), indexes) is enough


def test_headers_that_do_not_chain_are_refused() -> None:
    group, session = working_group()
    group.cut = {(group.first, backup) for backup in group.backups()}
    group.submit(group.first, request(session, 3))
    group.submit(group.first, request(session, 4))
    group.collect(group.first)
    good = view_change.make_start_view(state_of(group, group.first), nonce=0)
    assert len(view_change.unpack_headers(good)) == good.head_op - good.commit > 0
    replace = msgspec.structs.replace
    bad = [
        replace(good, commit_checksum=Checksum(b"?" * 16)),
        replace(good, headers=good.headers[:-1]),
        replace(good, head_op=OpNumber(good.head_op + 1)),
        replace(good, commit=OpNumber(good.head_op + 5)),
        replace(good, headers=bytes(len(good.headers))),
    ]

    for message in bad:
        with pytest.raises(DecodeError):
            view_change.unpack_headers(message)


def test_a_malformed_vote_counts_for_nothing() -> None:
    group, _ = working_group()
    new = next_primary(group)
    other = next(index for index in group.backups() if index != new)
    bad = DoViewChange(
        view=group.view(1), replica=ReplicaIndex(other), log_view=ViewNumber(1), head_op=OpNumber(5),
        commit=OpNumber(0), commit_checksum=Checksum(b"c" * 16), headers=b"", nacks_above=OpNumber(5),
    )  # fmt: skip

    group.replica(new).step(bad, group.now)
    group.sync(new)
    group.collect(new)
    group.sync(new)

    assert group.replica(new).dropped["do_view_change_malformed"] == 1
    assert group.replica(new).status is Status.VIEW_CHANGE


def test_acknowledgements_of_the_old_view_do_not_count_in_the_new() -> None:
    group, session = working_group()
    new = next_primary(group)
    group.crash(group.first)
    group.suspect(group.first)
    group.settle()
    other = next(index for index in group.backups() if index != new)
    group.cut = {(new, other), (other, new)}
    group.submit(new, request(session, 3))
    group.settle()
    log = state_of(group, new).log
    stale = PrepareOk(
        view=group.view(0), replica=ReplicaIndex(other), op=log.head_op, checksum=log.head_checksum, commit=OpNumber(0)
    )

    group.replica(new).step(stale, group.now)

    assert group.replica(new).commit_number == log.head_op - 1


def test_advice_for_a_later_view_is_joined_for_as_long_as_it_is_given() -> None:
    """Two replicas between views and one that is a view further ahead: nobody has a majority for any view but the highest."""
    group, _ = working_group(5)
    index, ahead = group.backups()[:2]
    replica = group.replica(index)
    later = ViewNumber(group.view(0) + 2)
    said: list[StartViewChange] = []
    for tenth in range(40):
        now = group.now + tenth / 10
        replica.step(StartViewChange(view=later, replica=ReplicaIndex(ahead)), now)
        replica.tick(now)
        while (ready := replica.ready(now)) is not None:
            said += [message for _, message in ready.send_now if isinstance(message, StartViewChange) and tenth > 20]
            if ready.token is not None:
                replica.storage_done(ready.token, now)

    assert {message.view for message in said} == {later}
