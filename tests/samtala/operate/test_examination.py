from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from room_server.config import load_config
from room_server.report import Reachability
from room_server.setup import init_node
from samtala.operate.examination import Subject, examine
from samtala.operate.verdict import Severity
from tests.room_server.cluster import cluster_of
from tests.samtala.operate.reports import node_report, peer, reach


async def test_all_that_is_wrong_is_found_once_and_the_worst_first(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    init_node(tmp_path / "node.toml", name="a", data=tmp_path / "data", listen=listen, advertise=listen)
    b = init_node(tmp_path / "b.toml", name="b", data=tmp_path / "b", listen=listen, advertise=listen)
    with (tmp_path / "node.toml").open("a") as file:
        file.write(f'\n[[peers]]\nname = "b"\naddress = "{b.address}"\n')
    config = load_config(tmp_path / "node.toml")
    (tmp_path / "data").chmod(0o755)

    down = await examine(Subject(config=config, report=None, silence="nobody answers"))
    up = await examine(Subject(config=config, report=node_report(peers=(peer("b", up=False),))))

    assert [finding.severity for finding in down] == sorted((finding.severity for finding in down), reverse=True)
    assert down[0].name == "node-down"
    assert down[0].severity is Severity.CRITICAL
    assert {"node-down", "peer-unreachable", "data-open"} <= {finding.name for finding in down}
    assert [finding.name for finding in up].count("peer-unreachable") == 1
    assert "node-down" not in {finding.name for finding in up}


async def test_limit_of_connections_comes_from_the_configuration(tmp_path: Path) -> None:
    init_node(tmp_path / "n.toml", name="a", data=tmp_path / "d", listen="127.0.0.1:0", advertise="127.0.0.1:0")
    config = load_config(tmp_path / "n.toml", overrides={"limits.connections": 2**31})

    found = await examine(Subject(config=config, report=None, silence="x"))

    assert "open-files" in {finding.name for finding in found}


async def test_what_others_see_now_replaces_what_the_node_was_told_a_while_ago(tmp_path: Path) -> None:
    old = node_report(reach=reach(Reachability.NO))
    async with cluster_of(tmp_path, names=("a", "b")) as cluster:
        config = msgspec.structs.replace(cluster.nodes[0].config, advertise="127.0.0.1:1025")
        asked = {finding.name for finding in await examine(Subject(config=config, report=old))}
    alone = {finding.name for finding in await examine(Subject(config=config, report=old))}

    assert {"port-wrong", "unreachable"} & asked == {"port-wrong"}
    assert {"port-wrong", "unreachable"} & alone == {"unreachable"}
