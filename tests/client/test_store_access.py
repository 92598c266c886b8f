from __future__ import annotations

from pathlib import Path

import trio

from client.store import Store, open_store
from client.store_access import StoreThread


async def test_acts_run_one_at_a_time_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db", b"k" * 32)
    access = StoreThread(store)
    seen: list[int] = []

    async def act(number: int) -> None:
        def put(inner: Store) -> None:
            before = inner.get("count") or b""
            inner.put("count", before + b".")
            seen.append(number)

        await access.run(put)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(act, number)

    assert await access.run(lambda inner: inner.get("count")) == b"." * 20
    assert sorted(seen) == list(range(20))
    store.close()


async def test_an_act_that_is_under_way_is_finished_even_when_nobody_waits_any_more(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db", b"k" * 32)
    access = StoreThread(store)
    begun = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def put(inner: Store) -> None:
        trio.from_thread.run_sync(begun.set, trio_token=token)
        inner.put("name", b"value")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(access.run, put)
        await begun.wait()
        nursery.cancel_scope.cancel()

    assert store.get("name") == b"value"
    store.close()
