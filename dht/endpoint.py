"""One socket and the core behind it, and whoever waits for what the core does.

    receive task:  datagram ─▶ core ─▶ send answers, wake waiters
    clock task:    deadline, or somebody gave the core work ─▶ core.tick ─▶ send

The core is plain state; all tasks run in one thread and none awaits between changing it and leaving it consistent, so
it needs no lock. Only the two tasks send: a caller that is cancelled takes no datagram of others with it. An operation
ends by itself within seconds, so a reader that walks away leaves nothing behind.

A node of two address families (BEP 32) has two endpoints, and a waiter then waits for one operation at each.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from dht.dht import Dht
from dht.errors import NodeClosed
from dht.events import Event, ItemFound, LookupEnded, PutEnded
from dht.items import MutableItem
from dht.limits import DATAGRAM_BYTES_MAX, ERROR_PAUSE_S
from dht.node_id import Address

__all__ = ["Endpoint", "Waiter"]


class Waiter:
    """Whoever waits for operations, at most one at each endpoint. `item` is the newest one found and not yet taken.

    Of several found items only the newest matters, so one place is enough. What one address family found the other is
    told, which then has a second to find something newer.
    """

    def __init__(self) -> None:
        self.item: MutableItem | None = None
        self.ends: list[LookupEnded | PutEnded] = []
        self.is_closed = False
        self._seq = -1
        self._running: dict[Endpoint, int] = {}
        self._changed = trio.Event()

    @property
    def is_over(self) -> bool:
        """Whether all operations have ended."""
        return bool(self.ends) and not self._running

    def begin(self, endpoint: Endpoint, number: int) -> None:
        """Wait for an operation of an endpoint, too."""
        self._running[endpoint] = number
        endpoint.watch(number, self)

    def take(self, event: Event, endpoint: Endpoint) -> None:
        """Take an event of one of the operations, and wake whoever waits."""
        if isinstance(event, ItemFound):
            if event.item.seq > self._seq:
                self.item, self._seq = event.item, event.item.seq
                for other, number in self._running.items():
                    if other is not endpoint:
                        other.tell(number, event.item)
        else:
            del self._running[endpoint]
            self.ends.append(event)
        self._changed.set()

    def cancel(self) -> None:
        """Let what still runs be forgotten."""
        running, self._running = self._running, {}
        for endpoint, number in running.items():
            endpoint.cancel(number)

    def close(self) -> None:
        """The node has ended before the operations did."""
        self.is_closed = True
        self._changed.set()

    async def wait(self) -> None:
        """Wait for something new.

        Raises:
            NodeClosed: the node ended first.
        """
        await self._changed.wait()
        self._changed = trio.Event()
        if self.is_closed:
            raise NodeClosed("the node ended before the operation did")


class Endpoint:
    """A socket and its core. `others` are endpoints whose core may have work when ours was told something (BEP 32)."""

    def __init__(self, socket: trio.socket.SocketType, dht: Dht, *, clock: Callable[[], float]) -> None:
        self.address: Address = socket.getsockname()[:2]
        self.family = socket.family
        self.dht = dht
        self.others: list[Endpoint] = []
        self.waiters: dict[int, Waiter] = {}
        self.is_closed = False
        self._socket = socket
        self._clock = clock
        self._has_work = trio.Event()
        self._alarm_at = 0.0

    def watch(self, number: int, waiter: Waiter) -> None:
        """Let a waiter know of an operation that has begun."""
        self.waiters[number] = waiter
        self._handle_events()
        self.wake()

    def cancel(self, number: int) -> None:
        """Forget an operation: nobody waits for it any more."""
        if self.waiters.pop(number, None) is not None:
            self.dht.cancel(number, self._clock())
            self.wake()

    def tell(self, number: int, item: MutableItem) -> None:
        """Tell a get what another endpoint found."""
        self.dht.tell(number, item, self._clock())
        self.wake()

    def wake(self) -> None:
        """Let the core be ticked, and what it has be sent."""
        self._has_work.set()

    def close(self) -> None:
        """Let nobody wait for a node that is gone."""
        self.is_closed = True
        for waiter in self.waiters.values():
            waiter.close()
        self.waiters.clear()

    def _handle_events(self) -> None:
        for event in self.dht.take_events():
            waiter = self.waiters.get(event.operation)
            if waiter is None:
                continue
            if not isinstance(event, ItemFound):
                del self.waiters[event.operation]
            waiter.take(event, self)

    async def receive(self) -> None:
        """Receive until the socket is closed. Errors of the network are counted and survived."""
        while True:
            try:
                datagram, address = await self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except trio.ClosedResourceError:
                self.close()
                return
            except OSError:
                # An ICMP error for something sent earlier, or the network is down.
                self.dht.counters.drop("socket_error")
                await trio.sleep(ERROR_PAUSE_S)
                continue
            self.dht.receive(datagram, address[:2], self._clock())
            self._handle_events()
            await self._flush()
            if self.dht.next_deadline() < self._alarm_at:
                self.wake()
            for other in self.others:
                if other.dht.has_datagrams:
                    other.wake()

    async def keep_time(self) -> None:
        """Tick the core when it wants to be, and send what callers gave it to do."""
        while not self.is_closed:
            await self._flush()
            self._alarm_at = self.dht.next_deadline()
            with trio.move_on_after(max(0.0, self._alarm_at - self._clock())):
                await self._has_work.wait()
            self._has_work = trio.Event()
            self.dht.tick(self._clock())
            self._handle_events()

    async def _flush(self) -> None:
        for datagram, address in self.dht.take_datagrams():
            try:
                await self._socket.sendto(datagram, address)
            except trio.ClosedResourceError:
                self.close()
                return
            except OSError:
                self.dht.counters.send_errors += 1
