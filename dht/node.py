"""The node on its UDP sockets, in trio: with `endpoint`, the only module of this package that does I/O.

    callers:  get / put / bootstrap ─▶ an operation at each endpoint ─▶ wait for their events

One endpoint is one address family. A node that is given a second address has two, each with a table and an id of its
own, whose cores tell each other of nodes (BEP 32): it reads from whichever answers first, and publishes in both.

    async with open_node(bootstrap=[("192.0.2.1", 7610)]) as node:
        await node.bootstrap()
        item = await node.get(public_key)
"""

from __future__ import annotations

import copy
import ipaddress
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from typing import Self

import msgspec
import trio

from dht.counters import Counters
from dht.dht import Dht
from dht.endpoint import Endpoint, Waiter
from dht.errors import NodeClosed, SocketUnavailable
from dht.events import LookupEnded, PutEnded, PutResult
from dht.items import MutableItem
from dht.limits import BOOTSTRAP_NODES_MAX, BUCKET_NODES_MAX, RESOLVE_S_MAX
from dht.node_id import NODE_ID_BYTES, Address
from dht.routing_table import Admission
from dht.storage import SignedValue
from dht.transactions import Entropy

__all__ = ["ItemStream", "Node", "NodeStats", "PutResult", "open_node"]

_WIDE_LOOKUPS = 3


class NodeStats(msgspec.Struct, frozen=True, kw_only=True):
    """A node at a glance. `counters` only rise; the rest is as of now. `external_host` is our address by others' vote.

    `nodes_ipv6` of the `nodes` are in the table of that family; `items` include those `pinned`.
    """

    nodes: int
    nodes_ipv6: int
    nodes_waiting: int
    items: int
    pinned: int
    operations: int
    external_host: str | None
    counters: Counters


class ItemStream:
    """Verified items of one get as they arrive, each with a higher sequence number than the one before."""

    def __init__(self, node: Node, public_key: bytes, salt: bytes, seeds: Sequence[Address]) -> None:
        self._node = node
        self._what = (public_key, salt)
        self._seeds = seeds
        self._waiter: Waiter | None = None

    @property
    def end(self) -> LookupEnded | None:
        """How the get ended: how many nodes were asked, how many answered. None before it has."""
        return _lookup_of(self._waiter.ends) if self._waiter is not None and self._waiter.is_over else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MutableItem:
        if self._waiter is None:
            self._waiter = await self._node._begin_get(*self._what, self._seeds)  # noqa: SLF001 - two halves of one
        waiter = self._waiter
        while waiter.item is None:
            if waiter.is_over:
                raise StopAsyncIteration
            await waiter.wait()
        item, waiter.item = waiter.item, None
        return item


