from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from room_server import limits
from room_server.config import Endpoint, NodeConfig, PeerConfig
from room_server.reachability import Sighting, judge
from room_server.setup import init_node
from samtala.operate.reach import examine_reach, reach_findings
from samtala.operate.verdict import Finding
from tests.room_server.cluster import cluster_of
from tests.samtala.operate.reports import node_report, peer
from wire.messages import Reach

OURS = Endpoint("home.example", 7400)
PUBLIC = "93.184.216.34"
OTHER = "93.184.216.99"


def found(reach: Reach, announced: str = PUBLIC) -> list[Finding]:
    return reach_findings(OURS, judge(OURS, [announced], [Sighting(fellow="b", reach=reach, host=PUBLIC)]))


def test_server_that_is_reached_where_it_says_is_well() -> None:
    assert found(Reach.REACHED) == []
    assert reach_findings(OURS, judge(OURS, [PUBLIC], [])) == []


@pytest.mark.parametrize(
    ("reach", "name", "why", "fix"),
    [
        (Reach.SILENT, "unreachable", "not reachable from outside", "forward TCP and UDP 7400"),
        (Reach.CLOSED, "port-wrong", "nobody listens there", "ss -ltnp sport = :7400"),
        (Reach.STRANGER, "port-wrong", "something else answers", "forward TCP and UDP 7400"),
    ],
)
def test_each_fault_of_a_router_has_its_line_and_its_remedy(reach: Reach, name: str, why: str, fix: str) -> None:
    [finding] = found(reach)

    assert finding.name == name
    assert why in finding.why
    assert f"b tried {PUBLIC}:7400" in finding.why
    assert fix in finding.fix


def test_address_that_has_changed_is_said_with_the_new_one() -> None:
    [finding] = found(Reach.REACHED, OTHER)

    assert finding.name == "address-changed"
    assert "announces home.example:7400" in finding.why
    assert f'advertise = "{PUBLIC}:7400"' in finding.fix


async def test_a_server_that_is_carried_is_reached_while_its_relay_is_there() -> None:
    config = NodeConfig(name="a", data="x", listen="127.0.0.1:7610", relay="b")

    assert await examine_reach(config, node_report(peers=(peer("b"),))) == []
    [finding] = await examine_reach(config, node_report(peers=(peer("b", up=False), peer("c"))))

    assert finding.name == "relay-away"
    assert "no link to it" in finding.why


async def test_running_server_asks_its_peers_to_dial_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIAL_BACK_EVERY_S", 0.0)
    async with cluster_of(tmp_path, names=("a", "b")) as cluster:
        config = cluster.nodes[0].config
        elsewhere = msgspec.structs.replace(config, advertise="127.0.0.1:1025")

        assert await examine_reach(config, None) == []
        assert await examine_reach(elsewhere, node_report(peers=())) != []
        unnamed = msgspec.structs.replace(elsewhere, peers=())
        assert await examine_reach(unnamed, node_report(peers=())) == [], "nobody is known"
        told = msgspec.structs.replace(peer("b"), node=str(cluster.nodes[1].address))
        assert await examine_reach(unnamed, node_report(peers=(told,))) != [], "its cluster's servers are asked"


async def test_peers_that_do_not_answer_say_nothing(tmp_path: Path) -> None:
    made = await trio.to_thread.run_sync(
        partial(
            init_node,
            tmp_path / "n.toml",
            name="a",
            data=tmp_path / "d",
            listen="127.0.0.1:9",
            advertise="127.0.0.1:9",
        )
    )
    peers = (PeerConfig(name="b", address=f"127.0.0.1:1#{str(made.address).rpartition('#')[2]}"),)
    config = NodeConfig(name="a", data=str(tmp_path / "d"), listen="127.0.0.1:9", peers=peers)

    assert await examine_reach(config, node_report()) == []
