from __future__ import annotations

from pathlib import Path

import pytest
import trio

from dht.errors import DhtError
from dht.items import MutableItem, sign_item_with_seed
from dht.node import open_node
from room_server.announcer import dht_id, newest_record, open_discovery
from room_server.config import DhtConfig, NodeConfig
from room_server.discovery_file import DiscoveryFile
from room_server.errors import StartError
from tests.room_server.cluster import TestNode, cluster_of
from wire.ids import NodeKey, RoomId

ROOM = RoomId(b"a room to be met")
ITEM = sign_item_with_seed(b"o" * 32, seq=1, value=b"where the room is")


async def found_at(node: TestNode, item: MutableItem) -> MutableItem | None:
    """What a newcomer finds who knows one address."""
    async with open_node(read_only=True) as newcomer:
        return await newcomer.get(item.public_key, seeds=[(node.address.host, node.address.port)])


async def test_newcomer_finds_the_room_at_any_replica(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, dht=True) as cluster:
        await cluster.create_room(ROOM, descriptor=ITEM.to_bytes())

        for node in cluster.nodes:
            assert await found_at(node, ITEM) == ITEM


async def test_one_replica_alone_answers_for_its_rooms_after_a_restart(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, dht=True) as cluster:
        await cluster.create_room(ROOM, descriptor=ITEM.to_bytes())
        for node in cluster.nodes:
            await cluster.kill(node)

        await cluster.start(cluster.nodes[2])

        assert await found_at(cluster.nodes[2], ITEM) == ITEM


async def test_a_newer_record_that_was_only_put_into_the_dht_outlives_a_restart_of_all(tmp_path: Path) -> None:
    newer = sign_item_with_seed(b"o" * 32, seq=2, value=b"where it is now")
    async with cluster_of(tmp_path, dht=True) as cluster:
        await cluster.create_room(ROOM, descriptor=ITEM.to_bytes())
        places = [(node.address.host, node.address.port) for node in cluster.nodes]
        async with open_node(read_only=True) as owner:
            assert (await owner.put(newer, seeds=places)).stored == 3
        for node in cluster.nodes:
            await cluster.kill(node)

        await cluster.start(cluster.nodes[1])

        assert await found_at(cluster.nodes[1], ITEM) == newer
        remembered = DiscoveryFile(Path(cluster.nodes[0].config.data)).load()
        assert set(remembered.nodes) == set(places[1:])


async def test_a_damaged_memory_does_not_keep_a_node_from_its_rooms(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, dht=True) as cluster:
        await cluster.create_room(ROOM, descriptor=ITEM.to_bytes())
        await cluster.kill(cluster.nodes[0])
        DiscoveryFile(Path(cluster.nodes[0].config.data)).path.write_bytes(b"rotten")

        await cluster.start(cluster.nodes[0])

        assert await found_at(cluster.nodes[0], ITEM) == ITEM


async def test_room_without_a_readable_descriptor_works_and_is_not_found(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, dht=True) as cluster:
        await cluster.create_room(ROOM, descriptor=b"opaque")

        assert await found_at(cluster.nodes[0], ITEM) is None


async def test_port_in_use_is_told_with_its_key() -> None:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as taken:
        await taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        config = NodeConfig(name="a", data="x", dht=DhtConfig(listen=f"127.0.0.1:{port}"))

        with pytest.raises(StartError, match=r"dht\.listen"):
            async with open_discovery(config, [], node_key=NodeKey(b"k" * 32), port=1):
                raise AssertionError("opened")


async def test_a_server_is_found_over_both_address_families() -> None:
    config = NodeConfig(name="a", data="x", dht=DhtConfig(listen="127.0.0.1:0", listen_also="[::1]:0"))
    with trio.fail_after(20.0):
        try:
            async with (
                open_discovery(config, [], node_key=NodeKey(b"k" * 32), port=1) as node,
                open_node(host="127.0.0.1", read_only=True) as four,
                open_node(host="::1", read_only=True) as six,
            ):
                node.pin(ITEM)
                for reader, address in zip((four, six), node.addresses, strict=True):
                    assert await reader.get(ITEM.public_key, ITEM.salt, seeds=[address]) == ITEM
        except StartError as error:
            pytest.skip(f"no IPv6 here: {error}")


def test_dht_id_is_stable_and_differs_between_servers() -> None:
    first, second = NodeKey(b"1" * 32), NodeKey(b"2" * 32)

    assert dht_id(first) == dht_id(first)
    assert dht_id(first) != dht_id(second)
    assert len(dht_id(first)) == 20


def test_newest_record_of_the_same_link_is_answered_with() -> None:
    newer = sign_item_with_seed(b"o" * 32, seq=1 << 32 | 1, value=b"where it is now")
    of_another_link = sign_item_with_seed(b"p" * 32, seq=9 << 32, value=b"opens with another link")

    assert newest_record(ITEM.to_bytes(), newer.to_bytes()) == newer
    assert newest_record(newer.to_bytes(), ITEM.to_bytes()) == newer
    assert newest_record(ITEM.to_bytes(), of_another_link.to_bytes()) == ITEM
    assert newest_record(ITEM.to_bytes(), b"") == ITEM
    with pytest.raises(DhtError):
        newest_record(b"opaque", newer.to_bytes())
