"""Each checker sees the violation that is its reason to be: one that cannot fail is worse than none."""

from collections import Counter
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from vr.configuration import Configuration, Member
from vr.log import Entry, Request, make_entry
from vr.messages import DoViewChange, GetChunk, Prepare, PrepareOk, StartView, encode
from vr.ready import Checkpoint, CommittedOp, DurableState, Ready, Reply, SnapshotPart
from vr.replica import Replica
from vr.simulator.checkers import Checkers, writes_of
from vr.simulator.errors import Violation
from vr.simulator.ledger import Write
from vr.state_transfer import make_offer
from vr.types import (
    Checksum,
    ClientId,
    GroupId,
    OpNumber,
    ReplicaId,
    ReplicaIndex,
    RequestNumber,
    SessionNumber,
    ViewNumber,
)

CLIENT = ClientId(b"c" * 16)
CONFIGURATION = Configuration(
    group=GroupId(b"g" * 16),
    members=tuple(Member(replica_id=ReplicaId(bytes([index]) * 16), node_key=b"k") for index in range(3)),
)
VIEW = CONFIGURATION.initial_view()
SESSION = SessionNumber(1 << 8)


def request(number: int = 1, session: int = SESSION, body: bytes = b"x") -> Request:
    return Request(client=CLIENT, session=SessionNumber(session), number=RequestNumber(number), body=body)


def entry(op: int, parent: bytes, *, view: int = VIEW, time: int = 0, requests: tuple[Request, ...] = ()) -> Entry:
    return make_entry(
        view=ViewNumber(view),
        op=OpNumber(op),
        commit=OpNumber(0),
        parent=Checksum(parent),
        timestamp_us=time or op,
        requests=list(requests),
    )


FIRST = entry(1, CONFIGURATION.genesis_checksum(), requests=(request(0, 0, b""),))
SECOND = entry(2, FIRST.checksum, requests=(request(),))


def committed(made: Entry, results: tuple[bytes, ...] = ()) -> CommittedOp:
    executed = [item for item in made.requests() if item.session != 0]
    return CommittedOp(entry=made, requests=executed, results=list(results), mark=0)


def checkers_with(*entries: Entry, nodes: tuple[int, ...] = (0, 1, 2)) -> Checkers:
    checkers = Checkers(CONFIGURATION)
    for node in nodes:
        checkers.ledger.on_written(node, [writes_of(Ready(token=1, append=entries))])
        checkers.ledger.on_synced(node)
    return checkers


def replica(**fields: object) -> Replica:
    usual = {"view": VIEW, "log_view": VIEW, "commit_number": 0, "head_op": 0, "is_primary": False}
    usual["configuration"] = CONFIGURATION
    return cast(
        "Replica",
        SimpleNamespace(
            **{**usual, "pending_count": 0, "queue_count": 0, "awaits_stop_sign": False, "dropped": Counter(), **fields}
        ),
    )


def test_a_right_history_passes() -> None:
    checkers = checkers_with(FIRST, SECOND)

    for node in range(3):
        checkers.on_ready(node, Ready(token=1, append=[FIRST, SECOND]))
        checkers.on_ready(node, Ready(token=None, committed=[committed(FIRST), committed(SECOND, (b"r",))]))
        checkers.logs.on_applied(node, OpNumber(1), b"state")
    reply = Reply(client=CLIENT, session=SESSION, number=RequestNumber(1), op=OpNumber(2), result=b"r")
    checkers.on_ready(0, Ready(token=None, replies=[reply, reply]))


def test_two_entries_of_one_viewstamp() -> None:
    checkers = checkers_with()
    checkers.on_ready(0, Ready(token=1, append=[FIRST]))

    with pytest.raises(Violation, match="one_entry_per_viewstamp"):
        checkers.on_ready(1, Ready(token=1, append=[entry(1, CONFIGURATION.genesis_checksum(), time=9)]))


def test_two_committed_ops() -> None:
    checkers = checkers_with(FIRST)
    checkers.on_ready(0, Ready(token=None, committed=[committed(FIRST)]))

    with pytest.raises(Violation, match="prefixes_equal"):
        checkers.logs.on_committed(1, committed(entry(1, CONFIGURATION.genesis_checksum(), view=VIEW + 1)))


def test_a_committed_op_that_does_not_follow_its_predecessor() -> None:
    with pytest.raises(Violation, match="chain_unbroken"):
        checkers_with().logs.on_committed(0, committed(entry(1, b"p" * 16)))


def test_a_timestamp_that_goes_back() -> None:
    checkers = checkers_with()
    checkers.logs.on_committed(0, committed(FIRST))

    with pytest.raises(Violation, match="time_ascends"):
        checkers.logs.on_committed(0, committed(entry(2, FIRST.checksum, time=1)))


def test_committed_on_too_few_disks() -> None:
    checkers = checkers_with(FIRST, nodes=(2,))

    with pytest.raises(Violation, match="committed_on_quorum"):
        checkers.on_ready(0, Ready(token=None, committed=[committed(FIRST)]))


