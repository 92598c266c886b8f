from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from room_server import limits
from room_server.config import Endpoint
from room_server.metrics import NodeMetrics
from room_server.peers import Peer
from room_server.reachability import ReachWatch, Sighting, ask_fellow, fellows_to_ask, judge, wait_s
from room_server.report import NodeReport, Reachability
from tests.room_server.cluster import Cluster, TestNode, cluster_of
from tests.room_server.operators import request
from wire.channel import MessageChannel
from wire.errors import ClosedError
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import NodeKey
from wire.messages import NONCE_BYTES, DialBack, DialledBack, Reach, ServerHello
from wire.tls import accept, server_context
from wire.versions import PROTOCOL_VERSION

OURS = Endpoint("home.example", 7400)
PUBLIC = "93.184.216.34"
OTHER = "93.184.216.99"
PUBLIC6 = "2606:2800:220:1::1"
OF_THE_DAY = "2606:2800:220:1:89ab:cdef:1234:5678"
HOME = "192.168.1.7"


def said(reach: Reach, host: str = PUBLIC, fellow: str = "b", fellow_hosts: tuple[str, ...] = ()) -> Sighting:
    return Sighting(fellow=fellow, reach=reach, host=host, fellow_hosts=fellow_hosts)


def verdict(announced: list[str], *sightings: Sighting) -> Reachability:
    return judge(OURS, announced, sightings).state


def peer(name: str, host: str = "", port: int = 7400) -> Peer:
    return Peer(name=name, node_key=NodeIdentity(name.encode() * 32).public, host=host or f"{name}.example", port=port)


@pytest.mark.parametrize(
    ("reach", "state", "why"),
    [
        (Reach.REACHED, Reachability.YES, "b gets through"),
        (Reach.SILENT, Reachability.NO, f"b tried {PUBLIC}:7400, and nothing answers"),
        (Reach.CLOSED, Reachability.NO, "nobody listens there"),
        (Reach.STRANGER, Reachability.NO, "something else answers"),
    ],
)
def test_what_a_fellow_sees_decides_and_is_said(reach: Reach, state: Reachability, why: str) -> None:
    decided = judge(OURS, [PUBLIC], [said(reach)])

    assert decided.state is state
    assert why in decided.why


def test_nobody_who_could_tell_leaves_it_unknown() -> None:
    assert verdict([PUBLIC]) is Reachability.UNKNOWN


def test_one_fellow_that_gets_through_outweighs_the_others() -> None:
    assert verdict([PUBLIC], said(Reach.SILENT), said(Reach.REACHED, fellow="c")) is Reachability.YES


def test_server_that_is_reached_elsewhere_is_not_where_it_says() -> None:
    decided = judge(OURS, [OTHER], [said(Reach.REACHED)])

    assert decided.state is Reachability.NO
    assert f"at {PUBLIC}:7400, it announces home.example:7400" in decided.why


def test_fellow_on_the_same_home_network_knows_nothing_of_the_outside() -> None:
    assert verdict([PUBLIC], said(Reach.SILENT, HOME)) is Reachability.UNKNOWN
    assert verdict([PUBLIC], said(Reach.REACHED, HOME)) is Reachability.UNKNOWN
    assert verdict([HOME], said(Reach.SILENT, HOME)) is Reachability.NO


@pytest.mark.parametrize("reach", list(Reach))
def test_family_that_is_not_announced_tells_nothing(reach: Reach) -> None:
    assert verdict([PUBLIC6], said(reach)) is Reachability.UNKNOWN


@pytest.mark.parametrize("reach", list(Reach))
def test_question_that_a_relay_carried_tells_nothing(reach: Reach) -> None:
    assert verdict([PUBLIC], said(reach, OTHER, fellow_hosts=(OTHER,))) is Reachability.UNKNOWN


def test_fellow_that_shares_our_address_is_believed() -> None:
    assert verdict([PUBLIC], said(Reach.SILENT, fellow_hosts=(PUBLIC,))) is Reachability.NO


def test_address_of_the_day_is_good_news_only() -> None:
    assert verdict([PUBLIC6], said(Reach.REACHED, OF_THE_DAY)) is Reachability.YES
    assert verdict([PUBLIC6], said(Reach.SILENT, OF_THE_DAY)) is Reachability.UNKNOWN


@pytest.mark.parametrize("announced", [["0.0.0.0"], []])
def test_without_a_known_address_whatever_was_dialled_counts(announced: list[str]) -> None:
    assert verdict(announced, said(Reach.SILENT)) is Reachability.NO
    assert verdict(announced, said(Reach.REACHED)) is Reachability.YES


def test_another_fellow_is_asked_first_each_time_and_few_at_all() -> None:
    peers = [peer(name) for name in "bcdef"]

    turns = ["".join(one.name for one in fellows_to_ask(peers, OURS, turn)) for turn in range(6)]

    assert turns == ["bcd", "cde", "def", "efb", "fbc", "bcd"]
    assert len(turns[0]) == limits.REACH_FELLOWS_MAX


def test_whoever_is_carried_by_us_is_not_asked() -> None:
    assert fellows_to_ask([peer("b", OURS.host, OURS.port)], OURS, 0) == []
    assert [one.name for one in fellows_to_ask([peer("b", OURS.host, OURS.port), peer("c")], OURS, 7)] == ["c"]
    assert fellows_to_ask([], OURS, 3) == []


