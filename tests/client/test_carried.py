"""A room on servers that nobody can dial opens with its link like any other: they are reached through a fellow."""

from __future__ import annotations

from pathlib import Path

import trio

from client.client import Client
from client.room import Room
from tests.client.communities import SECONDS_MAX, person, read_until
from tests.room_server.cluster import cluster_of
from tests.room_server.test_relay import reached


async def test_people_meet_in_a_room_whose_servers_are_all_behind_routers(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS_MAX):
        async with (
            cluster_of(tmp_path / "servers", dht=True, names=("a", "b", "c", "d"), relayed=("b", "c", "d")) as cluster,
            person(tmp_path, "alice") as alice,
            person(tmp_path, "bob") as bob,
        ):
            for node in cluster.nodes:
                await reached(node)
            ours = await _founded(alice, [str(node.address) for node in cluster.nodes[1:]])
            theirs = await bob.join(ours.link)
            await theirs.send("through the wall")
            await read_until(ours, "through the wall")
            await cluster.kill(cluster.nodes[2])
            await ours.send("and one of them is gone")

            assert [message.text for message in await read_until(theirs, "and one of them is gone")] == [
                "through the wall",
                "and one of them is gone",
            ]


async def _founded(client: Client, nodes: list[str]) -> Room:
    """On these servers only: `create_room` asks for the whole cluster, then the room is moved."""
    room = await client.create_room("lobby", nodes=nodes[:1])
    _, mover = await client.plan_move("lobby", nodes, lambda line: None)
    await mover.run()
    return room
