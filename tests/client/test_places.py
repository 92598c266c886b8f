from __future__ import annotations

from pathlib import Path

import msgspec

from client.places import with_moved
from dht.items import sign_item_with_seed
from dht.node import Node, open_node
from tests.client.communities import community, lobby, person, read_until
from tests.room_server.cluster import TestNode
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import NodeKey
from wire.link import Hint, parse_link
from wire.node_record import sign_node_record

IDENTITY = NodeIdentity(b"n" * 32)
OLD = ServerAddress("192.0.2.1", 7400, IDENTITY.public)
NEW = ServerAddress("192.0.2.2", 7400, IDENTITY.public)


def keep(node: Node, host: str, *, seq: int) -> None:
    node.pin(sign_node_record(IDENTITY, [host], 7400, seq=seq, now_unix=0))


async def test_server_that_says_it_is_elsewhere_is_tried_there_first() -> None:
    async with open_node() as node:
        keep(node, NEW.host, seq=1)

        assert await with_moved([OLD], [node.address]) == [NEW, OLD]
        assert await with_moved([NEW], [node.address]) == [NEW], "known already"


async def test_newest_record_of_all_copies_wins() -> None:
    async with open_node() as stale, open_node() as fresh:
        keep(stale, "192.0.2.99", seq=1)
        keep(fresh, NEW.host, seq=2)

        assert await with_moved([OLD], [stale.address, fresh.address]) == [NEW, OLD]


async def test_what_others_say_and_keys_that_are_none_change_nothing() -> None:
    async with open_node() as node:
        node.pin(sign_item_with_seed(IDENTITY.seed, seq=9, value=b"not sealed"))
        nobody = ServerAddress("192.0.2.7", 1, NodeKey(b"\xff" * 32))

        assert await with_moved([OLD, nobody], [node.address]) == [OLD, nobody]
        assert await with_moved([OLD], []) == [OLD], "nobody there to ask"


async def test_all_servers_move_and_members_and_newcomers_find_them_without_the_owner(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, open_node(bootstrap=first_of(cluster.nodes)) as bystander:
        await bystander.bootstrap()
        async with person(tmp_path, "alice") as alice:
            ours = await lobby(cluster, alice)
            link = parse_link(ours.link)
            elsewhere = Hint(host=bystander.address[0], port=bystander.address[1])
            text = msgspec.structs.replace(link, hints=(*link.hints[:2], elsewhere)).to_text()
        async with person(tmp_path, "bob") as bob:
            theirs = await bob.join(text)
            for node in cluster.nodes:
                await cluster.kill(node)
            for node in cluster.nodes:
                move(node, "127.0.0.2", known=bystander.address)
                await cluster.start(node)

            await theirs.send("where are we?")

            async with person(tmp_path, "carol") as carol:
                hers = await carol.join(text)
                assert (await read_until(theirs, "where are we?"))[-1].sender.name == "bob"
                assert len(await hers.members()) == 3


def first_of(nodes: list[TestNode]) -> list[tuple[str, int]]:
    return [(nodes[0].address.host, nodes[0].address.port)]


def move(node: TestNode, host: str, *, known: tuple[str, int]) -> None:
    listen = f"{host}:{node.address.port}"
    dht = msgspec.structs.replace(node.config.dht, bootstrap=(f"{known[0]}:{known[1]}",))
    node.config = msgspec.structs.replace(node.config, listen=listen, advertise=listen, dht=dht)
