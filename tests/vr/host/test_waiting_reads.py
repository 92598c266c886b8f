"""Reads of services: `Host.read_index`, and who waits for which."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.vr.host.cluster import GROUP, cluster
from vr import limits
from vr.host import Busy, HostClosed
from vr.host.waiting_reads import WaitingReads
from vr.ready import ReadDone
from vr.types import ClientId, OpNumber

CLIENT = ClientId(b"client-000000001")
PATIENCE_S = 30


async def test_a_read_anywhere_shows_what_was_acknowledged_elsewhere(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path) as nodes:
            primary = nodes[nodes[0].host.replica(GROUP).primary_index]
            session = await primary.register(CLIENT)
            for number in range(1, 4):
                body = b"%d" % number
                await primary.call(CLIENT, session, number, body)
                for node in nodes:
                    op = await node.host.read_index(GROUP)
                    assert node.host.replica(GROUP).applied_op >= op
                    assert node.bodies()[-1] == body


async def test_a_read_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        with trio.move_on_after(0.05) as scope:
            await nodes[0].host.read_index(GROUP, min_op=OpNumber(10**6))

        assert scope.cancelled_caught
        assert len(nodes[0].host._loop.waiting_reads) == 0


async def test_too_many_reads_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READS_MAX", 0)
    async with cluster(tmp_path) as nodes:
        with pytest.raises(Busy):
            await nodes[0].host.read_index(GROUP)


async def test_reads_are_told_apart_and_end_with_the_host() -> None:
    table = WaitingReads()
    first, second, late = table.begin(), table.begin(), table.begin()

    table.end(late)
    table.settle([ReadDone(number=second.number, op=OpNumber(5)), ReadDone(number=late.number, op=OpNumber(6))])
    table.close()

    assert await second.result() == 5
    with pytest.raises(HostClosed):
        await first.result()
