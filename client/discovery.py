"""From a link to servers: all sources are asked, the first valid answer starts, the newest wins (dht.md §2).

    0 ms     the descriptor that we have seen last
    0 ms     the link's hints: any replica answers for its own rooms, one round trip, no trust needed
    0 ms     a record that somebody pasted
    150 ms   the DHT, from nodes that this profile knows; servers of the local network (`client.lan`)
    1 s      the public BitTorrent DHT, if the person allows it: strangers learn that an address asks for some record
    1 s      web servers named by the link or by the person (`client.well_known`), and the names of those (`client.name_records`)

The last three are asked only while no server has answered: most searches end before.
                  └─▶ every answer: is it this room's, signed by its owner, does it open? then its sequence number counts

What was asked, what came back and how fast is kept as a trace: for `samtala room info --trace`, and for the error that
says that nobody was reached. The profile's DHT node only asks; it keeps nothing for others and is gone after the search.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

import msgspec
import trio

from client import limits
from client.errors import UnavailableError
from client.lan import listen_on_lan
from client.name_records import record_name, resolve_records
from client.well_known import HTTPS_PORT, fetch_record
from dht.errors import DecodeError as ItemDecodeError
from dht.errors import DhtError
from dht.items import MutableItem, mutable_target
from dht.node import Node, open_node
from wire.descriptor import Descriptor, DescriptorError, blinded_public_key, open_descriptor
from wire.errors import LocalError
from wire.identity import ServerAddress
from wire.ids import NodeKey
from wire.link import Link

HostPort = tuple[str, int]

DHT_DELAY_S = 0.15
"""Hints usually answer sooner; asking everybody at once would only make noise."""


WEB_DELAY_S = 1.0
"""Web servers are for networks without UDP: elsewhere somebody has answered by then."""

PUBLIC_DELAY_S = 1.0
"""The public DHT is for links whose servers are all unknown; it is spared where somebody answers."""


class OtherSources(msgspec.Struct, frozen=True, kw_only=True):
    """Where to look besides the link: web servers as (host, port), a record that came by other means, the local network.

    `name_server`: numeric address and port of the one to ask for names' records; None for the system's. `public_nodes`: where to
    begin in the public DHT; none: it is not asked.
    """

    web_hosts: tuple[tuple[str, int], ...] = ()
    record: bytes = b""
    has_lan: bool = False
    name_server: tuple[str, int] | None = None
    public_nodes: tuple[tuple[str, int], ...] = ()


NO_OTHERS: Final = OtherSources()


class Attempt(msgspec.Struct, kw_only=True):
    """One source that was asked. Seconds count from the beginning of the search.

    `answered_s` is when its first valid answer came, `ended_s` when it had no more to say; None while that is to come.
    `seq` is the highest sequence number that it knew. `has_begun` is set if its answer was the first of all, with which
    the connection begins, and `has_won` while no source knew a newer one.
    """

    source: str
    asked: str
    began_s: float
    answered_s: float | None = None
    ended_s: float | None = None
    outcome: str = "no answer yet"
    seq: int | None = None
    has_begun: bool = False
    has_won: bool = False

    def elapsed_s(self, now_s: float) -> float:
        """Seconds from the question to the first valid answer; without one to the end, or to now."""
        until_s = self.answered_s if self.answered_s is not None else self.ended_s
        return (now_s if until_s is None else until_s) - self.began_s

    def line(self, now_s: float) -> str:
        """For people, as of `now_s`."""
        elapsed = f"{self.elapsed_s(now_s) * 1000:.0f} ms"
        if self.answered_s is None and self.ended_s is None:
            return f"{self.source} ({self.asked}): no answer for {elapsed}"
        marks = [text for text, holds in (("first", self.has_begun), ("wins", self.has_won)) if holds]
        mark = f" [{', '.join(marks)}]" if marks else ""
        return f"{self.source} ({self.asked}): {self.outcome}, {elapsed}{mark}"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Where a room is, as its owner signed it, and who said so."""

    item: MutableItem
    descriptor: Descriptor
    attempt: Attempt

    @property
    def source(self) -> str:
        """The kind of source that it came from."""
        return self.attempt.source

    @property
    def servers(self) -> list[ServerAddress]:
        """All addresses of all replicas, in the descriptor's order, each with the key it must show."""
        replicas = self.descriptor.replicas[: limits.DESCRIPTOR_SERVERS_MAX]
        return [
            ServerAddress(host, port, NodeKey(replica.node_key))
            for replica in replicas
            for host, port in replica.addresses
        ]


