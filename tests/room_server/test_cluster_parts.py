from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from room_server.cluster_file import FILE_NAME
from room_server.config import PeerConfig
from room_server.errors import StartError
from room_server.node import run_node
from tests.room_server.cluster import cluster_of, status_when
from tests.room_server.operators import do, view
from wire.ids import RoomId

ROOM = RoomId(b"a shared room...")


async def test_a_node_does_not_start_when_what_it_remembers_of_its_cluster_is_damaged(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a",), strangers=True) as cluster:
        [a] = cluster.nodes
        await do(a, "create", name="makers")
        await cluster.kill(a)
        (tmp_path / "a" / "data" / FILE_NAME).write_bytes(b"rotten")

        with pytest.raises(StartError, match="cluster again"):
            await run_node(a.config)

        (tmp_path / "a" / "data" / FILE_NAME).unlink()
        await cluster.start(a)
        assert (await view(a)).cluster is None


async def test_servers_that_name_each_other_after_a_reload_share_rooms(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a", "b"), strangers=True) as cluster:
        for node, other in (cluster.nodes, reversed(cluster.nodes)):
            assert node.running is not None
            peer = PeerConfig(name=other.config.name, address=str(other.address))
            assert node.running.reload(msgspec.structs.replace(node.config, peers=(peer,))) == []

        await cluster.create_room(ROOM, on=cluster.nodes[:1])

        # Both are needed for a majority. The other one does not know of the room until its genesis has come.
        await status_when(
            cluster.nodes[0], ROOM, lambda status: status.status == "normal" and status.spare_failures == 0
        )
