from __future__ import annotations

from pathlib import Path

import trio

from room_server.handover import hand_over, heirs, led_groups
from tests.vr.host.cluster import GROUP
from tests.vr.host.test_epochs import CLIENT, PATIENCE_S, fill, primary_of, running, until


async def test_groups_are_led_by_somebody_else_before_a_node_goes(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 3) as nodes:
            session = await nodes[0].register(CLIENT)
            await fill(nodes[0], session, 1, 5)
            leader = primary_of(nodes)
            assert leader is not None
            assert led_groups(leader.host) == [GROUP]

            assert await hand_over(leader.host) == 0

            assert primary_of(nodes) is not leader
            await fill(leader, session, 6, 8)
            assert max(len(node.host.statistics.view_changes_s) for node in nodes) <= 1


async def test_who_is_cut_off_inherits_nothing(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 3) as nodes:
            session = await nodes[0].register(CLIENT)
            await fill(nodes[0], session, 1, 5)
            leader = primary_of(nodes)
            assert leader is not None
            lost = next(node for node in nodes if node is not leader)
            leader._links.cut |= {frozenset((lost.host.replica_id, node.host.replica_id)) for node in nodes}
            leader.host.peer_disconnected(lost.host.replica_id)
            await until(nodes, lambda: len(heirs(leader.host.replica(GROUP))) == 1)

            assert lost.host.replica_id not in heirs(leader.host.replica(GROUP))


async def test_one_alone_hands_over_to_nobody(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 1, members=1) as [node]:
            await node.register(CLIENT)

            assert await hand_over(node.host) == 0
