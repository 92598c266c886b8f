from __future__ import annotations

import trio
import trio.testing

from client import connection_limits as limits
from client.connection_events import ConnectionState, EventQueue, StateChanged
from client.room_protocol import Deliveries
from wire.ids import Sequence
from wire.room import Delivery

STATE = StateChanged(ConnectionState.LIVE, None, "connected")


def delivered(size: int) -> Deliveries:
    return Deliveries((Delivery(Sequence(1), 0, 1, 1, bytes(size)),), Sequence(1))


def test_states_that_nobody_takes_are_dropped_and_deliveries_never() -> None:
    queue = EventQueue()
    for _ in range(limits.EVENT_QUEUE_MAX + 5):
        queue.put(STATE)
    queue.put(delivered(1))
    queue.close()

    async def count() -> list[object]:
        return [event async for event in queue.take_all()]

    taken = trio.run(count)
    assert len(taken) == limits.EVENT_QUEUE_MAX + 1
    assert taken[-1] == delivered(1)


async def test_queue_full_of_bytes_is_waited_for_until_somebody_takes_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    queue = EventQueue()
    queue.put(delivered(limits.EVENT_QUEUE_BYTES_MAX))
    assert queue.is_full

    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.wait_drained)
        await trio.testing.wait_all_tasks_blocked()
        queue.close()
        assert [event async for event in queue.take_all()] == [delivered(limits.EVENT_QUEUE_BYTES_MAX)]

    assert not queue.is_full
