from __future__ import annotations

from pathlib import Path

import trio

from room_server.draining import Draining
from tests.vr.host.test_epochs import CLIENT, PATIENCE_S, fill, primary_of, running, until


async def test_a_drained_node_leads_nothing_and_serves_on_until_it_is_told_otherwise(tmp_path: Path) -> None:
    told: list[bool] = []
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 3) as nodes, trio.open_nursery() as nursery:
            session = await nodes[0].register(CLIENT)
            await fill(nodes[0], session, 1, 5)
            leader = primary_of(nodes)
            assert leader is not None
            draining = Draining(leader.host, tell=told.append)
            nursery.start_soon(draining.run)
            assert (draining.report().is_draining, draining.report().led) == (False, 1)

            assert draining.begin().is_draining
            draining.begin()
            await until(nodes, lambda: draining.report().led == 0)
            await fill(leader, session, 6, 8)

            assert primary_of(nodes) is not leader
            assert not draining.end().is_draining
            assert told == [True, False]
            nursery.cancel_scope.cancel()


async def test_what_comes_back_is_handed_over_again(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with running(tmp_path, 3) as nodes, trio.open_nursery() as nursery:
            session = await nodes[0].register(CLIENT)
            await fill(nodes[0], session, 1, 5)
            first = primary_of(nodes)
            assert first is not None
            draining = Draining(first.host, tell=lambda is_on: None)
            nursery.start_soon(draining.run)
            draining.begin()
            await until(nodes, lambda: primary_of(nodes) not in {None, first})
            second = primary_of(nodes)
            assert second is not None
            [group] = second.host.groups()
            await until(nodes, lambda: second.host.transfer_primary(group, first.host.replica_id))

            await until(nodes, lambda: primary_of(nodes) not in {None, first} and draining.report().led == 0)

            await fill(nodes[0], session, 6, 8)
            nursery.cancel_scope.cancel()