def test_different_states_and_checkpoints() -> None:
    checkers = checkers_with()
    checkers.logs.on_applied(0, OpNumber(1), b"a")
    checkers.logs.on_checkpoint(0, OpNumber(1), b"a")

    with pytest.raises(Violation, match="states_equal"):
        checkers.logs.on_applied(1, OpNumber(1), b"b")
    with pytest.raises(Violation, match="states_equal"):
        checkers.logs.on_checkpoint(1, OpNumber(1), b"b")


@pytest.mark.parametrize(
    "message",
    [
        PrepareOk(view=VIEW, replica=ReplicaIndex(0), op=OpNumber(1), checksum=FIRST.checksum, commit=OpNumber(0)),
        PrepareOk(
            view=ViewNumber(VIEW + 1),
            replica=ReplicaIndex(0),
            op=OpNumber(0),
            checksum=CONFIGURATION.genesis_checksum(),
            commit=OpNumber(0),
        ),
        Prepare(view=ViewNumber(VIEW + 1), replica=ReplicaIndex(0), commit=OpNumber(0), data=FIRST.data),
        StartView(
            view=ViewNumber(VIEW + 1),
            replica=ReplicaIndex(0),
            head_op=OpNumber(0),
            commit=OpNumber(0),
            commit_checksum=CONFIGURATION.genesis_checksum(),
            headers=b"",
        ),
        DoViewChange(
            view=ViewNumber(VIEW + 1),
            replica=ReplicaIndex(0),
            log_view=VIEW,
            head_op=OpNumber(0),
            commit=OpNumber(0),
            commit_checksum=CONFIGURATION.genesis_checksum(),
            headers=b"",
            nacks_above=OpNumber(0),
        ),
        DoViewChange(
            view=VIEW,
            replica=ReplicaIndex(0),
            log_view=VIEW,
            head_op=OpNumber(1),
            commit=OpNumber(0),
            commit_checksum=CONFIGURATION.genesis_checksum(),
            headers=FIRST.header.pack(),
            nacks_above=OpNumber(1),
        ),
    ],
)
def test_a_message_that_promises_what_is_not_durable(message: PrepareOk | Prepare | StartView | DoViewChange) -> None:
    with pytest.raises(Violation, match="tied_to_storage"):
        checkers_with().on_send(0, message)


def test_the_same_promises_when_they_are_durable() -> None:
    checkers = checkers_with(FIRST)
    checkers.ledger.on_written(0, [Write(view=VIEW + 1, log_view=VIEW)])
    checkers.ledger.on_synced(0)

    checkers.on_send(
        0, PrepareOk(view=VIEW, replica=ReplicaIndex(0), op=OpNumber(1), checksum=FIRST.checksum, commit=OpNumber(0))
    )
    checkers.on_send(0, vote(FIRST.header.pack()))


def vote(headers: bytes, commit: int = 0) -> DoViewChange:
    return DoViewChange(
        view=ViewNumber(VIEW + 1),
        replica=ReplicaIndex(0),
        log_view=VIEW,
        head_op=OpNumber(1),
        commit=OpNumber(commit),
        commit_checksum=CONFIGURATION.genesis_checksum(),
        headers=headers,
        nacks_above=OpNumber(1),
    )


def test_two_votes_in_one_view() -> None:
    checkers = checkers_with(FIRST)
    checkers.ledger.on_written(0, [Write(view=VIEW + 1, log_view=VIEW)])
    checkers.ledger.on_synced(0)
    checkers.on_send(0, vote(FIRST.header.pack()))

    with pytest.raises(Violation, match="do_view_change_frozen"):
        checkers.on_send(0, vote(b"", commit=1))


@pytest.mark.parametrize("field", ["view", "log_view", "commit_number"])
def test_positions_that_go_back(field: str) -> None:
    checkers = checkers_with()
    checkers.on_stepped(0, replica(view=9, log_view=9, commit_number=9))

    with pytest.raises(Violation, match="monotone"):
        checkers.on_stepped(0, replica(**{"view": 9, "log_view": 9, "commit_number": 9, field: 8}))


def test_a_log_view_above_the_view() -> None:
    with pytest.raises(Violation, match="monotone"):
        checkers_with().on_stepped(0, replica(view=1, log_view=2))


def test_two_primaries_of_a_view() -> None:
    checkers = checkers_with()
    checkers.on_stepped(0, replica(is_primary=True))

    with pytest.raises(Violation, match="one_primary_per_view"):
        checkers.on_stepped(1, replica(is_primary=True))


def test_a_primary_that_begins_its_view_with_acknowledgements_of_an_older_one() -> None:
    checkers = checkers_with()
    acknowledged = {1: OpNumber(-1), 2: OpNumber(4)}
    leader = replica(is_primary=True, view=9, log_view=9, peer_standing=lambda index: (acknowledged[index], False))

    with pytest.raises(Violation, match="counts_its_own_view"):
        checkers.on_stepped(0, leader)

    checkers.ledger.disks[2].log_view = 9  # it has come into the view, and may have acknowledged before we look
    checkers.on_stepped(0, leader)


