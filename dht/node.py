"""The node on a UDP socket, in trio: the only module of this package that does I/O.

    receive task:  datagram ─▶ core ─▶ send answers, wake waiters
    clock task:    deadline, or somebody gave the core work ─▶ core.tick ─▶ send
    callers:       core.get / put / find ─▶ wait for their operation's events

The core is plain state; all tasks run in one thread and none awaits between changing it and leaving it consistent, so
it needs no lock. Only the two tasks send: a caller that is cancelled takes no datagram of others with it. An operation
ends by itself within seconds, so a reader that walks away leaves nothing behind.

    async with open_node(bootstrap=[("192.0.2.1", 7610)]) as node:
        await node.bootstrap()
        item = await node.get(public_key)
"""

from __future__ import annotations

import copy
import ipaddress
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Self

import msgspec
import trio

from dht.counters import Counters
from dht.dht import Dht
from dht.errors import NodeClosed, SocketUnavailable
from dht.events import ItemFound, LookupEnded, PutEnded, PutResult
from dht.items import MutableItem
from dht.limits import BUCKET_NODES_MAX, DATAGRAM_BYTES_MAX, ERROR_PAUSE_S, RESOLVE_S_MAX
from dht.node_id import NODE_ID_BYTES, Address
from dht.routing_table import Admission
from dht.storage import SignedValue
from dht.transactions import Entropy

__all__ = ["ItemStream", "Node", "NodeStats", "PutResult", "open_node"]

_WIDE_LOOKUPS = 3


class NodeStats(msgspec.Struct, frozen=True, kw_only=True):
    """A node at a glance. `counters` only rise; the rest is as of now. `external_host` is our address by others' vote."""

    nodes: int
    nodes_waiting: int
    items: int
    pinned: int
    operations: int
    external_host: str | None
    counters: Counters


class _Waiter:
    """Whoever waits for an operation. Of several found items only the newest matters, so one place is enough."""

    def __init__(self) -> None:
        self.item: MutableItem | None = None
        self.end: LookupEnded | PutEnded | None = None
        self.is_closed = False
        self._changed = trio.Event()

    def notify(self) -> None:
        """Wake the waiter."""
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


class ItemStream:
    """Verified items of one get as they arrive, each with a higher sequence number than the one before."""

    def __init__(self, node: Node, public_key: bytes, salt: bytes, seeds: Sequence[Address]) -> None:
        self._node = node
        self._what = (public_key, salt)
        self._seeds = seeds
        self._waiter: _Waiter | None = None

    @property
    def end(self) -> LookupEnded | None:
        """How the get ended: how many nodes were asked, how many answered. None before it has."""
        end = None if self._waiter is None else self._waiter.end
        return end if isinstance(end, LookupEnded) else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MutableItem:
        if self._waiter is None:
            self._waiter = await self._node._begin_get(*self._what, self._seeds)  # noqa: SLF001 - two halves of one
        waiter = self._waiter
        while waiter.item is None:
            if waiter.end is not None:
                raise StopAsyncIteration
            await waiter.wait()
        item, waiter.item = waiter.item, None
        return item


