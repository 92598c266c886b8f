"""The simulated writer: one job at a time, promises only after the sync."""

from collections.abc import Sequence
from random import Random

import pytest

from vr.configuration import Configuration, Member
from vr.log import make_entry
from vr.ready import DurableState, Ready
from vr.simulator.disk import SimFileSystem
from vr.simulator.errors import Violation
from vr.simulator.node_log import NodeLog
from vr.simulator.schedule import SECOND_US
from vr.simulator.story import Telling
from vr.simulator.swarm import Swarm
from vr.simulator.world import World
from vr.types import GroupId, OpNumber, ReplicaId


class Writer:
    """A log on a simulated disk, reopened at will."""

    def __init__(self) -> None:
        member = Member(replica_id=ReplicaId(bytes(16)), node_key=b"k")
        self.configuration = Configuration(group=GroupId(b"g" * 16), members=(member,))
        self.world = World(Random(1), Swarm(node_count=1), self.configuration, telling=Telling.NOTHING)
        self.disk = SimFileSystem(Random(1))
        self.done: list[int] = []
        self.parent = self.configuration.genesis_checksum()
        self.op = 0
        self.open()

    def open(self) -> None:
        self.log = NodeLog(
            self.world,
            0,
            file_system=self.disk,
            on_durable=self.on_durable,
            guard=lambda action, *arguments: action(*arguments),
            boundary=lambda: None,
        )
        self.restored = self.log.restored(None)

    def on_durable(self, readys: Sequence[Ready]) -> None:
        self.done += [ready.token for ready in readys if ready.token is not None]

    def ready(self) -> Ready:
        self.op += 1
        view = self.configuration.initial_view()
        entry = make_entry(
            view=view,
            op=OpNumber(self.op),
            commit=OpNumber(0),
            parent=self.parent,
            timestamp_us=self.op,
            requests=[],
        )
        self.parent = entry.checksum
        meta = DurableState(
            view=view,
            log_view=view,
            commit=OpNumber(0),
            base_op=OpNumber(0),
            base_checksum=self.configuration.genesis_checksum(),
        )
        return Ready(token=self.op, append=[entry], meta=meta if self.op == 1 else None)

    def run(self) -> None:
        self.world.schedule.run(self.world.schedule.now_us + SECOND_US)


def test_a_token_is_done_after_its_sync_and_not_before() -> None:
    writer = Writer()
    writer.log.enqueue(writer.ready())

    assert writer.done == []
    assert not writer.log.is_idle
    writer.run()
    assert writer.done == [1]
    assert writer.log.is_idle


def test_what_queues_up_during_a_sync_is_one_job_in_order() -> None:
    writer = Writer()
    for _ in range(4):
        writer.log.enqueue(writer.ready())
    writer.run()

    assert writer.done == [1, 2, 3, 4]


def test_untokened_messages_wait_for_what_is_under_way() -> None:
    writer = Writer()
    free = writer.log.tie_to_last(Ready(token=None))
    writer.log.enqueue(writer.ready())

    assert not free
    assert writer.log.tie_to_last(Ready(token=None))


def test_a_reopened_log_gives_back_what_was_synced() -> None:
    writer = Writer()
    writer.log.enqueue(writer.ready())
    writer.log.enqueue(writer.ready())
    writer.run()
    writer.disk.lose_power()
    writer.open()

    assert [entry.op for entry in writer.restored.entries] == [1, 2]
    assert writer.restored.head_certain


def test_a_log_that_forgets_is_a_violation() -> None:
    writer = Writer()
    writer.log.enqueue(writer.ready())
    writer.run()
    for name in writer.disk.list("wal"):
        writer.disk.remove(f"wal/{name}")

    with pytest.raises(Violation, match="recovery_keeps_durable"):
        writer.open()
