"""Normal operation, claim by claim (VRR 4.1)."""

from __future__ import annotations

from tests.vr.group import CLIENT, Group, request
from vr.messages import Commit, Prepare, PrepareOk
from vr.ready import RejectReason
from vr.types import ClientId, OpNumber, SessionNumber


def test_an_operation_is_executed_everywhere_once_and_answered(  # VRR 4.1 steps 1-7
) -> None:
    group = Group()
    session = group.register(group.first)

    group.submit(group.first, request(session, 1))
    group.settle()

    assert [service.bodies for service in group.services] == [[b"body 1"]] * 3
    assert [(reply.number, reply.result) for reply in group.replies[group.first]][-1] == (1, b"1")


def test_nothing_commits_before_a_majority_has_it_on_disk() -> None:
    """VRR 4.1 step 5, with our own disk counted by its own sync."""
    group = Group()
    session = group.register(group.first)
    group.held_disks = {0, 1, 2} - {group.backups()[0]}

    group.submit(group.first, request(session, 1))
    group.settle()
    assert group.services[group.first].bodies == []

    group.held_disks.discard(group.first)
    group.settle()
    assert group.services[group.first].bodies == [b"body 1"]


def test_the_primary_alone_commits_nothing() -> None:
    group = Group()
    session = group.register(group.first)
    group.cut = {(group.first, backup) for backup in group.backups()}

    group.submit(group.first, request(session, 1))
    group.settle()

    assert group.replica(group.first).head_op == 2
    assert group.replica(group.first).commit_number == 1


def test_one_backup_acknowledging_twice_is_not_a_majority_of_five() -> None:
    group = Group(5)
    session = group.register(group.first)
    only = group.backups()[0]
    group.submit(group.first, request(session, 1))
    group.collect(group.first)
    group.deliver(lambda _source, target, _message: target == only)
    group.sync(group.first)
    group.collect(only)
    group.sync(only)
    group.collect(only)
    acknowledgement = [packet for packet in group.packets if packet[0] == only]
    group.packets = acknowledgement * 3

    group.deliver()

    assert acknowledgement
    assert group.replica(group.first).commit_number == 1


def test_a_backup_acknowledges_only_what_is_durable() -> None:
    """VRR 4.1 step 4; vr.md §1: that entry, all before it, the view."""
    group = Group()
    session = group.register(group.first)
    backup = group.backups()[0]
    group.held_disks = {backup}
    group.submit(group.first, request(session, 1))
    group.collect(group.first)
    group.deliver()
    group.collect(backup)
    assert group.packets == []

    group.sync(backup)
    group.collect(backup)

    assert len(group.packets) == 1


def test_a_backup_that_misses_an_operation_fetches_it() -> None:
    group = Group()
    session = group.register(group.first)
    behind = group.backups()[0]
    group.submit(group.first, request(session, 1))
    group.collect(group.first)
    group.deliver(lambda _source, target, message: not (target == behind and isinstance(message, Prepare)))

    group.submit(group.first, request(session, 2))
    group.run(1)

    assert group.services[behind].bodies == [b"body 1", b"body 2"]


def test_a_backup_that_missed_the_last_word_is_reminded() -> None:
    group = Group()
    session = group.register(group.first)
    deaf = group.backups()[0]
    group.cut = {(group.first, deaf)}
    group.submit(group.first, request(session, 1))
    group.settle()
    assert group.services[deaf].bodies == []

    group.cut.clear()
    group.run(1)

    assert group.services[deaf].bodies == [b"body 1"]


def test_an_idle_group_that_agrees_sleeps() -> None:
    group = Group()
    session = group.register(group.first)
    group.submit(group.first, request(session, 1))

    group.run(2)

    assert {group.replica(index).next_deadline() for index in range(3)} == {float("inf")}


def test_a_group_with_a_dead_member_sleeps_too() -> None:
    group = Group()
    session = group.register(group.first)
    group.run(1)
    dead = group.backups()[0]
    group.crash(dead)
    group.suspect(dead)
    group.submit(group.first, request(session, 1))

    group.run(2)

    assert group.replica(group.first).next_deadline() == float("inf")


