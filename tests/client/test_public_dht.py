"""The public DHT, played by strangers on loopback: whoever opts in is found there, and nobody else comes near it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from client.client import Client, open_client
from client.discovery import OtherSources
from client.errors import UnavailableError
from client.room import Room
from dht.node import Node, open_node
from tests.client.communities import SECONDS_MAX, lobby, person
from tests.room_server.cluster import Cluster, cluster_of
from wire.descriptor import blinded_public_key
from wire.link import parse_link

STRANGERS = 6


class Public:
    """Some nodes of strangers, each at an address of its own."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @property
    def first(self) -> tuple[str, int]:
        return self.nodes[0].address

    @property
    def heard(self) -> int:
        """Bytes that came from anybody."""
        return sum(node.stats().counters.bytes_in for node in self.nodes)

    async def has(self, room: Room) -> bool:
        link = parse_link(room.link)
        return await self.nodes[-1].get(blinded_public_key(link.root_public, link.secret)) is not None


@asynccontextmanager
async def public_network() -> AsyncIterator[Public]:
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for number in range(STRANGERS):
            first = [nodes[0].address] if nodes else []
            node = await stack.enter_async_context(open_node(host=f"127.0.9.{number + 1}", bootstrap=first))
            nodes.append(node)
        for node in nodes[1:]:
            await node.bootstrap()
        yield Public(nodes)


@asynccontextmanager
async def servers(folder: Path, public: Public, *, is_public: bool = True) -> AsyncIterator[Cluster]:
    names = (f"{public.first[0]}:{public.first[1]}",)
    with trio.fail_after(SECONDS_MAX):
        async with cluster_of(folder / "servers", dht=True, is_public=is_public, public_bootstrap=names) as cluster:
            yield cluster


@asynccontextmanager
async def seeker(folder: Path, public: Public | None) -> AsyncIterator[Client]:
    """Somebody who knows nobody, and may ask strangers."""
    others = OtherSources(public_nodes=() if public is None else (public.first,))
    async with open_client(folder / "people" / "bob", name="bob", others=others) as client:
        yield client


def without_hints(room: Room) -> str:
    return msgspec.structs.replace(parse_link(room.link), hints=()).to_text()


async def test_a_link_without_any_address_opens_through_the_public_network(tmp_path: Path) -> None:
    async with (
        public_network() as public,
        servers(tmp_path, public) as cluster,
        person(tmp_path, "alice") as alice,
        seeker(tmp_path, public) as bob,
    ):
        ours = await lobby(cluster, alice)
        while not await public.has(ours):
            await trio.testing.wait_all_tasks_blocked(0.01)

        theirs = await bob.join(without_hints(ours))

        await theirs.send("found you")


async def test_nobody_comes_near_it_unless_asked_to(tmp_path: Path) -> None:
    async with (
        public_network() as public,
        servers(tmp_path, public, is_public=False) as cluster,
        person(tmp_path, "alice") as alice,
        seeker(tmp_path, None) as bob,
    ):
        before = public.heard
        ours = await lobby(cluster, alice)
        with pytest.raises(UnavailableError):
            await bob.join(without_hints(ours))

        assert public.heard == before


async def test_it_is_not_asked_while_a_server_answers(tmp_path: Path) -> None:
    async with (
        public_network() as public,
        servers(tmp_path, public, is_public=False) as cluster,
        person(tmp_path, "alice") as alice,
        seeker(tmp_path, public) as bob,
    ):
        ours = await lobby(cluster, alice)
        before = public.heard

        await bob.join(ours.link)

        assert public.heard == before
