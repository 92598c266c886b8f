"""Groups that nobody uses keep nothing in memory, and nobody notices."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.vr.host.changes import until
from tests.vr.host.cluster import GENESIS, GROUP, Links, Node, configuration_of, hosted
from tests.vr.host.test_host import run_until_cancelled
from vr.host import limits
from vr.host.cooling import Cooling
from vr.types import ClientId

CLIENT = ClientId(b"client-000000001")
PATIENCE_S = 30


def test_groups_cool_in_the_order_of_their_last_use_a_few_at_a_time() -> None:
    cooling = Cooling()
    groups = [hosted(index) for index in range(limits.COOLED_AT_ONCE_MAX + 3)]
    for place, group in enumerate(groups):
        cooling.note_used(group, place / 1000)
    cooling.note_used(groups[0], 1.0)
    assert cooling.next_due() == limits.COLD_S + 0.001

    assert list(cooling.take(limits.COLD_S)) == []
    first = list(cooling.take(limits.COLD_S + 0.5))
    assert first == groups[1 : limits.COOLED_AT_ONCE_MAX + 1]
    assert list(cooling.take(limits.COLD_S + 0.6)) == [], "not so soon again"
    second = list(cooling.take(limits.COLD_S + 0.5 + limits.COOL_EVERY_S))

    assert second == [*groups[limits.COOLED_AT_ONCE_MAX + 1 :], groups[0]]
    assert (len(cooling), cooling.next_due()) == (0, float("inf"))


def test_what_is_busy_stays_warm() -> None:
    cooling, group = Cooling(), hosted()
    cooling.note_used(group, 0.0)
    group.is_checkpointing = True

    assert list(cooling.take(limits.COLD_S)) == []
    assert cooling.next_due() == 2 * limits.COLD_S
    cooling.forget(group)
    assert len(cooling) == 0


def memory_of(node: Node) -> int:
    """Operations that a node's replica has in memory."""
    replica = node.host.replica(GROUP)
    return replica.head_op - replica._state.log.base_op


async def test_a_cold_group_serves_laggards_from_disk_and_wakes_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COOL_EVERY_S", 0.01)
    links = Links()
    nodes = [Node(tmp_path / f"node-{index}", links) for index in range(3)]
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            kill = {node: await nursery.start(run_until_cancelled, node) for node in nodes}
            for node in nodes:
                await node.host.create_group(configuration_of(nodes), GENESIS)
            session = await nodes[0].register(CLIENT)
            await nodes[0].call(CLIENT, session, 1, b"1")
            await kill[nodes[2]]()
            for number in range(2, 30):
                await nodes[0].call(CLIENT, session, number, b"%d" % number)
            pair = nodes[:2]
            assert all(memory_of(node) > 20 for node in pair)

            monkeypatch.setattr(limits, "COLD_S", 0.05)
            await nodes[0].call(CLIENT, session, 30, b"30")
            await until(pair, lambda: all(node.host.warm_groups == 0 and memory_of(node) == 0 for node in pair))
            views = [node.host.replica(GROUP).view for node in pair]
            await nursery.start(run_until_cancelled, nodes[2])
            bodies = [b"%d" % number for number in range(1, 31)]
            await until(nodes, lambda: nodes[2].bodies() == bodies)
            assert [node.host.replica(GROUP).view for node in pair] == views, "nobody was missed"

            await nodes[2].call(CLIENT, session, 31, b"31")
            await until(nodes, lambda: all(node.bodies() == [*bodies, b"31"] for node in nodes))
            assert nodes[0].host.statistics.groups_cooled >= 1
            nursery.cancel_scope.cancel()