def test_the_pipeline_never_holds_more_than_the_groups_depth() -> None:
    group = Group(pipeline_ops_max=2)
    session = group.register(group.first)
    group.cut = {(group.first, backup) for backup in group.backups()}

    for number in range(1, 6):
        group.submit(group.first, request(session, number))
        group.settle()

    assert group.replica(group.first).head_op - group.replica(group.first).commit_number == 2
    assert group.replica(group.first).queue_count == 3


def test_waiting_requests_become_one_batch() -> None:
    group = Group()
    session = group.register(group.first)
    before = group.replica(group.first).head_op

    group.submit(group.first, *(request(session, number) for number in range(1, 21)))
    group.settle()

    assert group.replica(group.first).head_op == before + 1
    assert len(group.services[0].bodies) == 20


def test_one_message_object_goes_to_all_backups() -> None:
    group = Group()
    session = group.register(group.first)
    group.submit(group.first, request(session, 1))

    ready = group.replica(group.first).ready(group.now)

    assert ready is not None
    assert len(ready.send_now) == 2
    assert ready.send_now[0][1] is ready.send_now[1][1]
    assert isinstance(ready.send_now[0][1], Prepare)
    assert ready.send_now[0][1].data is ready.append[0].data


def test_acknowledgements_of_other_views_and_entries_do_not_count() -> None:
    group = Group()
    session = group.register(group.first)
    group.cut = {(group.first, backup) for backup in group.backups()}
    group.submit(group.first, request(session, 1))
    group.settle()
    primary, backup = group.replica(group.first), group.replica(group.backups()[0])
    op = primary.head_op

    for view, checksum in ((group.view(0), b"\1" * 16), (group.view(3), b"\1" * 16)):
        primary.step(
            PrepareOk(view=view, replica=backup.index, op=op, checksum=checksum, commit=OpNumber(0)),  # type: ignore[arg-type]  # a forgery
            group.now,
        )

    assert primary.commit_number == op - 1
    assert primary.dropped["prepare_ok_of_other_entry"] == 1


def test_a_commit_from_somebody_else_than_the_primary_is_ignored() -> None:
    group = Group()
    group.register(group.first)
    one, other = group.backups()
    victim = group.replica(one)
    before = victim.commit_number

    victim.step(
        Commit(view=victim.view, replica=group.replica(other).index, commit=OpNumber(99), head_op=OpNumber(99)),
        group.now,
    )

    assert victim.commit_number == before


def test_timestamps_never_go_back() -> None:
    group = Group()
    session = group.register(group.first)
    group.submit(group.first, request(session, 1))
    group.settle()
    group.now = 0.5

    group.submit(group.first, request(session, 2))
    group.settle()

    entries = group.disks[group.first].entries
    stamps = [entry.header.timestamp_us for entry in entries]
    assert stamps == sorted(set(stamps))


def test_requests_of_many_clients_keep_their_order_each() -> None:
    group = Group()
    clients = [ClientId(bytes([65 + place]) * 16) for place in range(3)]
    sessions = [group.register(place, client) for place, client in enumerate(clients)]

    for number in range(1, 6):
        for place in range(3):
            body = b"%d/%d" % (place, number)
            group.submit(place, request(sessions[place], number, body, clients[place]))
    group.run(1)

    for place in range(3):
        own = [body for body in group.services[0].bodies if body.startswith(b"%d/" % place)]
        assert own == [b"%d/%d" % (place, number) for number in range(1, 6)]
    assert group.services[0].bodies == group.services[1].bodies == group.services[2].bodies


def test_an_unknown_session_is_refused_not_forgotten() -> None:
    group = Group()
    group.register(group.first)

    group.submit(group.first, request(SessionNumber(77 << 8), 1))
    group.submit(group.backups()[0], request(SessionNumber(1 << 8 | 9), 1))
    group.settle()

    assert [item.reason for item in group.rejected[group.backups()[0]]] == [RejectReason.EVICTED]
    assert group.replies[group.first][0].client == CLIENT
