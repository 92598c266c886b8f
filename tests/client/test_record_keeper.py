"""A room that its cluster has placed elsewhere: people write on, and the owner's record follows without anybody asking."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from dht.items import MutableItem
from dht.node import open_node
from room_server import limits
from room_server.cluster_report import Role
from tests.client.communities import person, read_until
from tests.room_server.cluster import TestNode, cluster_of
from tests.room_server.operators import do, joined, roles_when
from tests.room_server.test_rebalancer import carried_out, loads, planned_by_all
from wire.descriptor import blinded_public_key, open_descriptor
from wire.ids import NodeKey
from wire.link import Link, parse_link

PATIENCE_S = 60.0


async def record_at(node: TestNode, link: Link) -> MutableItem | None:
    """What a newcomer finds who knows one address."""
    key = blinded_public_key(link.root_public, link_secret=link.secret)
    async with open_node(read_only=True) as newcomer:
        return await newcomer.get(key, seeds=[(node.address.host, node.address.port)])


def named(item: MutableItem | None, link: Link) -> set[NodeKey]:
    """The servers of a record."""
    assert item is not None
    descriptor = open_descriptor(item, root_public=link.root_public, link_secret=link.secret)
    return {NodeKey(replica.node_key) for replica in descriptor.replicas}


async def test_the_owners_record_follows_a_room_that_its_cluster_placed_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VITALS_S", 0.2)
    monkeypatch.setattr(limits, "PLACE_LOOK_S", 0.05)
    names = ("a", "b", "c", "d")
    with trio.fail_after(PATIENCE_S):
        async with cluster_of(tmp_path / "servers", dht=True, names=names, strangers=True) as cluster:
            a, b, c, d = cluster.nodes
            await do(a, "create", name="makers")
            await joined(a, b, c)
            await roles_when(a, *[Role.VOTER] * 3)
            async with person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
                ours = await alice.create_room("lobby", nodes=[str(a.address)])
                pinned = await alice.create_room("mine", nodes=[str(a.address)], by_quorum=False)
                theirs = await bob.join(ours.link)
                await ours.send("before")
                await joined(a, d)
                await planned_by_all(a)
                link = parse_link(ours.link)
                before = {node.address.node_key for node in (a, b, c)}
                assert named(await record_at(b, link), link) == before

                seen = await carried_out(b, "a")

                assert loads(seen) == {"a": 1, "b": 2, "c": 2, "d": 1}, "only the owner moves what is pinned"
                await theirs.send("after")
                texts = [message.text for message in await read_until(ours, "after")]
                assert texts == ["before", "after"]
                wanted = {node.address.node_key for node in (b, c, d)}
                while named(await record_at(d, link), link) != wanted:
                    await trio.testing.wait_all_tasks_blocked(0.002)
                await cluster.kill(a)
                await pinned.send("still here")
                assert named(await record_at(b, parse_link(pinned.link)), parse_link(pinned.link)) == before
