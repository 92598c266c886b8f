from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from room_server.cluster_admin import REFUSALS
from room_server.roster import RosterCode
from tests.room_server.cluster import TestNode, cluster_of
from tests.room_server.operators import do, joined, report, request


async def refused(node: TestNode, verb: str, /, **said: str) -> str:
    query = "&".join(f"{key}={quote(value)}" for key, value in said.items())
    status, body = await request(node, "POST", f"/cluster/{verb}?{query}")
    assert status == 409, body
    return body.decode()


def test_every_refusal_has_a_sentence() -> None:
    assert set(REFUSALS) | {RosterCode.DONE} == set(RosterCode)


async def test_operator_is_told_why_not(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with cluster_of(tmp_path, names=("a",), strangers=True) as cluster:
            [a] = cluster.nodes
            for verb in ("invite", "approve", "deny", "remove", "policy"):
                assert "belongs to no cluster" in await refused(a, verb)
            assert "name out of bounds" in await refused(a, "create")
            await do(a, "create", name="makers")

            assert "belongs to a cluster already" in await refused(a, "create", name="other")
            assert "hours" in await refused(a, "invite", valid_s="99999999")
            assert "nobody asks" in await refused(a, "approve", node="b")
            assert "there are a" in await refused(a, "remove", node="b")
            assert "last server" in await refused(a, "remove", node="a")
            assert "everybody or nobody" in await refused(a, "policy", makers="x")
            assert "1 to 7 servers" in await refused(a, "policy", replicas="8")
            assert (await request(a, "POST", "/cluster/invite?valid_s=x"))[0] == 400
            assert (await request(a, "POST", "/cluster"))[0] == 404
            assert (await request(a, "PUT", "/cluster/invite"))[0] == 405


async def test_operator_sees_policy_invitations_and_how_servers_are(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with cluster_of(tmp_path, names=("a", "b"), strangers=True) as cluster:
            a, b = cluster.nodes
            await do(a, "create", name="makers")
            await do(a, "policy", makers="nobody", replicas="5")
            seen = await report(a)
            assert (seen.room_makers, seen.room_replicas, seen.invitations, seen.leader) == ("nobody", 5, 1, "a")

            await joined(a, b)

            while any(node.vitals is None for node in (await report(b)).nodes):
                await trio.testing.wait_all_tasks_blocked(0.01)
            first, second = (await report(b)).nodes
            assert (first.here, second.here, first.up) == (False, True, True)
            assert first.vitals is not None
            assert (first.vitals.hosted, first.vitals.margin) == (0, None)
            assert first.rtt_ms is not None


@pytest.mark.parametrize("verb", ["approve", "deny"])
async def test_only_who_asks_is_approved_or_denied(tmp_path: Path, verb: str) -> None:
    with trio.fail_after(30):
        async with cluster_of(tmp_path, names=("a",), strangers=True) as cluster:
            [a] = cluster.nodes
            await do(a, "create", name="makers")

            assert "nobody asks" in await refused(a, verb, node="a")