class Node:
    """A running node; made by `open_node`. `address` is where it listens."""

    def __init__(
        self, socket: trio.socket.SocketType, dht: Dht, *, bootstrap: Sequence[Address], clock: Callable[[], float]
    ) -> None:
        self.address: Address = socket.getsockname()[:2]
        self._socket = socket
        self._dht = dht
        self._bootstrap = bootstrap
        self._clock = clock
        self._waiters: dict[int, _Waiter] = {}
        self._has_work = trio.Event()
        self._alarm_at = 0.0
        self._is_closed = False

    @property
    def node_id(self) -> bytes:
        """Our 20-byte id; unless it was given, it may change once our public address is known (BEP 42)."""
        return self._dht.own_id

    async def bootstrap(self) -> int:
        """Make ourselves known to our neighbourhood. Return how many nodes are known then; 0 means nobody answered."""
        self._dht.bootstrap = tuple(await _resolve(self._bootstrap, self._socket.family))
        await self._run(self._dht.find(self._dht.own_id, self._clock()))
        if len(self._dht.table) >= BUCKET_NODES_MAX:
            # In a large network our neighbours do not know the far side.
            for prefix in range(_WIDE_LOOKUPS):
                target = self._dht.table.random_id(prefix, secrets.token_bytes(NODE_ID_BYTES))
                await self._run(self._dht.find(target, self._clock()))
        return len(self._dht.table)

    async def get(
        self, public_key: bytes, salt: bytes = b"", *, seeds: Sequence[tuple[str, int]] = ()
    ) -> MutableItem | None:
        """Return the item with the highest sequence number that the network shows within a second of the first.

        `seeds` are nodes to ask besides those known: a link's hints. With one that pins the item, this takes one round
        trip and no bootstrapping.

        Raises:
            NodeClosed: the node ended.
        """
        waiter = await self._begin_get(public_key, salt, seeds)
        end = await self._ended(waiter)
        assert isinstance(end, LookupEnded), "a get is a lookup"
        return end.item

    def get_stream(self, public_key: bytes, salt: bytes = b"", *, seeds: Sequence[tuple[str, int]] = ()) -> ItemStream:
        """Return verified items as they arrive, the first at once, sequence numbers rising (see `get`)."""
        return ItemStream(self, public_key, salt, seeds)

    async def put(
        self,
        item: MutableItem,
        *,
        cas: int | None = None,
        unless_held: int | None = None,
        seeds: Sequence[tuple[str, int]] = (),
    ) -> PutResult:
        """Announce a signed item to the nodes nearest to its target. Needs its bytes only, no key.

        Args:
            item: signed by its key's owner.
            cas: store only over this sequence number (BEP 44).
            unless_held: store nothing if so many of the nearest have this version. Nodes forget after two hours, so
                one who announces hourly and alone must not skip.
            seeds: nodes to begin from besides those known.

        Raises:
            InvalidItem: no node would store it.
            InvalidSignature: it is not signed by its key.
            NodeClosed: the node ended.
        """
        item.check_bounds()
        item.verify()
        resolved = await _resolve(seeds, self._socket.family)
        self._check_open()
        number = self._dht.put(item, self._clock(), cas=cas, unless_held=unless_held, seeds=resolved)
        end = await self._run(number)
        assert isinstance(end, PutEnded), "a put ends as a put"
        return end.result

    def pin(self, item: MutableItem) -> None:
        """Answer for this item always, whatever the network forgets. Keeping it on disk is the caller's.

        Raises:
            InvalidItem: no node would store it.
            InvalidSignature: it is not signed by its key.
            QuotaExceeded: too many are pinned.
        """
        item.check_bounds()
        item.verify()
        self._dht.storage.pin(SignedValue.of(item))

    def unpin(self, target: bytes) -> None:
        """Let a pinned item expire like any other."""
        self._dht.storage.unpin(target, self._clock())

    def pinned(self) -> list[MutableItem]:
        """Return the pinned items, each as the newest version that its owner signed and we have seen."""
        items = (signed.to_item() for signed in self._dht.storage.pinned())
        return [item for item in items if item is not None]

    def known_nodes(self) -> list[tuple[str, int]]:
        """Return the addresses of known nodes, those heard from last first: good seeds for the next start."""
        contacts = sorted(self._dht.table, key=lambda contact: -contact.answered_at)
        return [contact.address for contact in contacts]

    def stats(self) -> NodeStats:
        """Return figures as of now."""
        return NodeStats(
            nodes=len(self._dht.table),
            nodes_waiting=self._dht.table.waiting,
            items=len(self._dht.storage),
            pinned=len(self._dht.storage.pinned()),
            operations=len(self._waiters),
            external_host=self._dht.external.host,
            counters=copy.deepcopy(self._dht.counters),
        )

    # Operations

    async def _begin_get(self, public_key: bytes, salt: bytes, seeds: Sequence[Address]) -> _Waiter:
        resolved = await _resolve(seeds, self._socket.family)
        self._check_open()
        return self._wait_for(self._dht.get(public_key, salt, self._clock(), seeds=resolved))

    def _wait_for(self, number: int) -> _Waiter:
        waiter = self._waiters[number] = _Waiter()
        self._handle_events()
        self._has_work.set()
        return waiter

    async def _run(self, number: int) -> LookupEnded | PutEnded:
        waiter = self._wait_for(number)
        try:
            return await self._ended(waiter)
        finally:
            if waiter.end is None:
                self._waiters.pop(number, None)
                self._dht.cancel(number, self._clock())

    async def _ended(self, waiter: _Waiter) -> LookupEnded | PutEnded:
        while waiter.end is None:
            await waiter.wait()
        return waiter.end

    def _handle_events(self) -> None:
        for event in self._dht.take_events():
            waiter = self._waiters.get(event.operation)
            if waiter is None:
                continue
            if isinstance(event, ItemFound):
                waiter.item = event.item
            else:
                waiter.end = event
                del self._waiters[event.operation]
            waiter.notify()

    def _check_open(self) -> None:
        if self._is_closed:
            raise NodeClosed("the node has ended")

    def _close(self) -> None:
        """Let nobody wait for a node that is gone."""
        self._is_closed = True
        for waiter in self._waiters.values():
            waiter.is_closed = True
            waiter.notify()
        self._waiters.clear()

    # Tasks

    async def _receive(self) -> None:
        """Receive until the socket is closed. Errors of the network are counted and survived."""
        while True:
            try:
                datagram, address = await self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except trio.ClosedResourceError:
                self._close()
                return
            except OSError:
                # An ICMP error for something sent earlier, or the network is down.
                self._dht.counters.drop("socket_error")
                await trio.sleep(ERROR_PAUSE_S)
                continue
            self._dht.receive(datagram, address[:2], self._clock())
            self._handle_events()
            await self._flush()
            if self._dht.next_deadline() < self._alarm_at:
                self._has_work.set()

    async def _keep_time(self) -> None:
        """Tick the core when it wants to be, and send what callers gave it to do."""
        while not self._is_closed:
            await self._flush()
            self._alarm_at = self._dht.next_deadline()
            with trio.move_on_after(max(0.0, self._alarm_at - self._clock())):
                await self._has_work.wait()
            self._has_work = trio.Event()
            self._dht.tick(self._clock())
            self._handle_events()

    async def _flush(self) -> None:
        for datagram, address in self._dht.take_datagrams():
            try:
                await self._socket.sendto(datagram, address)
            except trio.ClosedResourceError:
                self._close()
                return
            except OSError:
                self._dht.counters.send_errors += 1