class Node:
    """A running node; made by `open_node`. `address` is where it listens, `addresses` where in both families."""

    def __init__(
        self, endpoints: Sequence[Endpoint], *, bootstrap: Sequence[Address], clock: Callable[[], float]
    ) -> None:
        assert endpoints, "a node listens somewhere"
        self.addresses: list[Address] = [endpoint.address for endpoint in endpoints]
        self.address = self.addresses[0]
        self._endpoints = endpoints
        self._bootstrap = tuple(bootstrap)
        self._clock = clock

    @property
    def node_id(self) -> bytes:
        """Our 20-byte id; unless it was given, it may change once our public address is known (BEP 42)."""
        return self._endpoints[0].dht.own_id

    async def bootstrap(self) -> int:
        """Make ourselves known to our neighbourhood. Return how many nodes are known then; 0 means nobody answered."""
        for endpoint in self._endpoints:
            # One after the other: what the first asks tells the second whom to ask (BEP 32).
            dht = endpoint.dht
            dht.bootstrap = await _resolve(self._bootstrap, endpoint.family)
            await self._find(endpoint, dht.own_id, seeds=dht.verifying())
            if len(dht.table) >= BUCKET_NODES_MAX:
                # In a large network our neighbours do not know the far side.
                for prefix in range(_WIDE_LOOKUPS):
                    await self._find(endpoint, dht.table.random_id(prefix, secrets.token_bytes(NODE_ID_BYTES)))
        return self.stats().nodes

    async def introduce(self, node: tuple[str, int]) -> None:
        """A node to begin from, too, with the next `bootstrap`; a private network lets it in from now on.

        The newest come first, the oldest are forgotten.

        Raises:
            QuotaExceeded: the allow-list is too long.
        """
        others = (known for known in self._bootstrap if known != node)
        self._bootstrap = (node, *islice(others, BOOTSTRAP_NODES_MAX - 1))
        for endpoint in self._endpoints:
            endpoint.dht.admission.allow(await _resolve([node], endpoint.family))

    async def get(
        self, public_key: bytes, salt: bytes = b"", *, seeds: Sequence[tuple[str, int]] = ()
    ) -> MutableItem | None:
        """Return the item with the highest sequence number that the network shows within a second of the first.

        `seeds` are nodes to ask besides those known: a link's hints. With one that pins the item, this takes one round
        trip and no bootstrapping.

        Raises:
            NodeClosed: the node ended.
        """
        return _lookup_of(await _over(await self._begin_get(public_key, salt, seeds))).item

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
        resolved = await self._resolved(seeds)
        waiter = Waiter()
        for endpoint, near in zip(self._endpoints, resolved, strict=True):
            put = endpoint.dht.put(item, self._clock(), cas=cas, unless_held=unless_held, seeds=near)
            waiter.begin(endpoint, put)
        return _put_of(await _over(waiter))

    def pin(self, item: MutableItem) -> None:
        """Answer for this item always, whatever the network forgets. Keeping it on disk is the caller's.

        Raises:
            InvalidItem: no node would store it.
            InvalidSignature: it is not signed by its key.
            QuotaExceeded: too many are pinned.
        """
        item.check_bounds()
        item.verify()
        for endpoint in self._endpoints:
            endpoint.dht.storage.pin(SignedValue.of(item))

    def unpin(self, target: bytes) -> None:
        """Let a pinned item expire like any other."""
        for endpoint in self._endpoints:
            endpoint.dht.storage.unpin(target, self._clock())

    def pinned(self) -> list[MutableItem]:
        """Return the pinned items, each as the newest version that its owner signed and we have seen."""
        newest: dict[bytes, SignedValue] = {}
        for signed in [signed for endpoint in self._endpoints for signed in endpoint.dht.storage.pinned()]:
            known = newest.setdefault(signed.target, signed)
            newest[signed.target] = max(known, signed, key=lambda version: version.seq)
        items = (signed.to_item() for signed in newest.values())
        return [item for item in items if item is not None]

    def known_nodes(self) -> list[tuple[str, int]]:
        """Return the addresses of known nodes, those heard from last first: good seeds for the next start."""
        contacts = [contact for endpoint in self._endpoints for contact in endpoint.dht.table]
        return [contact.address for contact in sorted(contacts, key=lambda contact: -contact.answered_at)]

    def stats(self) -> NodeStats:
        """Return figures as of now."""
        cores = [endpoint.dht for endpoint in self._endpoints]
        hosts = [core.external.host for core in cores if core.external.host is not None]
        return NodeStats(
            nodes=sum(len(core.table) for core in cores),
            nodes_ipv6=sum(":" in contact.address[0] for core in cores for contact in core.table),
            nodes_waiting=sum(core.table.waiting for core in cores),
            items=sum(len(core.storage) for core in cores),
            pinned=sum(len(core.storage.pinned()) for core in cores),
            operations=len({id(waiter) for endpoint in self._endpoints for waiter in endpoint.waiters.values()}),
            external_host=next(iter(hosts), None),
            counters=copy.deepcopy(cores[0].counters),
        )

    # Operations

    async def _begin_get(self, public_key: bytes, salt: bytes, seeds: Sequence[Address]) -> Waiter:
        resolved = await self._resolved(seeds)
        waiter = Waiter()
        for endpoint, near in zip(self._endpoints, resolved, strict=True):
            if waiter.item is None or not waiter.is_over:
                waiter.begin(endpoint, endpoint.dht.get(public_key, salt, self._clock(), seeds=near))
        return waiter

    async def _resolved(self, seeds: Sequence[Address]) -> list[list[Address]]:
        """Return the seeds of each endpoint.

        Raises:
            NodeClosed: the node has ended.
        """
        resolved = [await _resolve(seeds, endpoint.family) for endpoint in self._endpoints]
        if any(endpoint.is_closed for endpoint in self._endpoints):
            raise NodeClosed("the node has ended")
        return resolved

    async def _find(self, endpoint: Endpoint, target: bytes, *, seeds: Sequence[Address] = ()) -> None:
        waiter = Waiter()
        waiter.begin(endpoint, endpoint.dht.find(target, self._clock(), seeds=seeds))
        await _over(waiter)