@pytest.mark.parametrize(
    "overflow",
    [
        {"pending_count": 1 << 20},
        {"queue_count": 1 << 20},
        {"is_primary": True, "head_op": 9},
        {"dropped": Counter(state_machine_diverged=1)},
    ],
)
def test_overfull_queues(overflow: dict[str, object]) -> None:
    with pytest.raises(Violation, match="bounded"):
        checkers_with().on_stepped(0, replica(**overflow))


def sessions_with_one_op() -> Checkers:
    checkers = checkers_with(FIRST, SECOND)
    checkers.on_ready(0, Ready(token=None, committed=[committed(FIRST), committed(SECOND, (b"r",))]))
    return checkers


def test_a_request_executed_twice() -> None:
    checkers = sessions_with_one_op()

    with pytest.raises(Violation, match="exactly_once"):
        checkers.sessions.on_committed(committed(entry(3, SECOND.checksum, requests=(request(),)), (b"r",)))


@pytest.mark.parametrize(("op", "result"), [(2, b"other"), (1, b"r")])
def test_an_answer_that_is_not_the_result(op: int, result: bytes) -> None:
    reply = Reply(client=CLIENT, session=SESSION, number=RequestNumber(1), op=OpNumber(op), result=result)

    with pytest.raises(Violation, match="reply_right"):
        sessions_with_one_op().sessions.on_reply(reply)


def test_a_session_that_was_never_registered() -> None:
    reply = Reply(client=CLIENT, session=SessionNumber(7 << 8), number=RequestNumber(0), op=OpNumber(7), result=b"")

    with pytest.raises(Violation, match="reply_right"):
        sessions_with_one_op().sessions.on_reply(reply)


def test_an_answer_that_changes() -> None:
    checkers = sessions_with_one_op()
    reply = Reply(client=CLIENT, session=SESSION, number=RequestNumber(1), op=OpNumber(2), result=b"r")
    checkers.sessions.acknowledged[(CLIENT, SESSION, 1)] = (2, b"before")

    with pytest.raises(Violation, match="reply_final"):
        checkers.sessions.on_reply(reply)


def test_an_order_against_real_time() -> None:
    checkers = checkers_with()
    checkers.sessions.on_acknowledged(5, floor_op=0)

    assert checkers.sessions.acknowledged_op_max == 5
    with pytest.raises(Violation, match="real_time"):
        checkers.sessions.on_acknowledged(5, floor_op=5)


def test_writes_of_a_ready() -> None:
    state = DurableState(
        view=ViewNumber(3),
        log_view=ViewNumber(2),
        commit=OpNumber(0),
        base_op=OpNumber(0),
        base_checksum=FIRST.checksum,
        truncate_above=OpNumber(1),
    )

    write = writes_of(Ready(token=1, append=[FIRST], meta=state))

    assert (write.view, write.log_view, write.truncate_above) == (3, 2, 1)
    assert [mark.op for mark in write.marks] == [1]


def test_a_chunk_that_is_kept_is_not_asked_for_again_unless_it_has_rotted() -> None:
    checkers = checkers_with()
    checkpoint = Checkpoint(
        op=OpNumber(4), checksum=Checksum(bytes(16)), timestamp_us=1, sessions=b"", service=b"s" * 99
    )
    offer = make_offer(ViewNumber(VIEW), ReplicaIndex(0), checkpoint, chunk_bytes=64)
    data = msgspec.msgpack.encode(checkpoint)[:64]
    part = SnapshotPart(offer=encode(offer), number=0, data=data)
    ask = GetChunk(view=ViewNumber(VIEW), replica=ReplicaIndex(1), op=OpNumber(4), number=0, chunk_bytes=64)
    checkers.parts.on_kept(1, {0: part})

    with pytest.raises(Violation, match="fetched_once"):
        checkers.on_send(1, ask)

    checkers.on_send(2, ask)
    checkers.parts.on_kept(1, {0: msgspec.structs.replace(part, data=b"?" + data[1:])})
    checkers.on_send(1, ask)


def test_a_primary_short_of_space_that_takes_more_than_it_had_taken() -> None:
    checkers = checkers_with()
    checkers.space.on_noted(0, is_short=True)

    def made(op: int) -> None:
        checkers.on_stepped(0, replica(is_primary=True, queue_count=1, head_op=op, commit_number=op))

    made(3)
    made(4)
    with pytest.raises(Violation, match="refuses_when_full"):
        made(5)

    checkers.space.on_noted(0, is_short=False)
    made(9)


def test_an_epoch_that_hardly_anybody_has_the_log_for_is_a_violation() -> None:
    narrow = msgspec.structs.replace(CONFIGURATION, pipeline_ops_max=1)
    following = narrow.successor(CONFIGURATION.members[1:])
    for nodes in ((0, 1, 2), (0, 1)):
        checkers = checkers_with(FIRST, nodes=nodes)
        checkers.logs.on_committed(0, committed(FIRST))
        if 2 in nodes:
            checkers.on_reconfigured(following, OpNumber(2))
        else:
            with pytest.raises(Violation, match="ready_when_reconfigured"):
                checkers.on_reconfigured(following, OpNumber(2))
