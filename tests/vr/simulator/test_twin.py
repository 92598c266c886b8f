"""Twins live their own lives; equal essence means equal behaviour."""

from vr.configuration import Configuration, Member
from vr.log import Request
from vr.replica import Replica, Restored
from vr.simulator.service import JournalService
from vr.simulator.twin import essence, twin
from vr.types import ClientId, GroupId, ReplicaId, ReplicaIndex, RequestNumber, SessionNumber

REQUEST = Request(client=ClientId(b"c" * 16), session=SessionNumber(0), number=RequestNumber(0), body=b"")


def make_replica(seed: int = 1) -> Replica:
    members = (Member(replica_id=ReplicaId(b"r" * 16), node_key=b"k"),)
    configuration = Configuration(group=GroupId(b"g" * 16), members=members)
    return Replica(configuration, ReplicaIndex(0), JournalService(), Restored.fresh(), now=0.0, seed=seed)


def finish(replica: Replica) -> int:
    while (ready := replica.ready(0.0)) is not None:
        if ready.token is not None:
            replica.storage_done(ready.token, 0.0)
    return replica.commit_number


def test_what_happens_to_one_does_not_happen_to_the_other() -> None:
    replica = make_replica()
    other = twin(replica)
    assert essence(replica) == essence(other)

    replica.submit([REQUEST], 0.0)

    assert finish(replica) == 1
    assert finish(other) == 0
    assert essence(replica) != essence(other)


def test_twins_that_do_the_same_stay_equal() -> None:
    replica = make_replica()
    replica.submit([REQUEST], 0.0)
    other = twin(replica)

    assert finish(replica) == finish(other) == 1
    assert essence(replica) == essence(other)


def test_essence_can_be_hashed() -> None:
    replica = make_replica()
    finish(replica)

    assert isinstance(hash(essence(replica)), int)
