"""First steps of a node: its key, its data folder, its node.toml; and reading them back at start.

data/ identity.key    the node's Ed25519 seed, 0600, never overwritten
      replica_id, …   see `vr.storage.folder`
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from room_server.config import NodeConfig, default_toml, parse_endpoint
from room_server.errors import StartError
from room_server.peers import Peer
from vr.errors import VRError
from vr.storage.file_system import RealFileSystem
from vr.storage.folder import Folder
from wire.errors import KeyFileError
from wire.identity import NodeIdentity, ServerAddress, parse_node_address

IDENTITY_NAME: Final = "identity.key"


class InitializedNode(msgspec.Struct, frozen=True, kw_only=True):
    """What `init_node` made. `address` is what other nodes put into their configuration."""

    config_path: Path
    address: ServerAddress
    replica_id: bytes


def init_node(config_path: Path, *, name: str, data: Path, listen: str, advertise: str) -> InitializedNode:
    """Make the key, the data folder and a first node.toml.

    Raises:
        StartError: one of them exists, or cannot be written.
        ConfigError: an endpoint is wrong.
    """
    parse_endpoint(listen)
    endpoint = parse_endpoint(advertise)
    if config_path.exists():
        raise StartError(f"{config_path} exists already; `samtala node serve` starts that node")
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = NodeIdentity.generate()
        identity.save(data / IDENTITY_NAME)
        folder = Folder.open(RealFileSystem(), str(data))
        replica_id = folder.replica_id
        folder.close()
        config_path.parent.mkdir(parents=True, exist_ok=True)
        text = default_toml(name=name, data=str(data), listen=listen, advertise=advertise, replica=replica_id)
        with config_path.open("x", encoding="utf-8") as file:
            file.write(text)
    except (OSError, VRError, KeyFileError) as error:
        raise StartError(f"cannot set the node up: {error}") from error
    address = ServerAddress(endpoint.host, endpoint.port, identity.public)
    return InitializedNode(config_path=config_path, address=address, replica_id=replica_id)


def load_identity(config: NodeConfig) -> NodeIdentity:
    """The node's key.

    Raises:
        StartError: missing or unreadable; says what to do.
    """
    path = Path(config.data) / IDENTITY_NAME
    if not path.exists():
        if config.replica_id:
            raise StartError(
                f"{config.data} has no {IDENTITY_NAME}, but this node is known as replica {config.replica_id}: the disk"
                " was lost, or the path is wrong. A node that lost its disk must come back as a new one:"
                " `samtala node init` elsewhere, then replace it"
            )
        raise StartError(f"{path} is missing; `samtala node init` makes it")
    try:
        return NodeIdentity.load(path)
    except KeyFileError as error:
        raise StartError(str(error)) from error


def configured_peers(config: NodeConfig) -> list[Peer]:
    """The peers that a checked configuration names."""
    peers = []
    for entry in config.peers:
        address = parse_node_address(entry.address)
        peers.append(Peer(name=entry.name, node_key=address.node_key, host=address.host, port=address.port))
    return peers
