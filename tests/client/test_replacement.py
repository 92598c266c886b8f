"""A server that is dead gets a successor in every room of ours, while people write."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from client.client import Client
from client.errors import RefusedError, UsageError
from tests.client.communities import SECONDS_MAX, person, read_until
from tests.room_server.cluster import Cluster, cluster_of


async def on_three_of_four(cluster: Cluster, client: Client) -> None:
    nodes = [str(node.address) for node in cluster.nodes]
    await client.create_room("lobby", nodes=nodes[:1])
    _, mover = await client.plan_move("lobby", nodes[:3], lambda line: None)
    await mover.run()


async def test_a_dead_server_is_replaced_by_name_and_the_room_survives_the_next_death(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS_MAX):
        async with (
            cluster_of(tmp_path / "servers", dht=True, names=("a", "b", "c", "d")) as cluster,
            person(tmp_path, "alice") as alice,
            person(tmp_path, "bob") as bob,
        ):
            await on_three_of_four(cluster, alice)
            ours = await alice.room("lobby")
            theirs = await bob.join(ours.link)
            await cluster.kill(cluster.nodes[2])

            found = await alice.plan_replacement("lobby", "c", "d", lambda line: None)
            assert found is not None
            plan, mover = found
            assert (plan.margin_before, plan.margin_after) == (1, 1)
            await mover.run()
            await theirs.send("c is dead, long live d")
            await cluster.kill(cluster.nodes[1])
            await ours.send("b as well")

            assert [message.text for message in await read_until(theirs, "b as well")][-1] == "b as well"
            assert {replica.name for replica in (await ours.status()).replicas} == {"a", "b", "d"}


async def test_what_cannot_be_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS_MAX):
        async with (
            cluster_of(tmp_path / "servers", dht=True, names=("a", "b", "c", "d")) as cluster,
            person(tmp_path, "alice") as alice,
        ):
            await on_three_of_four(cluster, alice)

            assert await alice.plan_replacement("lobby", "d", "a", lambda line: None) is None
            with pytest.raises(RefusedError, match="survive less"):
                await alice.plan_replacement("lobby", "c", "b", lambda line: None)
            with pytest.raises(UsageError):
                await alice.plan_replacement("lobby", "c", "nobody", lambda line: None)