def test_server_that_is_not_reached_asks_again_sooner() -> None:
    assert wait_s(Reachability.YES, 0.5) == limits.REACH_EVERY_S
    assert wait_s(Reachability.NO, 0.5) == wait_s(Reachability.UNKNOWN, 0.5) == limits.REACH_RETRY_S
    assert wait_s(Reachability.YES, 0.0) < limits.REACH_EVERY_S < wait_s(Reachability.YES, 1.0)
    assert wait_s(Reachability.NO, 0.0) > limits.DIAL_BACK_EVERY_S + limits.DIAL_BACK_S_MAX


def watch_of(node: TestNode, peers: Mapping[NodeKey, Peer], *, port: int = 0) -> tuple[ReachWatch, NodeMetrics]:
    metrics = NodeMetrics(version="0", peers=[])
    place = Endpoint(node.address.host, port or node.address.port)
    watch = ReachWatch(place, node_key=node.address.node_key, peers=peers, metrics=metrics, random01=lambda: 0.5)
    return watch, metrics


def fellows_of(cluster: Cluster) -> dict[NodeKey, Peer]:
    """Of the first node: all others."""
    return {
        node.address.node_key: Peer(
            name=node.config.name, node_key=node.address.node_key, host=node.address.host, port=node.address.port
        )
        for node in cluster.nodes[1:]
    }


def gauge(metrics: NodeMetrics) -> float:
    value = metrics.registry.get_sample_value("samtala_reachable")
    assert value is not None
    return value


@pytest.mark.parametrize("host", ["", "home.example", "1.2.3.4%\x1b[2J", "fe80::1%" + "x" * 60])
async def test_fellow_that_names_no_address_is_not_listened_to(host: str) -> None:
    fellow = NodeIdentity(b"f" * 32)

    async def lie(stream: trio.SocketStream) -> None:
        channel = MessageChannel(await accept(stream, server_context(fellow)))
        await channel.receive()
        await channel.send(ServerHello(PROTOCOL_VERSION, bytes(NONCE_BYTES), fellow.public, "f", 0))
        await channel.receive()
        await channel.send(DialledBack(1, Reach.SILENT, host))
        with pytest.raises(ClosedError):
            await channel.receive()
        await channel.aclose()

    question = DialBack(1, peer("a").node_key, 7400)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, lie, listeners)
        address = ServerAddress("127.0.0.1", listeners[0].socket.getsockname()[1], fellow.public)
        sighting = await ask_fellow("f", address, question, agent="test")
        nursery.cancel_scope.cancel()

    assert sighting is None


async def test_running_server_is_reached_by_its_fellow(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a", "b")) as cluster:
        watch, metrics = watch_of(cluster.nodes[0], fellows_of(cluster))
        before = watch.report()
        await watch.look()

    assert (before.state, before.age_s) == (Reachability.UNKNOWN, None)
    assert (watch.report().state, watch.report().why) == (Reachability.YES, "b gets through")
    assert gauge(metrics) == 1


async def test_server_whose_port_leads_nowhere_is_not_reached(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a", "b")) as cluster:
        watch, metrics = watch_of(cluster.nodes[0], fellows_of(cluster), port=1025)
        await watch.look()

    assert watch.report().state is Reachability.NO
    assert watch.report().why == "wrong port: b tried 127.0.0.1:1025, and nobody listens there"
    assert gauge(metrics) == 0


async def test_fellow_that_is_away_is_passed_over_for_the_next(tmp_path: Path) -> None:
    async with cluster_of(tmp_path) as cluster:
        await cluster.kill(cluster.nodes[1])
        watch, _ = watch_of(cluster.nodes[0], fellows_of(cluster))
        await watch.look()

    assert watch.report().why == "c gets through"


async def test_when_all_fellows_are_away_nothing_is_known_any_more(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a", "b")) as cluster:
        watch, metrics = watch_of(cluster.nodes[0], fellows_of(cluster))
        await watch.look()
        await cluster.kill(cluster.nodes[1])
        await watch.look()

    assert watch.report().state is Reachability.UNKNOWN
    assert math.isnan(gauge(metrics))


async def test_server_without_fellows_does_not_know_and_asks_on(tmp_path: Path, autojump_clock: MockClock) -> None:
    metrics = NodeMetrics(version="0", peers=[])
    watch = ReachWatch(OURS, node_key=peer("a").node_key, peers={}, metrics=metrics, random01=lambda: 0.5)
    with trio.move_on_after(limits.REACH_FIRST_S + 4.5 * limits.REACH_RETRY_S):
        await watch.run()

    report = watch.report()
    assert (report.state, report.why) == (Reachability.UNKNOWN, "there is no other server to ask")
    assert report.age_s is not None
    assert report.age_s < limits.REACH_RETRY_S
    assert math.isnan(gauge(metrics))


async def told(node: TestNode) -> NodeReport:
    return msgspec.json.decode((await request(node, "GET", "/status"))[1], type=NodeReport)


async def test_node_asks_by_itself_unless_a_relay_carries_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REACH_FIRST_S", 0.0)
    monkeypatch.setattr(limits, "REACH_RETRY_S", 0.1)
    monkeypatch.setattr(limits, "DIAL_BACK_EVERY_S", 0.0)
    async with cluster_of(tmp_path, names=("a", "b", "c"), relayed=("c",)) as cluster:
        a, _, carried = cluster.nodes
        with trio.fail_after(20.0):
            while (reach := (await told(a)).reach) is None or reach.state is Reachability.UNKNOWN:
                await trio.testing.wait_all_tasks_blocked(0.002)
        exported = (await request(a, "GET", "/metrics"))[1]
        unasked = await told(carried)

    assert (reach.state, reach.why) == (Reachability.YES, "b gets through")
    assert b"samtala_reachable 1.0" in exported
    assert unasked.reach is None
