"""Groups that a host runs no longer, and what it keeps of them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import trio

from tests.vr.host.cluster import GENESIS, GROUP, OWN, PEER, SEGMENT_BYTES, Links, Node, configuration_of, hosted
from vr.errors import UnknownGroup
from vr.host import HostOptions
from vr.host.neighbours import Neighbours
from vr.host.write_queue import Write, WriteQueue
from vr.liveness import LivenessOptions
from vr.types import ClientId, GroupId

CLIENT = ClientId(b"client-000000001")
OTHER = GroupId(b"group-0000000002")
PATIENCE_S = 30


def alone(folder: Path) -> Node:
    return Node(folder, Links(), options=HostOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=0, seed=1))


async def fill(node: Node, group: GroupId, count: int, *, size: int = 1) -> None:
    session = await node.register(CLIENT, group)
    for number in range(1, count + 1):
        await node.call(CLIENT, session, number, b"x" * size, group)


async def test_forgotten_group_is_gone_for_good_and_others_go_on(tmp_path: Path) -> None:
    node = alone(tmp_path)
    with trio.fail_after(PATIENCE_S):
        async with node.running() as host:
            for group in (GROUP, OTHER):
                await host.create_group(configuration_of([node], group), GENESIS)
                await fill(node, group, 3)
            await host.keep_note(GROUP, 1, b"what remains")

            await host.forget_group(GROUP)

            assert list(host.groups()) == [OTHER]
            with pytest.raises(UnknownGroup):
                host.replica(GROUP)
            with pytest.raises(UnknownGroup):
                await host.forget_group(GROUP)
        async with node.running() as host:
            assert list(host.groups()) == [OTHER]
            assert not host.damaged
            assert host.notes() == {GROUP: [b"what remains"]}
            await node.until(lambda: len(node.bodies(OTHER)) == 3)


async def test_forgotten_group_may_come_back_empty(tmp_path: Path) -> None:
    node = alone(tmp_path)
    with trio.fail_after(PATIENCE_S):
        async with node.running() as host:
            await host.create_group(configuration_of([node]), GENESIS)
            await fill(node, GROUP, 5)
            await host.forget_group(GROUP)
            await host.create_group(configuration_of([node]), b"another genesis")
            await fill(node, GROUP, 2)
        async with node.running() as host:
            assert not host.damaged
            await node.until(lambda: len(node.bodies()) == 2)


@pytest.mark.parametrize("is_forgotten_in_history", [False, True])
async def test_cut_between_history_and_log_harms_nothing(tmp_path: Path, *, is_forgotten_in_history: bool) -> None:
    """History forgets first; as long as it has not, the group runs on."""
    node = alone(tmp_path)
    with trio.fail_after(PATIENCE_S):
        async with node.running() as host:
            await host.create_group(configuration_of([node]), GENESIS)
            await fill(node, GROUP, 2)
            if is_forgotten_in_history:
                host._storage.history.forget_group(GROUP)
        async with node.running() as host:
            assert not host.damaged
            assert list(host.groups()) == ([] if is_forgotten_in_history else [GROUP])
            if is_forgotten_in_history:
                await host.create_group(configuration_of([node]), GENESIS)
                await fill(node, GROUP, 1)
                assert len(node.bodies()) == 1


async def test_log_of_a_forgotten_group_is_let_go(tmp_path: Path) -> None:
    node = alone(tmp_path)
    with trio.fail_after(PATIENCE_S):
        async with node.running() as host:
            for group in (GROUP, OTHER):
                await host.create_group(configuration_of([node], group), GENESIS)
            await fill(node, GROUP, 40, size=20_000)
            before = host.log_segments
            await host.forget_group(GROUP)
            await fill(node, OTHER, 20, size=20_000)

            assert host.log_segments < before + 2


async def test_nothing_is_done_any_more_for_who_was_forgotten(tmp_path: Path) -> None:
    links = Links()
    nodes = [Node(tmp_path / f"node-{place}", links) for place in range(3)]
    with trio.fail_after(PATIENCE_S):
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(node.running())
            for node in nodes:
                await node.host.create_group(configuration_of(nodes), GENESIS)
            await nodes[1].host.forget_group(GROUP)

            session = await nodes[0].register(CLIENT)
            await nodes[0].call(CLIENT, session, 1, b"two are enough")

            assert nodes[1].host.statistics.messages_for_unknown_groups > 0


def test_writes_of_one_group_are_dropped_and_others_kept() -> None:
    queue = WriteQueue()
    gone, kept = hosted(0), hosted(1)
    for group in (gone, kept, None, gone):
        queue.push(Write(records=(), size=10, hosted=group))

    queue.drop(gone)

    assert [write.hosted for write in queue.take(20)] == [kept, None]


def test_fates_of_peers_are_not_told_to_a_group_that_left() -> None:
    neighbours = Neighbours(options=LivenessOptions(), seed=1)
    gone, kept = hosted(0), hosted(1)
    for group in (gone, kept):
        neighbours.add_group(group, OWN, 0.0)
    neighbours.on_connected(PEER, 0.0)

    neighbours.remove_group(gone)
    neighbours.on_connected(PEER, 1.0)

    assert {group for group, _, _ in neighbours.fates.due(2.0)} == {kept}
