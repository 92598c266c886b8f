from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from room_server.config import Endpoint, NodeConfig, PeerConfig
from room_server.setup import init_node
from samtala.operate.reach import Sighting, examine_reach, judge_reach
from tests.room_server.cluster import cluster_of
from tests.samtala.operate.reports import node_report, peer
from wire.messages import Reach

OURS = Endpoint("home.example", 7400)
PUBLIC = "93.184.216.34"
OTHER = "93.184.216.99"


def said(reach: Reach, host: str = PUBLIC, peer: str = "b") -> Sighting:
    return Sighting(peer=peer, reach=reach, host=host)


def test_server_that_is_reached_where_it_says_is_well() -> None:
    assert judge_reach(OURS, [PUBLIC], [said(Reach.REACHED)]) == []
    assert judge_reach(OURS, [PUBLIC], []) == []


@pytest.mark.parametrize(
    ("reach", "name", "why", "fix"),
    [
        (Reach.SILENT, "unreachable", "not reachable from outside", "forward TCP and UDP 7400"),
        (Reach.CLOSED, "port-wrong", "nobody listens there", "ss -ltnp sport = :7400"),
        (Reach.STRANGER, "port-wrong", "something else answers", "forward TCP and UDP 7400"),
    ],
)
def test_each_fault_of_a_router_has_its_line_and_its_remedy(reach: Reach, name: str, why: str, fix: str) -> None:
    [finding] = judge_reach(OURS, [PUBLIC], [said(reach)])

    assert finding.name == name
    assert why in finding.why
    assert f"b tried {PUBLIC}:7400" in finding.why
    assert fix in finding.fix


def test_address_that_has_changed_is_said_with_the_new_one() -> None:
    [finding] = judge_reach(OURS, [OTHER], [said(Reach.REACHED)])

    assert finding.name == "address-changed"
    assert "announces home.example:7400" in finding.why
    assert f'advertise = "{PUBLIC}:7400"' in finding.fix


async def test_a_server_that_is_carried_is_reached_while_its_relay_is_there() -> None:
    config = NodeConfig(name="a", data="x", listen="127.0.0.1:7610", relay="b")

    assert await examine_reach(config, node_report(peers=(peer("b"),))) == []
    [finding] = await examine_reach(config, node_report(peers=(peer("b", up=False), peer("c"))))

    assert finding.name == "relay-away"
    assert "no link to it" in finding.why


def test_one_peer_that_gets_through_outweighs_the_others() -> None:
    assert judge_reach(OURS, [PUBLIC], [said(Reach.SILENT), said(Reach.REACHED, peer="c")]) == []


def test_peer_on_the_same_home_network_knows_nothing_of_the_outside() -> None:
    assert judge_reach(OURS, [PUBLIC], [said(Reach.SILENT, "192.168.1.7")]) == []
    assert judge_reach(OURS, ["192.168.1.7"], [said(Reach.SILENT, "192.168.1.7")]) != []


def test_other_family_and_wildcards_are_no_change_of_address() -> None:
    assert judge_reach(OURS, ["2606:2800:220:1::1"], [said(Reach.REACHED)]) == []
    assert judge_reach(OURS, ["0.0.0.0"], [said(Reach.REACHED)]) == []


async def test_running_server_asks_its_peers_to_dial_it(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a", "b")) as cluster:
        config = cluster.nodes[0].config
        elsewhere = msgspec.structs.replace(config, advertise="127.0.0.1:1025")

        assert await examine_reach(config, None) == []
        assert await examine_reach(elsewhere, node_report()) != []


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
