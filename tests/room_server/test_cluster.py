from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import trio
import trio.testing

from room_server.cluster import Cluster
from room_server.cluster_report import ClusterView, Role
from room_server.report import NodeReport
from room_server.roster import RosterService, cluster_id, encode_genesis, encode_state
from tests.room_server.cluster import TestNode, cluster_of, status_when
from tests.room_server.network import network_client
from tests.room_server.operators import do, invited, joined, report, request, roles_when, view
from tests.room_server.rosters import GENESIS, key, record
from vr.configuration import Configuration, Member
from vr.replica import Status
from vr.types import GroupId, ReplicaId
from wire.ids import RoomId
from wire.messages import GetNodeInfo, NodeInfo
from wire.peer_messages import PeerCluster

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
            before = (await report(a)).invitations
            await invited(f)
            assert (await report(a)).invitations == before + 1, "one that keeps the roster did it"

            await do(f, "remove", node="b")

            for node in (a, f):
                await roles_when(node, *[Role.VOTER] * 5)
            while (await view(b)).cluster is not None:
                await trio.testing.wait_all_tasks_blocked(0.01)


async def test_servers_of_a_cluster_host_rooms_together_and_a_restart_needs_no_configuration(tmp_path: Path) -> None:
    with trio.fail_after(50):
        async with cluster_of(tmp_path, strangers=True, dht=True) as cluster:
            a, b, c = cluster.nodes
            await do(a, "create", name="three")
            await joined(a, b, c)
            for node in cluster.nodes:
                await finds_others(node)
            for node in cluster.nodes:
                await roles_when(node, *[Role.VOTER] * 3)
            async with network_client(a.address) as client:
                assert (await client.call(GetNodeInfo(1), NodeInfo)).room_servers == 3
            await do(a, "policy", makers="nobody")
            with pytest.raises(AssertionError, match="takes no new rooms"):
                await cluster.create_room(ROOM, on=[a])
            await do(a, "policy", makers="everybody")
            await cluster.create_room(ROOM, on=[a])
            await status_when(a, ROOM, lambda status: status.status == "normal" and status.spare_failures == 1)
            for node in cluster.nodes:
                await cluster.kill(node)

            for node in cluster.nodes:
                await cluster.start(node)

            await status_when(a, ROOM, lambda status: status.status == "normal" and status.spare_failures == 1)
            await roles_when(b, *[Role.VOTER] * 3)


async def finds_others(node: TestNode) -> None:
    """Wait until the node knows others of the discovery network."""
    while True:
        report = msgspec.json.decode((await request(node, "GET", "/status"))[1], type=NodeReport)
        assert report.dht is not None
        if report.dht.nodes:
            return
        await trio.testing.wait_all_tasks_blocked(0.01)


class OneReplicaHost:
    """A host of which only this is known: in which epoch its replica retired."""

    replica_id = record(2).replica_id

    def __init__(self, epoch: int) -> None:
        self.calls: list[str] = []
        self._replica = SimpleNamespace(status=Status.RETIRED, configuration=SimpleNamespace(epoch=epoch))

    def replica(self, group: GroupId) -> SimpleNamespace:
        return self._replica

    async def forget_group(self, group: GroupId) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append("forget")

    async def create_group(self, configuration: Configuration, genesis: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append("create")


def epoch_of(number: int, members: list[int], standbys: list[int]) -> Configuration:
    everybody = {one: Member(ReplicaId(record(one).replica_id), key(one)) for one in (*members, *standbys)}
    return Configuration(
        group=GroupId(cluster_id(encode_genesis(GENESIS))),
        epoch=number,
        members=tuple(everybody[one] for one in members),
        standbys=tuple(everybody[one] for one in standbys),
        genesis=b"g" * 16,
    )


@pytest.mark.parametrize(
    ("ended", "summons", "calls"),
    [
        (None, epoch_of(2, [1], [2, 3]), []),
        (epoch_of(3, [1, 2, 3], []), epoch_of(2, [1], [2, 3]), []),
        (epoch_of(3, [1, 3, 4], []), epoch_of(3, [1, 3, 4], [2]), []),
        (epoch_of(3, [1, 3, 4], []), epoch_of(4, [1, 3, 4], [2]), ["forget", "create"]),
        (epoch_of(3, [1, 3, 4], []), epoch_of(4, [1, 2, 4], []), []),
    ],
)
async def test_a_replica_between_two_epochs_keeps_what_it_promised(
    ended: Configuration | None, summons: Configuration, calls: list[str]
) -> None:
    links = SimpleNamespace(follow=lambda _: None, tell=lambda *_: True)
    cluster = Cluster(own=lambda: record(2), links=links, file=None, entropy=bytes)
    host = OneReplicaHost(epoch=2)
    state = RosterService(GENESIS).state()
    roster = msgspec.structs.replace(state, nodes=(record(1), record(2), record(3)))
    await cluster.enter(encode_genesis(GENESIS), encode_state(roster))
    cluster.attach(host)  # type: ignore[arg-type]
    cluster.on_told(key(1), PeerCluster(cluster.genesis, summons.to_bytes(), encode_state(roster)))
    if ended is not None:
        cluster.on_epoch_end(ended)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert host.calls == calls


async def test_servers_that_were_linked_before_and_one_that_comes_back_keep_the_roster(tmp_path: Path) -> None:
    with trio.fail_after(50):
        async with cluster_of(tmp_path) as cluster:
            a, b, c = cluster.nodes
            await do(a, "create", name="three")
            await joined(a, b, c)
            for node in cluster.nodes:
                await roles_when(node, *[Role.VOTER] * 3)

            await do(a, "remove", node="a")

            await roles_when(b, Role.VOTER, Role.STANDBY)
            while (await view(a)).cluster is not None:
                await trio.testing.wait_all_tasks_blocked(0.01)
            await joined(b, a)
            for node in cluster.nodes:
                await roles_when(node, *[Role.VOTER] * 3)


async def test_who_is_left_of_a_roster_without_a_majority_begins_a_new_one(tmp_path: Path) -> None:
    with trio.fail_after(50):
        async with cluster_of(tmp_path, strangers=True) as cluster:
            a, b, c = cluster.nodes
            await do(a, "create", name="old")
            await joined(a, b)
            await roles_when(b, Role.VOTER, Role.STANDBY)
            await cluster.create_room(ROOM, members_of=[b])
            await cluster.kill(a)

            await do(b, "forget")

            assert (await view(b)).cluster is None
            assert (await request(b, "POST", "/cluster/forget"))[0] == 409
            await do(b, "create", name="new")
            await joined(b, c)
            await roles_when(c, Role.VOTER, Role.STANDBY)
            await cluster.kill(b)
            await cluster.start(b)
            assert [node.name for node in (await report(b)).nodes] == ["b", "c"]
            assert b.running is not None
            await status_when(b, ROOM, lambda status: status.status == "normal")
            await cluster.start(a)
            assert [node.name for node in (await report(a)).nodes] == ["a", "b"], "it knows nothing of that"
            assert (await report(b)).name == "new"