@asynccontextmanager
async def open_node(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    bootstrap: Sequence[tuple[str, int]] = (),
    node_id: bytes | None = None,
    read_only: bool = False,
    allow_list: Collection[tuple[str, int] | bytes] | None = None,
    restrict_ips: bool = True,
    socket: trio.socket.SocketType | None = None,
    clock: Callable[[], float] = trio.current_time,
    entropy: Entropy = secrets.token_bytes,
) -> AsyncIterator[Node]:
    """Run a DHT node while the block runs.

    Args:
        host: numeric address to listen on.
        port: UDP port, 0 for any.
        bootstrap: nodes to begin from; host names are resolved by `Node.bootstrap`.
        node_id: 20 bytes; None makes a random one, bound to our address once that is known (BEP 42).
        read_only: ask, never answer (BEP 43); right for short-lived programs and behind NAT.
        allow_list: (host, port) and node ids that may enter tables, for a private network; None allows all. Names are
            resolved once, now; those that do not resolve are left out.
        restrict_ips: one node per address, and per /24 and bucket. Loopback is exempt anyway.
        socket: a bound UDP socket to use, and to close at the end, instead of opening one.
        clock: monotonic seconds.
        entropy: gives unpredictable bytes.

    Raises:
        SocketUnavailable: the address cannot be bound.
        QuotaExceeded: the allow-list is too long.
    """
    own_socket = socket if socket is not None else await _bind(host, port)
    with own_socket:
        allowed = None if allow_list is None else await _resolve_allowed(allow_list, own_socket.family)
        admission = Admission.of(allowed, restrict_ips=restrict_ips)
        dht = Dht(own_id=node_id, admission=admission, entropy=entropy, now=clock(), read_only=read_only)
        node = Node(own_socket, dht, bootstrap=tuple(bootstrap), clock=clock)
        dht.bootstrap = tuple(await _resolve([seed for seed in bootstrap if _is_numeric(seed[0])], own_socket.family))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node._receive)  # noqa: SLF001 - a node's tasks belong to this block
            nursery.start_soon(node._keep_time)  # noqa: SLF001 - as above
            try:
                yield node
            finally:
                node._close()  # noqa: SLF001 - as above
                nursery.cancel_scope.cancel()


async def _bind(host: str, port: int) -> trio.socket.SocketType:
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    socket = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
    is_bound = False
    try:
        await socket.bind((host, port))
        is_bound = True
    except OSError as error:
        raise SocketUnavailable(f"{host} port {port}/udp cannot be used: {error}") from error
    finally:
        if not is_bound:
            # Also when the caller is cancelled meanwhile: a search that was won by somebody else.
            socket.close()
    return socket


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _resolve_allowed(allow_list: Collection[Address | bytes], family: int) -> list[Address | bytes]:
    addresses = [entry for entry in allow_list if not isinstance(entry, bytes)]
    node_ids = [entry for entry in allow_list if isinstance(entry, bytes)]
    return [*node_ids, *await _resolve(addresses, family)]


async def _resolve(seeds: Sequence[Address], family: int) -> list[Address]:
    """Return numeric addresses of a family, spelled the usual way; names that do not resolve in time are left out."""
    version = 6 if family == trio.socket.AF_INET6 else 4
    numeric: list[Address] = []
    names: list[Address] = []
    for host, port in seeds:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            names.append((host, port))
            continue
        if address.version == version and 0 < port < 1 << 16:
            numeric.append((str(address), port))
    if names:
        with trio.move_on_after(RESOLVE_S_MAX):
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(_resolve_name, name, family, numeric)
    return numeric


async def _resolve_name(name: Address, family: int, numeric: list[Address]) -> None:
    try:
        found = await trio.socket.getaddrinfo(*name, family=family, type=trio.socket.SOCK_DGRAM)
    except OSError:
        return
    numeric.extend((str(address[0]), int(address[1])) for *_, address in found[:1])
