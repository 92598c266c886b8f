from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from room_server.cluster_report import ClusterView, Role
from tests.room_server.cluster import cluster_of, status_when
from tests.room_server.operators import do, joined, report, request, roles_when, view
from wire.ids import RoomId

ROOM = RoomId(b"a room to keep..")


async def test_cluster_grows_from_one_server_and_survives_its_founder(tmp_path: Path) -> None:
    with trio.fail_after(50):
        async with cluster_of(tmp_path, names=("a", "b", "c", "d"), strangers=True) as cluster:
            a, b, c, d = cluster.nodes
            assert (await view(a)) == ClusterView()
            await do(a, "create", name="Malmö makers")
            assert [node.name for node in (await report(a)).nodes] == ["a"]

            await joined(a, b)
            await roles_when(b, Role.VOTER, Role.STANDBY)
            await joined(b, c)
            for node in (a, b, c):
                await roles_when(node, *[Role.VOTER] * 3)

            await cluster.kill(a)
            await joined(c, d)

            assert [node.name for node in (await report(d)).nodes] == ["a", "b", "c", "d"]
            assert (await report(b)).leader in {"b", "c"}
            await cluster.start(a)
            for node in cluster.nodes:
                await roles_when(node, *[Role.VOTER] * 3, Role.STANDBY)


async def test_server_beyond_five_is_told_the_roster_and_takes_the_place_of_one_that_is_removed(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d", "e", "f")
    with trio.fail_after(50):
        async with cluster_of(tmp_path, names=names, strangers=True) as cluster:
            a, b, *_, f = cluster.nodes
            await do(a, "create", name="six")
            await joined(a, *cluster.nodes[1:])
            for node in cluster.nodes:
                await roles_when(node, *[Role.VOTER] * 5, Role.TOLD)
            status, text = await request(f, "POST", "/cluster/invite")
            assert (status, b"only told the roster: ask on one of a, b, c, d, e" in text) == (409, True)

            await do(a, "remove", node="b")

            for node in (a, f):
                await roles_when(node, *[Role.VOTER] * 5)
            while (await view(b)).cluster is not None:
                await trio.testing.wait_all_tasks_blocked(0.01)


async def test_servers_of_a_cluster_host_rooms_together_and_a_restart_needs_no_configuration(tmp_path: Path) -> None:
    with trio.fail_after(50):
        async with cluster_of(tmp_path, strangers=True) as cluster:
            a, b, c = cluster.nodes
            await do(a, "create", name="three")
            await joined(a, b, c)
            for node in cluster.nodes:
                await roles_when(node, *[Role.VOTER] * 3)
            await cluster.create_room(ROOM, on=[a])
            await status_when(a, ROOM, lambda status: status.status == "normal" and status.spare_failures == 1)
            for node in cluster.nodes:
                await cluster.kill(node)

            for node in cluster.nodes:
                await cluster.start(node)

            await status_when(a, ROOM, lambda status: status.status == "normal" and status.spare_failures == 1)
            await roles_when(b, *[Role.VOTER] * 3)