async def _over(waiter: Waiter) -> list[LookupEnded | PutEnded]:
    """Wait until all operations are over; those of a caller that is cancelled are forgotten."""
    try:
        while not waiter.is_over:
            await waiter.wait()
        return waiter.ends
    finally:
        waiter.cancel()


def _lookup_of(ends: Sequence[LookupEnded | PutEnded]) -> LookupEnded:
    """Return how a get ended that ran in each family."""
    lookups = [end for end in ends if isinstance(end, LookupEnded)]
    found = [end for end in lookups if end.item is not None]
    best = max(found, key=lambda end: -1 if end.item is None else end.item.seq, default=lookups[0])
    queries, answered = sum(end.queries for end in lookups), sum(end.answered for end in lookups)
    return msgspec.structs.replace(best, queries=queries, answered=answered)


def _put_of(ends: Sequence[LookupEnded | PutEnded]) -> PutResult:
    """Return what a put achieved that ran in each family."""
    results = [end.result for end in ends if isinstance(end, PutEnded)]
    refused = Counter[int]()
    for result in results:
        refused.update(result.refused)
    newer = [result.newer for result in results if result.newer is not None]
    return PutResult(
        stored=sum(result.stored for result in results),
        refused=dict(refused),
        closest_queried=sum(result.closest_queried for result in results),
        held=sum(result.held for result in results),
        newer=max(newer, key=lambda item: item.seq, default=None),
    )


@asynccontextmanager
async def open_node(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    second: tuple[str, int] | None = None,
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
        second: numeric address and port of the other address family, for a second table (BEP 32).
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
    places = [(host, port)] if second is None else [(host, port), second]
    counters = Counters()
    endpoints: list[Endpoint] = []
    async with AsyncExitStack() as stack:
        for place in places:
            own_socket = stack.enter_context(socket if socket is not None and not endpoints else await _bind(*place))
            allowed = None if allow_list is None else await _resolve_allowed(allow_list, own_socket.family)
            dht = Dht(
                own_id=node_id,
                admission=Admission.of(allowed, restrict_ips=restrict_ips),
                entropy=entropy,
                now=clock(),
                read_only=read_only,
                bootstrap=await _resolve([seed for seed in bootstrap if _is_numeric(seed[0])], own_socket.family),
                counters=counters,
            )
            endpoints.append(Endpoint(own_socket, dht, clock=clock))
        _pair(endpoints)
        async with _running(endpoints):
            yield Node(endpoints, bootstrap=tuple(bootstrap), clock=clock)


@asynccontextmanager
async def _running(endpoints: Sequence[Endpoint]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for endpoint in endpoints:
            nursery.start_soon(endpoint.receive)
            nursery.start_soon(endpoint.keep_time)
        try:
            yield
        finally:
            for endpoint in endpoints:
                endpoint.close()
            nursery.cancel_scope.cancel()


def _pair(endpoints: Sequence[Endpoint]) -> None:
    for one in endpoints:
        for other in endpoints:
            if one is not other:
                one.others.append(other)
                one.dht.pair(other.dht)


async def _bind(host: str, port: int) -> trio.socket.SocketType:
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    socket = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
    if family == trio.socket.AF_INET6:
        # IPv4 has a table of its own, and a socket.
        socket.setsockopt(trio.socket.IPPROTO_IPV6, trio.socket.IPV6_V6ONLY, 1)
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
