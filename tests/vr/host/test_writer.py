from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.vr.storage.memory_file_system import MemoryFileSystem
from tests.vr.storage.records import GROUP, entry
from vr.host.limits import FREE_CHECK_BYTES, FREE_CHECK_S, INLINE_BYTES_MAX
from vr.host.writer import Job, LogWriter, LookJob, MarkJob, PinsJob, ReleaseJob, SpareJob, WriteJob
from vr.storage.errors import StorageError, StoragePoisoned
from vr.storage.limits import PAGE_BYTES
from vr.storage.write_ahead_log import WriteAheadLog, WriteAheadLogOptions
from vr.types import GroupId


class Rig:
    """A writer over files in memory; `step` runs the next callback as the loop would."""

    def __init__(self) -> None:
        self.files = MemoryFileSystem()
        options = WriteAheadLogOptions(segment_bytes=16 * PAGE_BYTES, entropy=self.files.entropy)
        self.log, _ = WriteAheadLog.open(self.files, "wal", options=options)
        self.calls: queue.SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = queue.SimpleQueue()
        self.done: list[tuple[Job, Sequence[GroupId]]] = []
        self.failures: list[StorageError] = []
        self.free_bytes = 12345
        self.writer = LogWriter(
            self.log,
            call_soon=lambda function, *arguments: self.calls.put((function, arguments)),
            on_done=lambda job, pins: self.done.append((job, pins)),
            on_failed=self.failures.append,
            free_bytes=lambda: self.free_bytes,
        )

    def step(self) -> None:
        function, arguments = self.calls.get(timeout=10)
        function(*arguments)

    def do(self, job: Job) -> Sequence[GroupId]:
        self.writer.submit(job)
        self.step()
        assert self.done[-1][0] is job
        return self.done[-1][1]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.writer.close()


def write(op: int, size: int = 100) -> WriteJob:
    return WriteJob(records=[entry(op, size=size)], size=size)


def test_a_job_is_done_when_its_records_are_on_the_platter(rig: Rig) -> None:
    rig.do(write(1))

    assert rig.log.synced_lsn == 1
    assert rig.files.effects[-2:] == ["write", "sync"]


def test_jobs_complete_in_their_order(rig: Rig) -> None:
    jobs: list[Job] = [write(1), write(2), MarkJob(), write(3)]
    for job in jobs:
        rig.writer.submit(job)
    for _ in jobs:
        rig.step()

    assert [job for job, _ in rig.done] == jobs


def test_the_thread_recycles_marks_and_prepares(rig: Rig) -> None:
    for op in range(1, 30):
        rig.do(write(op, size=PAGE_BYTES))
    assert rig.do(PinsJob()) == [GROUP]
    before = rig.writer.live_segments

    rig.do(ReleaseJob(bases=[(GROUP, 29)]))
    rig.do(SpareJob())
    rig.do(MarkJob())

    assert rig.writer.live_segments < before
    assert not rig.writer.wants_spare
    assert rig.log.synced_lsn == rig.log.written_lsn


def test_the_loop_writes_by_itself_only_when_syncs_are_quick_and_the_thread_is_idle(rig: Rig) -> None:
    assert not rig.writer.may_write_here(100), "unproven disks belong to the thread"
    for op in range(1, 3):
        rig.do(write(op))
    assert rig.writer.may_write_here(100)
    assert not rig.writer.may_write_here(INLINE_BYTES_MAX + 1)

    assert rig.writer.write_here(write(3))
    assert rig.log.synced_lsn == 3
    rig.writer.submit(write(4))
    assert not rig.writer.may_write_here(100), "the thread owns the log"
    rig.step()
    assert rig.writer.may_write_here(100)
    rig.writer.sync_s = 1.0
    assert not rig.writer.may_write_here(100)


@pytest.mark.parametrize("here", [False, True])
def test_a_failing_disk_is_reported_once_and_nothing_is_done_any_more(rig: Rig, here: bool) -> None:
    rig.files.fail_after = 0

    if here:
        assert not rig.writer.write_here(write(1))
    else:
        rig.writer.submit(write(1))
        rig.writer.submit(write(2))
        rig.step()

    assert [type(error) for error in rig.failures] == [StoragePoisoned]
    assert rig.done == []


def test_closing_finishes_what_was_queued_and_leaves_a_mark() -> None:
    rig = Rig()
    for op in range(1, 4):
        rig.writer.submit(write(op))

    rig.writer.close()

    assert rig.log.synced_lsn == 4


def test_free_space_is_measured_after_so_many_bytes(rig: Rig) -> None:
    rig.free_bytes = 7
    rig.do(write(1))
    assert rig.writer.free_bytes == 12345
    rig.do(WriteJob(records=[entry(2, size=100)], size=FREE_CHECK_BYTES + 1))
    assert rig.writer.free_bytes == 7


def test_free_space_is_measured_on_request_when_nothing_is_written(rig: Rig) -> None:
    rig.free_bytes = 7
    rig.writer.look_again()
    assert rig.calls.empty(), "not more often than once in a while"
    rig.writer._free_checked_at -= 2 * FREE_CHECK_S
    rig.writer.look_again()
    rig.step()
    assert [type(job) for job, _ in rig.done] == [LookJob]
    assert rig.writer.free_bytes == 7
