"""Groups whose members change, on real hosts: files, threads and restarts; the network is in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.vr.host.changes import change, member, primary_of, until
from tests.vr.host.cluster import GENESIS, GROUP, SEGMENT_BYTES, Links, Node, configuration_of
from vr.host import HostOptions, NotAMember
from vr.reconfiguration import Refusal
from vr.replica import Status
from vr.types import ClientId, SessionNumber

CLIENT = ClientId(b"client-000000001")
PATIENCE_S = 40


@contextlib.asynccontextmanager
async def running(folder: Path, count: int, *, members: int = 3) -> AsyncIterator[list[Node]]:
    """Nodes, the first of which have the group."""
    options = HostOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=0, seed=1, checkpoint_ops=20)
    links = Links()
    nodes = [Node(folder / f"node-{place}", links, options=options) for place in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.running())
        for node in nodes[:members]:
            await node.host.create_group(configuration_of(nodes[:members]), GENESIS)
        yield nodes


async def fill(node: Node, session: SessionNumber, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await node.call(CLIENT, session, number, b"%d" % number)


def bodies(last: int) -> list[bytes]:
    return [b"%d" % number for number in range(1, last + 1)]


async def test_group_grows_moves_and_shrinks_and_forgets_nothing(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 6) as nodes:
            old, new = nodes[:3], nodes[3:]
            session = await nodes[0].register(CLIENT)
            await fill(nodes[0], session, 1, 50)

            await change(nodes, old, new)
            await fill(nodes[3], session, 51, 60)
            await until(nodes, lambda: all(node.bodies() == bodies(60) for node in nodes))
            await change(nodes, nodes[:5], nodes[5:])
            await fill(nodes[4], session, 61, 70)
            await change(nodes, new)
            await fill(nodes[5], session, 71, 80)
            await until(nodes, lambda: all(node.bodies() == bodies(80) for node in new))
            last = await change(nodes, new[:1])
            await fill(nodes[3], session, 81, 90)

            assert last.epoch == 4
            assert all(node.host.replica(GROUP).status is Status.RETIRED for node in nodes if node is not nodes[3])
            assert nodes[3].bodies() == bodies(90)
            assert [end.configuration.epoch for _, end in nodes[0].ends] == [1, 2, 3]
            assert nodes[0].host.statistics.epochs_begun == 2
            await nodes[0].host.forget_group(GROUP)


async def test_restarts_find_the_epoch_that_was_reached(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 4) as nodes:
            session = await nodes[0].register(CLIENT)
            await fill(nodes[0], session, 1, 30)
            await change(nodes, nodes[:3], nodes[3:])
            await until(nodes, lambda: nodes[3].bodies() == bodies(30))
            last = await change(nodes, nodes[1:])
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(node.running())
            assert [node.host.replica(GROUP).configuration.epoch for node in nodes] == [1, 2, 2, 2]
            assert nodes[0].host.replica(GROUP).status is Status.RETIRED
            assert list(nodes[0].host.notes()[GROUP]) == [b"%d" % end.op for _, end in nodes[0].ends][:2]
            await fill(nodes[3], session, 31, 40)
            await until(nodes, lambda: all(node.bodies() == bodies(40) for node in nodes[1:]))
            assert nodes[3].host.replica(GROUP).configuration == last


async def test_member_that_was_away_follows_into_the_epoch_of_now(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 4) as nodes:
            session = await nodes[0].register(CLIENT)
            await fill(nodes[0], session, 1, 10)
            await change(nodes, nodes[:3], nodes[3:])
            await until(nodes, lambda: nodes[3].bodies() == bodies(10))
            away = next(node for node in nodes[1:3] if node is not primary_of(nodes))
            links = nodes[0]._links
            others = [node for node in nodes if node is not away]
            links.cut |= {frozenset((away.host.replica_id, other.host.replica_id)) for other in others}
            leader = others[0]
            await until(nodes, lambda: primary_of(others) is not None)
            stayed = [node for node in nodes[1:] if node is not away]
            current = primary_of(others)
            assert current is not None
            following = current.host.replica(GROUP).configuration.successor(tuple(map(member, (*stayed, away))))
            await until(nodes, lambda: current.host.reconfigure(GROUP, following) is not Refusal.NOT_READY)
            await until(nodes, lambda: all(node.host.replica(GROUP).configuration == following for node in stayed))
            await fill(stayed[0], session, 11, 60)
            assert away.host.replica(GROUP).configuration.epoch == 1
            assert leader.host.replica(GROUP).status is Status.RETIRED

            links.cut.clear()
            for other in others:
                other.host.peer_connected(away.host.replica_id)
                away.host.peer_connected(other.host.replica_id)

            await until(nodes, lambda: away.host.replica(GROUP).configuration == following)
            await until(nodes, lambda: away.bodies() == bodies(60))


async def test_primary_is_handed_over_before_a_node_goes(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 3) as nodes:
            session = await nodes[0].register(CLIENT)
            await fill(nodes[0], session, 1, 5)
            before = primary_of(nodes)
            assert before is not None
            heir = next(node for node in nodes if node is not before)
            await until(nodes, lambda: heir.bodies() == bodies(5))

            assert not heir.host.transfer_primary(GROUP, before.host.replica_id)
            assert not before.host.transfer_primary(GROUP, before.host.replica_id)
            assert before.host.transfer_primary(GROUP, heir.host.replica_id)

            await until(nodes, lambda: primary_of(nodes) is heir)
            await fill(before, session, 6, 10)


async def test_replica_without_a_log_gets_no_vote_in_a_later_epoch(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 4) as nodes:
            following = configuration_of(nodes[:3]).successor(tuple(map(member, nodes[1:])))

            with pytest.raises(NotAMember):
                await nodes[3].host.create_group(following, GENESIS)
            assert nodes[0].host.reconfigure(GROUP, following) in {Refusal.STRANGERS, Refusal.NOT_PRIMARY}


async def test_standby_that_was_never_heard_of_is_not_ready_however_short_the_log(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 2, members=1) as nodes:
            await until(nodes, lambda: primary_of(nodes) is not None)
            current = nodes[0].host.replica(GROUP).configuration
            first = current.successor((member(nodes[0]),), (member(nodes[1]),))
            await until(nodes, lambda: nodes[0].host.reconfigure(GROUP, first) is None)
            await until(nodes, lambda: nodes[0].host.replica(GROUP).configuration == first)
            second = first.successor((member(nodes[1]),))
            await until(nodes, lambda: nodes[0].host.reconfigure(GROUP, second) is not Refusal.NOT_PRIMARY)
            assert nodes[0].host.reconfigure(GROUP, second) is Refusal.NOT_READY

            await nodes[1].host.create_group(first, GENESIS)

            await until(nodes, lambda: nodes[0].host.reconfigure(GROUP, second) is None)
            await until(nodes, lambda: nodes[1].host.replica(GROUP).configuration == second)
