from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from tests.vr.host.cluster import OWN, PEER, THIRD, Journal
from vr.configuration import Configuration, Member
from vr.host.embedder import HostOptions
from vr.host.hosted_group import HostedGroup
from vr.host.limits import MARK_AFTER_IDLE_S, SYNC_STALL_S
from vr.host.loop import Loop
from vr.host.peer_frame import decode_peer_frame
from vr.host.writer import Job, MarkJob, WriteJob
from vr.log import Request
from vr.messages import Message, Prepare, PrepareOk, decode
from vr.ready import CommittedOp, EpochEnd, Rejected, Reply
from vr.replica import Replica, Restored, Status
from vr.types import ClientId, GroupId, OpNumber, ReplicaId, ReplicaIndex, RequestNumber, SessionNumber


class ManualWriter:
    """In the place of the thread: jobs wait until the test says that they are done."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.live_segments = 1
        self.wants_spare = False
        self.free_bytes = 1 << 40
        self.is_quick = False
        self.written_here: list[WriteJob] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def may_write_here(self, size: int) -> bool:
        return self.is_quick and not self.jobs

    def write_here(self, job: WriteJob) -> bool:
        self.written_here.append(job)
        return True


class Rig:
    """A loop with a group of three whose peers are the test."""

    def __init__(self, groups: int = 1) -> None:
        self.sent: list[tuple[ReplicaId, Message]] = []
        self.frames = 0
        self.replies: list[Reply] = []
        self.committed: list[CommittedOp] = []
        self.loop = Loop(OWN, self, self, options=HostOptions(), seed=1)
        self.writer = ManualWriter()
        self.loop.writer = self.writer  # type: ignore[assignment]  # a stand-in that obeys the test
        self.groups = [self._group(index) for index in range(groups)]

    def _group(self, index: int) -> HostedGroup:
        """We are the primary of its first view."""
        candidates = (GroupId(bytes([index, salt]) + bytes(14)) for salt in range(256))
        members = tuple(Member(one, b"") for one in (OWN, PEER, THIRD))
        configuration = next(
            made
            for made in (Configuration(group=group, members=members) for group in candidates)
            if made.primary_index(made.initial_view()) == 0
        )
        replica = Replica(configuration, ReplicaIndex(0), Journal(b""), Restored.fresh(), now=0.0, seed=1)
        hosted = HostedGroup(configuration, b"", replica, checkpoint_op=OpNumber(0))
        self.loop.add(hosted)
        return hosted

    def send(self, peer: ReplicaId, frame: bytes) -> None:
        self.frames += 1
        self.sent += [(peer, decode(message)) for _, message in decode_peer_frame(frame)]

    def on_committed(self, group: GroupId, operations: Sequence[CommittedOp]) -> None:
        self.committed += operations

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        self.replies.append(reply)

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        pytest.fail(f"rejected {rejected}")

    def on_epoch_end(self, group: GroupId, end: EpochEnd) -> Sequence[tuple[int, bytes]]:
        return ()

    def on_status(self, group: GroupId) -> None:
        pass

    def settle(self) -> None:
        """The disk does everything it was asked for."""
        while self.writer.jobs or self.loop.has_more:
            if self.writer.jobs:
                self.loop.on_job_done(self.writer.jobs.pop(0), ())
            self.loop.turn()

    def submit(self, hosted: HostedGroup, *numbers: int) -> None:
        client = ClientId(bytes(16))
        requests = [Request(client, SessionNumber(0), RequestNumber(0), b"") for _ in numbers]
        self.loop.submitted.append((hosted, requests))

    def prepares(self) -> list[tuple[ReplicaId, Message]]:
        return [(peer, message) for peer, message in self.sent if isinstance(message, Prepare)]


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    rig.loop.turn()
    rig.settle()
    rig.sent.clear()
    rig.frames = 0
    return rig


async def test_prepares_leave_before_the_own_disk_is_asked_to_wait(rig: Rig) -> None:
    rig.writer.is_quick = True
    rig.submit(rig.groups[0], 0)

    rig.loop.turn()

    assert [peer for peer, _ in rig.prepares()] == [PEER, THIRD]
    assert [type(job) for job in rig.writer.jobs] == [WriteJob], "through the thread: the links must run meanwhile"
    assert rig.writer.written_here == []


async def test_nothing_is_answered_before_a_majority_has_it_on_disk(rig: Rig) -> None:
    hosted = rig.groups[0]
    rig.submit(hosted, 0)
    rig.loop.turn()
    prepare = rig.prepares()[0][1]
    assert isinstance(prepare, Prepare)
    entry = hosted.replica._state.log.get(OpNumber(1))
    assert entry is not None
    acknowledgement = PrepareOk(
        view=prepare.view,
        replica=ReplicaIndex(1),
        op=OpNumber(1),
        checksum=entry.checksum,
        commit=OpNumber(0),
    )

    rig.loop.inbox.append((hosted, hosted.configuration.members[acknowledgement.replica].replica_id, acknowledgement))
    rig.loop.turn()
    assert rig.replies == [], "one peer is no majority"
    rig.settle()

    assert [reply.op for reply in rig.replies] == [1]
    assert [operation.entry.op for operation in rig.committed] == [1]


async def test_what_comes_while_a_sync_runs_goes_into_one_next_write() -> None:
    rig = Rig(groups=5)
    rig.loop.turn()
    rig.settle()
    rig.submit(rig.groups[0], 0)
    rig.loop.turn()
    assert len(rig.writer.jobs) == 1
    for hosted in rig.groups[1:]:
        rig.submit(hosted, 0)
        rig.loop.turn()
    assert len(rig.writer.jobs) == 1, "one sync at a time"

    rig.loop.on_job_done(rig.writer.jobs.pop(0), ())

    job = rig.writer.jobs[0]
    assert isinstance(job, WriteJob)
    assert len(job.records) == 4


async def test_messages_of_all_groups_share_a_frame_per_peer() -> None:
    rig = Rig(groups=5)
    rig.loop.turn()
    rig.settle()
    rig.frames = 0
    rig.sent.clear()
    for hosted in rig.groups:
        rig.submit(hosted, 0)

    rig.loop.turn()

    assert len(rig.prepares()) == 10
    assert rig.frames == 2


async def test_an_idle_log_gets_its_mark(rig: Rig, autojump_clock: trio.testing.MockClock) -> None:
    rig.submit(rig.groups[0], 0)
    rig.loop.turn()
    rig.loop.on_job_done(rig.writer.jobs.pop(0), ())
    rig.loop.turn()
    assert rig.writer.jobs == []
    assert rig.loop.next_deadline() <= trio.current_time() + MARK_AFTER_IDLE_S

    await trio.sleep(MARK_AFTER_IDLE_S * 2)
    rig.loop.turn()

    assert [type(job) for job in rig.writer.jobs] == [MarkJob]


async def test_a_node_whose_disk_hangs_falls_silent(rig: Rig, autojump_clock: trio.testing.MockClock) -> None:
    async def frames_during(seconds: float) -> int:
        before = rig.frames
        for _ in range(int(seconds * 10)):
            await trio.sleep(0.1)
            rig.loop.neighbours.on_heard(PEER, trio.current_time())
            rig.loop.neighbours.on_heard(THIRD, trio.current_time())
            if trio.current_time() >= rig.loop.neighbours.next_tick:
                rig.loop._take_fates(trio.current_time())
        return rig.frames - before

    assert await frames_during(2.0) >= 6
    rig.submit(rig.groups[0], 0)
    rig.loop.turn()
    await trio.sleep(SYNC_STALL_S)

    assert await frames_during(2.0) == 0
    rig.loop.on_job_done(rig.writer.jobs.pop(0), ())
    assert await frames_during(2.0) >= 6


async def test_a_view_change_is_timed_from_leaving_until_at_work_again(rig: Rig) -> None:
    hosted = rig.groups[0]
    for status, now in (
        (Status.VIEW_CHANGE, 1.0),
        (Status.VIEW_CHANGE, 2.0),
        (Status.NORMAL, 3.5),
        (Status.NORMAL, 4.0),
    ):
        hosted.replica._state.status = status
        rig.loop._time_view_change(hosted, now)

    assert list(rig.loop.statistics.view_changes_s) == [2.5]
