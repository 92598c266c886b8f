from __future__ import annotations

import trio
import trio.testing

from room_server import limits
from room_server.tasks import task_tree


async def waits_for(event: trio.Event) -> None:
    await event.wait()


async def test_tree_says_where_each_task_waits() -> None:
    event = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits_for, event, name="sleepy child")
        await trio.testing.wait_all_tasks_blocked()
        tree = task_tree()
        event.set()

    [line] = [line for line in tree.splitlines() if "sleepy child" in line]
    assert line.endswith("in waits_for: await event.wait()")
    assert line.startswith("  ")
    assert "test_tree_says_where_each_task_waits" in tree


async def test_dump_has_a_bound() -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(limits.TASKS_SHOWN_MAX):
            nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        tree = task_tree()
        nursery.cancel_scope.cancel()

    assert len(tree.splitlines()) == limits.TASKS_SHOWN_MAX + 1
    assert " more" in tree.splitlines()[-1]
