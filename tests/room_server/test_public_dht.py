from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from dht.node import open_node
from room_server.config import DhtConfig, NodeConfig
from room_server.discovery_file import DiscoveryFile
from room_server.errors import StartError
from room_server.public_dht import FILE_NAME, open_public_node
from tests.client.test_public_dht import public_network, servers
from tests.room_server.test_announcer import ITEM, ROOM


async def test_records_are_kept_by_strangers_whom_the_node_remembers_apart_from_its_own(tmp_path: Path) -> None:
    async with public_network() as public, servers(tmp_path, public) as cluster:
        await cluster.create_room(ROOM, descriptor=ITEM.to_bytes())
        while await public.nodes[-1].get(ITEM.public_key) != ITEM:
            await trio.testing.wait_all_tasks_blocked(0.01)
        node = cluster.nodes[0]
        await cluster.kill(node)

        folder = Path(node.config.data)
        strangers = {stranger.address for stranger in public.nodes}
        assert strangers & set(DiscoveryFile(folder, FILE_NAME).load().nodes)
        assert not strangers & set(DiscoveryFile(folder).load().nodes)


async def test_a_node_that_did_not_opt_in_has_no_such_file(tmp_path: Path) -> None:
    async with public_network() as public, servers(tmp_path, public, is_public=False) as cluster:
        await cluster.create_room(ROOM, descriptor=ITEM.to_bytes())
        node = cluster.nodes[0]
        await cluster.kill(node)

        assert not (Path(node.config.data) / FILE_NAME).exists()


async def test_a_port_in_use_is_told_with_its_key(tmp_path: Path) -> None:
    async with open_node(host="127.0.0.1") as taken:
        dht = DhtConfig(public=True, public_listen=f"127.0.0.1:{taken.address[1]}", public_bootstrap=())
        with pytest.raises(StartError, match=r"dht\.public_listen"):
            async with open_public_node(NodeConfig(name="a", data=str(tmp_path), dht=dht)):
                raise AssertionError("it opened")
