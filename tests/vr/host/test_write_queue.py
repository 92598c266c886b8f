"""Whose writes go to the disk first."""

from __future__ import annotations

from tests.vr.host.cluster import hosted
from vr.host.hosted_group import HostedGroup
from vr.host.limits import WRITE_QUANTUM_BYTES
from vr.host.write_queue import Write, WriteQueue

MAX = 16 * WRITE_QUANTUM_BYTES


def write(group: HostedGroup | None, size: int, token: int = 0) -> Write:
    return Write(records=(), size=size, hosted=group, token=token)


def test_what_fits_goes_at_once_in_the_order_it_came() -> None:
    queue = WriteQueue()
    writes = [write(hosted(index % 2), 100, index) for index in range(6)]
    for item in writes:
        queue.push(item)

    assert queue.take(MAX) == writes
    assert queue.take(MAX) == []
    assert len(queue) == 0


def test_a_room_of_large_entries_does_not_hold_up_a_quiet_one() -> None:
    queue = WriteQueue()
    loud, quiet = hosted(0), hosted(1)
    for token in range(100):
        queue.push(write(loud, WRITE_QUANTUM_BYTES, token))
    queue.push(write(quiet, 300, 7))
    queue.push(write(None, 100))

    taken = queue.take(MAX)

    assert {item.hosted for item in taken} == {loud, quiet, None}
    assert sum(item.size for item in taken) <= MAX
    assert [item.token for item in taken if item.hosted is loud] == list(range(len(taken) - 2))
    rest = [item.token for _ in range(20) for item in queue.take(MAX)]
    assert rest == list(range(len(taken) - 2, 100))


def test_a_large_entry_has_its_turn_among_many_small_ones() -> None:
    queue = WriteQueue()
    large = hosted(0)
    queue.push(write(large, 8 * WRITE_QUANTUM_BYTES))
    groups = [hosted(index) for index in range(1, 40)]
    for turn in range(60):
        for group in groups:
            queue.push(write(group, WRITE_QUANTUM_BYTES, turn))
        if any(item.hosted is large for item in queue.take(MAX)):
            break

    assert turn < 30


def test_what_is_larger_than_a_write_goes_alone() -> None:
    queue = WriteQueue()
    queue.push(write(hosted(0), 3 * MAX))
    queue.push(write(hosted(1), 3 * MAX))

    assert [len(queue.take(MAX)) for _ in range(3)] == [1, 1, 0]
