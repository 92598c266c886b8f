from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from dht.dht import Dht
from dht.endpoint import Endpoint, Waiter
from dht.errors import NodeClosed
from dht.events import ItemFound, LookupEnded
from dht.items import MutableItem
from dht.limits import FAST_GET_S
from dht.node_id import Address
from tests.dht.cores import core, item

NOBODY: Address = ("127.0.0.1", 9)


@asynccontextmanager
async def endpoints(count: int) -> AsyncIterator[list[Endpoint]]:
    """Endpoints whose tasks do not run: tests tell their waiters what happens."""
    async with trio.open_nursery():
        made = []
        for _ in range(count):
            socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
            await socket.bind(("127.0.0.1", 0))
            made.append(Endpoint(socket, core(), clock=trio.current_time))
        yield made
        for endpoint in made:
            endpoint._socket.close()


def running(dht: Dht) -> int:
    """A get that has not ended."""
    return dht.get(bytes(32), b"", 1.0, seeds=[NOBODY])


def ended(number: int, found: MutableItem | None) -> LookupEnded:
    return LookupEnded(operation=number, item=found, queries=1, answered=1)


async def test_of_several_items_only_the_newest_is_kept_whichever_family_has_it() -> None:
    async with endpoints(2) as (one, other):
        waiter = Waiter()
        for endpoint in (one, other):
            waiter.begin(endpoint, running(endpoint.dht))
        waiter.take(ItemFound(operation=1, item=item(seq=2)), one)
        waiter.take(ItemFound(operation=1, item=item(seq=1)), other)

        await waiter.wait()
        assert waiter.item == item(seq=2)


async def test_what_one_family_found_the_other_is_told_and_ends_soon() -> None:
    async with endpoints(2) as (one, other):
        waiter = Waiter()
        for endpoint in (one, other):
            waiter.begin(endpoint, running(endpoint.dht))

        waiter.take(ItemFound(operation=1, item=item()), one)
        waiter.take(ended(1, item()), one)

        assert not waiter.is_over, "the other one may know something newer"
        before = other.dht.next_deadline()
        other.dht.tick(trio.current_time() + FAST_GET_S)
        other._handle_events()
        assert before <= trio.current_time() + FAST_GET_S
        assert waiter.is_over
        assert {end.item for end in waiter.ends if isinstance(end, LookupEnded)} == {item()}


async def test_a_get_that_found_nothing_waits_for_the_other_family() -> None:
    async with endpoints(2) as (one, other):
        waiter = Waiter()
        for endpoint in (one, other):
            waiter.begin(endpoint, running(endpoint.dht))

        waiter.take(ended(1, None), one)
        assert not waiter.is_over
        waiter.take(ended(1, None), other)
        assert waiter.is_over


async def test_nobody_waits_for_an_endpoint_that_is_closed() -> None:
    async with endpoints(1) as (one,):
        waiter = Waiter()
        waiter.begin(one, running(one.dht))
        one.close()

        with pytest.raises(NodeClosed):
            await waiter.wait()
        assert one.waiters == {}