class Discovery:
    """One search for one room.

    Args:
        link: the room's.
        cached: the last descriptor seen, encoded, or nothing.
        known_nodes: DHT nodes from earlier sessions.
        others: what the person named besides the link.
    """

    def __init__(
        self,
        link: Link,
        *,
        cached: bytes = b"",
        known_nodes: Sequence[HostPort] = (),
        others: OtherSources = NO_OTHERS,
    ) -> None:
        self.trace: list[Attempt] = []
        self.known_nodes: list[HostPort] = list(known_nodes)[: limits.KNOWN_NODES_MAX]
        self.best: Found | None = None
        self._has_known_nodes = bool(known_nodes)
        self._link = link
        self._cached = cached
        self._others = others
        self._is_answered = trio.Event()
        self._public_key = blinded_public_key(link.root_public, link.secret)
        self._began = trio.current_time()

    async def search(self, on_found: Callable[[Found], bool]) -> None:
        """Ask every source, until all have answered or given up, or `on_found` has enough.

        Args:
            on_found: called with each descriptor that is newer than those before; true ends the search.
        """
        sender, receiver = trio.open_memory_channel[Found](limits.DESCRIPTOR_SERVERS_MAX)
        async with trio.open_nursery() as nursery, receiver:
            nursery.start_soon(self._ask_all, sender)
            async for found in receiver:
                if self._take(found) and on_found(found):
                    break
            nursery.cancel_scope.cancel()

    def _take(self, found: Found) -> bool:
        """Whether this is the newest so far."""
        best = self.best
        if best is not None and found.item.seq <= best.item.seq:
            return False
        if best is None:
            found.attempt.has_begun = True
        else:
            best.attempt.has_won = False
        found.attempt.has_won = True
        self.best = found
        return True

    async def first(self) -> Found:
        """The first valid descriptor. How long to wait is the caller's affair; see `nobody` for the error then.

        Raises:
            UnavailableError: every source has answered or given up, and none knew the room.
        """
        await self.search(lambda found: True)
        if self.best is None:
            raise self.nobody()
        return self.best

    def nobody(self) -> UnavailableError:
        """The error for a search that found nothing: what was tried and how each attempt failed."""
        if not self._link.hints and not self._has_known_nodes:
            text = "the link holds no address and this profile knows no servers; ask for a link with addresses in it"
            return UnavailableError(f"{text}; tried:" if self.trace else text, self.lines())
        return UnavailableError("nobody could say where this room is; tried:", self.lines())

    def lines(self) -> tuple[str, ...]:
        """The trace for people, as of now."""
        now_s = self.elapsed_s
        return tuple(attempt.line(now_s) for attempt in self.trace)

    @property
    def contacts(self) -> list[HostPort]:
        """Nodes of the DHT that can be asked something: the link's hints, and those that are known."""
        return [*((hint.host, hint.port) for hint in self._link.hints), *self.known_nodes]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the search began."""
        return trio.current_time() - self._began

    # Sources

    async def _ask_all(self, sender: trio.MemorySendChannel[Found]) -> None:
        async with sender:
            if self._cached:
                await self._offer(self._begin("remembered", "this profile"), self._cached, sender)
            if self._others.record:
                await self._offer(self._begin("pasted", "a descriptor file"), self._others.record, sender)
            async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
                for host, port in self._web_hosts():
                    nursery.start_soon(self._ask_web, host, port, sender)
                for host in dict.fromkeys(host for host, _ in self._web_hosts() if not _is_numeric(host)):
                    nursery.start_soon(self._ask_names, host, sender)
                if self._others.has_lan:
                    nursery.start_soon(self._ask_lan, sender)
                if self._others.public_nodes:
                    nursery.start_soon(self._ask_public, sender)
                for host, version in (("0.0.0.0", 4), ("::", 6)):  # noqa: S104 - asks only, from any interface
                    hints = [(hint.host, hint.port) for hint in self._link.hints if _may_use(hint.host, version)]
                    known = [place for place in self.known_nodes if _may_use(place[0], version)]
                    if not hints and not known:
                        continue
                    family = trio.socket.AF_INET if version == 4 else trio.socket.AF_INET6
                    socket = stack.enter_context(trio.socket.socket(family, trio.socket.SOCK_DGRAM))
                    try:
                        await socket.bind((host, 0))
                    except OSError as error:
                        self._end(self._begin("own socket", host), str(error))
                        continue
                    node = await stack.enter_async_context(open_node(socket=socket, read_only=True))
                    nursery.start_soon(self._ask_node, node, "hints of the link", hints, sender)
                    late = partial(self._ask_node, delay_s=DHT_DELAY_S)
                    nursery.start_soon(late, node, "known nodes", known, sender)

    def _web_hosts(self) -> list[HostPort]:
        named = [(hint.host, HTTPS_PORT) for hint in self._link.hints if not _is_numeric(hint.host)]
        return list(dict.fromkeys([*self._others.web_hosts, *named]))[: limits.WEB_HOSTS_MAX]

    async def _ask_web(self, host: str, port: int, sender: trio.MemorySendChannel[Found]) -> None:
        with trio.move_on_after(WEB_DELAY_S):
            await self._is_answered.wait()
            return
        attempt = self._begin("web server", f"{host}:{port}")
        try:
            with trio.fail_after(limits.WEB_S_MAX):
                # Reading the system's certificates takes a while, which must not hold up the other sources.
                context = await trio.to_thread.run_sync(ssl.create_default_context)
                data = await fetch_record(host, port, mutable_target(self._public_key), context=context)
        except UnavailableError as error:
            self._end(attempt, str(error))
        except trio.TooSlowError:
            self._end(attempt, f"no answer within {limits.WEB_S_MAX:g} s")
        else:
            await self._offer(attempt, data, sender)

    async def _ask_names(self, host: str, sender: trio.MemorySendChannel[Found]) -> None:
        with trio.move_on_after(WEB_DELAY_S):
            await self._is_answered.wait()
            return
        attempt = self._begin("DNS", record_name(host))
        try:
            records = await resolve_records(host, self._others.name_server)
        except UnavailableError as error:
            self._end(attempt, str(error))
            return
        attempt.outcome = "no record of this room"
        for record in records:
            with suppress(ItemDecodeError):
                item = MutableItem.from_bytes(record)
                found = self._judge(item, attempt) if item.public_key == self._public_key else None
                if found is not None:
                    await sender.send(found)
        self._end(attempt)

    async def _ask_lan(self, sender: trio.MemorySendChannel[Found]) -> None:
        with trio.move_on_after(DHT_DELAY_S):
            await self._is_answered.wait()
            return
        attempt = self._begin("local network", "multicast")
        try:
            async with (
                listen_on_lan(mutable_target(self._public_key)) as places,
                open_node(host="0.0.0.0", read_only=True) as node,  # noqa: S104 - asks only, from any interface
            ):
                with trio.move_on_after(limits.LAN_S_MAX):
                    async for place in places:
                        await self._ask_neighbour(node, place, attempt, sender)
            self._end(attempt, None if attempt.seq is not None else "no server there has it")
        except (DhtError, UnavailableError) as error:
            self._end(attempt, str(error))

    async def _ask_public(self, sender: trio.MemorySendChannel[Found]) -> None:
        """Through a node of its own: what it hears of strangers is not remembered among the room's servers."""
        with trio.move_on_after(PUBLIC_DELAY_S):
            await self._is_answered.wait()
            return
        first = list(self._others.public_nodes)
        attempt = self._begin("public DHT", ", ".join(f"{host}:{port}" for host, port in first[:4]))
        try:
            async with open_node(host="0.0.0.0", read_only=True) as node:  # noqa: S104 - asks only, from any interface
                stream = node.get_stream(self._public_key, seeds=first)
                async for item in stream:
                    found = self._judge(item, attempt)
                    if found is not None:
                        await sender.send(found)
                if attempt.seq is None and stream.end is not None:
                    attempt.outcome = f"not known there; {stream.end.answered} of {stream.end.queries} nodes answered"
            self._end(attempt)
        except DhtError as error:
            self._end(attempt, str(error))

    async def _ask_neighbour(
        self, node: Node, place: HostPort, attempt: Attempt, sender: trio.MemorySendChannel[Found]
    ) -> None:
        attempt.asked = f"{place[0]}:{place[1]}"
        async for item in node.get_stream(self._public_key, seeds=[place]):
            found = self._judge(item, attempt)
            if found is not None:
                self._is_answered.set()
                await sender.send(found)

    async def _offer(self, attempt: Attempt, data: bytes, sender: trio.MemorySendChannel[Found]) -> None:
        """Judge an encoded record that a source gave, which has no more to say."""
        try:
            found = self._judge(MutableItem.from_bytes(data), attempt)
        except ItemDecodeError as error:
            found, attempt.outcome = None, f"damaged: {error}"
        self._end(attempt)
        if found is not None:
            await sender.send(found)

    async def _ask_node(
        self,
        node: Node,
        source: str,
        seeds: list[HostPort],
        sender: trio.MemorySendChannel[Found],
        *,
        delay_s: float = 0.0,
    ) -> None:
        if not seeds:
            return
        await trio.sleep(delay_s)
        attempt = self._begin(source, ", ".join(f"{host}:{port}" for host, port in seeds[:4]))
        stream = node.get_stream(self._public_key, seeds=seeds)
        try:
            async for item in stream:
                found = self._judge(item, attempt)
                if found is not None:
                    self._is_answered.set()
                    await sender.send(found)
        except DhtError as error:
            attempt.outcome = str(error)
        else:
            if attempt.seq is None and stream.end is not None:
                attempt.outcome = f"not known there; {stream.end.answered} of {stream.end.queries} nodes answered"
        self._end(attempt)
        self._remember(node)

    def _judge(self, item: MutableItem, attempt: Attempt) -> Found | None:
        try:
            descriptor = open_descriptor(item, root_public=self._link.root_public, link_secret=self._link.secret)
        except DescriptorError as error:
            attempt.outcome = f"refused: {error}"
            return None
        if attempt.answered_s is None:
            attempt.answered_s = self.elapsed_s
        attempt.seq = item.seq
        attempt.outcome = f"found, version {version_text(item.seq)}"
        return Found(item=item, descriptor=descriptor, attempt=attempt)

    def _remember(self, node: Node) -> None:
        for place in node.known_nodes():
            if place not in self.known_nodes:
                self.known_nodes.insert(0, place)
        del self.known_nodes[limits.KNOWN_NODES_MAX :]

    def _begin(self, source: str, asked: str) -> Attempt:
        attempt = Attempt(source=source, asked=asked, began_s=self.elapsed_s)
        self.trace.append(attempt)
        return attempt

    def _end(self, attempt: Attempt, outcome: str | None = None) -> None:
        attempt.ended_s = self.elapsed_s
        if outcome is not None:
            attempt.outcome = outcome


def version_text(seq: int) -> str:
    """A record's sequence number for people: the membership's epoch, and the revision within it."""
    return f"{seq >> 32}.{seq & 0xFFFFFFFF}"


def known_nodes_of(encoded: bytes | None) -> list[tuple[str, int]]:
    """The DHT nodes that a profile remembers; none if they were written by something else: they only save time."""
    try:
        return [] if encoded is None else msgspec.msgpack.decode(encoded, type=list[tuple[str, int]])
    except msgspec.DecodeError:
        return []


def check_link(link: Link) -> None:
    """Check that a link's root key is a key at all.

    Raises:
        LocalError: it is none; the link was made up.
    """
    try:
        blinded_public_key(link.root_public, link.secret)
    except LocalError as error:
        raise LocalError("the link is well formed but names no room") from error


def _may_use(host: str, version: int) -> bool:
    """Tell whether a socket of this IP version can ask `host`; names may resolve to both."""
    return not _is_numeric(host) or (":" in host) is (version == 6)


def _is_numeric(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
