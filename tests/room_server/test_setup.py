from __future__ import annotations

import stat
from pathlib import Path

import pytest

from room_server.config import NodeConfig, PeerConfig, load_config
from room_server.errors import ConfigError, StartError
from room_server.setup import IDENTITY_NAME, configured_peers, init_node, load_identity


def initialized(folder: Path) -> NodeConfig:
    made = init_node(folder / "node.toml", name="a", data=folder / "data", listen="0.0.0.0:1", advertise="a.example:1")
    return load_config(made.config_path)


def test_fresh_node_reads_its_own_configuration_and_key_back(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "node.toml"

    made = init_node(path, name="a", data=tmp_path / "data", listen="0.0.0.0:1", advertise="a.example:1")

    config = load_config(path)
    assert load_identity(config).public == made.address.node_key
    assert bytes.fromhex(config.replica_id) == made.replica_id
    assert (made.address.host, made.address.port) == ("a.example", 1)
    assert stat.S_IMODE((tmp_path / "data" / IDENTITY_NAME).stat().st_mode) == 0o600


def test_second_init_overwrites_nothing(tmp_path: Path) -> None:
    config = initialized(tmp_path)
    key = (tmp_path / "data" / IDENTITY_NAME).read_bytes()

    with pytest.raises(StartError, match="exists already"):
        initialized(tmp_path)
    (tmp_path / "node.toml").unlink()
    with pytest.raises(StartError, match="never overwritten"):
        initialized(tmp_path)

    assert (tmp_path / "data" / IDENTITY_NAME).read_bytes() == key
    assert load_identity(config).public


def test_wrong_endpoint_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        init_node(tmp_path / "node.toml", name="a", data=tmp_path / "data", listen="x", advertise="a:1")

    assert list(tmp_path.iterdir()) == []


def test_missing_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="samtala node init"):
        load_identity(NodeConfig(name="a", data=str(tmp_path)))


def test_missing_key_of_a_known_node_is_a_lost_disk(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="the disk was lost"):
        load_identity(NodeConfig(name="a", data=str(tmp_path), replica_id="00" * 16))


def test_unreadable_key_is_refused(tmp_path: Path) -> None:
    config = initialized(tmp_path)
    (tmp_path / "data" / IDENTITY_NAME).write_text("no key")

    with pytest.raises(StartError):
        load_identity(config)


def test_peers_come_from_addresses(tmp_path: Path) -> None:
    address = str(init_node(tmp_path / "n", name="b", data=tmp_path / "d", listen="0.0.0.0:1", advertise="b:2").address)
    config = NodeConfig(name="a", data="x", peers=(PeerConfig(name="b", address=address),))

    [peer] = configured_peers(config)

    assert (peer.name, peer.host, peer.port) == ("b", "b", 2)
