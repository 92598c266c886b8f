"""Several nodes in one trio program, on loopback and ephemeral ports, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import nacl.signing
import trio
import trio.testing

from room_server.config import DhtConfig, MetricsConfig, NodeConfig, PeerConfig
from room_server.node import RunningNode, run_node
from room_server.setup import init_node
from tests.room_server.builders import genesis
from tests.room_server.fakes import KEYS
from tests.room_server.network import CLIENT_NONCE, NetworkClient, network_client
from vr.host import HostOptions
from wire.identity import ServerAddress
from wire.ids import ClientId, NodeKey, RoomEpoch, RoomId
from wire.messages import (
    Append,
    Appended,
    CreateRoom,
    GetRoomStatus,
    OpenSession,
    Prove,
    Proved,
    RoomCreated,
    RoomStatus,
    SessionOpened,
    proof_message,
)
from wire.room import BlockResult, GenesisMember, Purpose, decode_result, encode_genesis

NAMES = ("a", "b", "c")
SMALL_LOG = HostOptions(segment_bytes=2 * 1024 * 1024)
"""Tests start many nodes, and each fills its log's first segment with zeros."""


class TestNode:
    """One node of a cluster: its configuration, and while it runs its handle and the scope that ends it."""

    __test__ = False

    def __init__(self, config: NodeConfig, address: ServerAddress, replica_id: bytes) -> None:
        self.config = config
        self.address = address
        self.replica_id = replica_id
        self.running: RunningNode | None = None
        self.scope = trio.CancelScope()


class Cluster:
    """Nodes that know each other. Made by `cluster_of`."""

    def __init__(self, nodes: list[TestNode], nursery: trio.Nursery) -> None:
        self.nodes = nodes
        self._nursery = nursery

    async def start(self, node: TestNode, listener: trio.SocketListener | None = None) -> None:
        node.running = await self._nursery.start(partial(self._run, node, listener))

    async def _run(
        self, node: TestNode, listener: trio.SocketListener | None, *, task_status: trio.TaskStatus[RunningNode]
    ) -> None:
        node.scope = trio.CancelScope()
        with node.scope:
            await run_node(node.config, listener=listener, host_options=SMALL_LOG, task_status=task_status)
        node.running = None

    async def kill(self, node: TestNode) -> None:
        """End a node without drain, and wait until its port is closed."""
        node.scope.cancel()
        while node.running is not None:
            await trio.testing.wait_all_tasks_blocked(0.001)

    async def create_room(
        self,
        room_id: RoomId,
        *,
        on: list[TestNode] | None = None,
        descriptor: bytes = b"no descriptor",
        members_of: list[TestNode] | None = None,
        by_quorum: bool = False,
    ) -> bytes:
        """Create a room of opaque keys at some nodes; its members are all nodes, or those given."""
        members = tuple(
            GenesisMember(node.replica_id, node.address.node_key, node.address.host, node.address.port)
            for node in members_of or self.nodes
        )
        record = encode_genesis(
            genesis(
                room_id,
                members=members,
                write_key=bytes(KEYS[Purpose.WRITE].verify_key),
                read_key=bytes(KEYS[Purpose.READ].verify_key),
                join_key=bytes(KEYS[Purpose.JOIN].verify_key),
                admin_key=bytes(KEYS[Purpose.ADMIN].verify_key),
                descriptor=descriptor,
                by_quorum=by_quorum,
            )
        )
        for node in on if on is not None else members_of or self.nodes:
            async with network_client(node.address) as client:
                created = await client.call(CreateRoom(1, record), RoomCreated)
                assert created.room_id == room_id
        return record


@asynccontextmanager
async def cluster_of(
    folder: Path,
    *,
    start: bool = True,
    dht: bool = False,
    names: Sequence[str] = NAMES,
    host: str = "127.0.0.1",
    lan: bool = False,
    is_public: bool = False,
    public_bootstrap: Sequence[str] = (),
    relayed: Sequence[str] = (),
    strangers: bool = False,
) -> AsyncIterator[Cluster]:
    """Three nodes, or as many as there are names; they end with the block. The `relayed` ones are reached through the first.

    `strangers`: no configuration names another.
    """
    listeners = [(await trio.open_tcp_listeners(0, host=host))[0] for _ in names]
    ports = [listener.socket.getsockname()[1] for listener in listeners]
    made = [
        init_node(
            folder / name / "node.toml",
            name=name,
            data=folder / name / "data",
            listen=f"{host}:{port}",
            advertise=f"{host}:{ports[0] if name in relayed else port}",
        )
        for name, port in zip(names, ports, strict=True)
    ]
    nodes = []
    for index, name in enumerate(names):
        others = [place for place in range(len(names)) if place != index and not strangers]
        config = NodeConfig(
            name=name,
            data=str(folder / name / "data"),
            listen=f"{host}:{ports[index]}",
            advertise=f"{host}:{ports[0]}" if name in relayed else "",
            relay=names[0] if name in relayed else "",
            replica_id=made[index].replica_id.hex(),
            peers=tuple(PeerConfig(name=names[place], address=str(made[place].address)) for place in others),
            dht=DhtConfig(
                enabled=dht,
                lan=lan,
                public=is_public,
                public_listen=f"{host}:0",
                public_bootstrap=tuple(public_bootstrap),
            ),
            metrics=MetricsConfig(listen="127.0.0.1:0"),
        )
        nodes.append(TestNode(config, made[index].address, made[index].replica_id))
    async with trio.open_nursery() as nursery:
        cluster = Cluster(nodes, nursery)
        for node, listener in zip(nodes, listeners, strict=True):
            if start:
                await cluster.start(node, listener)
            else:
                await listener.aclose()
        yield cluster
        nursery.cancel_scope.cancel()


def network_proof(
    client: NetworkClient,
    node_key: NodeKey,
    room_id: RoomId,
    purpose: Purpose,
    *,
    epoch: int = 0,
    key: nacl.signing.SigningKey | None = None,
) -> Prove:
    """A proof for this very connection."""
    signed = proof_message(
        purpose=purpose,
        node_key=node_key,
        server_nonce=client.server_nonce,
        client_nonce=CLIENT_NONCE,
        room_id=room_id,
        epoch=RoomEpoch(epoch),
    )
    return Prove(1, room_id, purpose, RoomEpoch(epoch), (key or KEYS[purpose]).sign(signed).signature)


@asynccontextmanager
async def member_of(node: TestNode, room_id: RoomId) -> AsyncIterator[NetworkClient]:
    """A client at this node with READ and WRITE proven."""
    async with network_client(node.address) as client:
        for purpose in (Purpose.READ, Purpose.WRITE):
            await client.call(network_proof(client, node.address.node_key, room_id, purpose), Proved)
        yield client


async def open_session(client: NetworkClient, room_id: RoomId, client_id: ClientId) -> int:
    return (await client.call(OpenSession(2, room_id, client_id), SessionOpened)).session


async def appended(client: NetworkClient, message: Append) -> list[BlockResult]:
    """Append and wait for all results; asked again while the room is busy with a view change."""
    results: dict[int, BlockResult] = {}
    await client.say(message)
    while len(results) < len(message.blocks):
        answer = await client.hear(Appended)
        results.update((number, decode_result(result)) for number, result in answer.results)
    return [results[number] for number in sorted(results)]


async def eventually(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Wait for the condition, looking whenever the program has come to rest."""
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.testing.wait_all_tasks_blocked(0.002)


async def status_when(
    node: TestNode, room_id: RoomId, condition: Callable[[RoomStatus], bool], *, timeout_s: float = 20.0
) -> RoomStatus:
    """Ask for a room's status until it is as wanted."""
    async with network_client(node.address) as client:
        with trio.fail_after(timeout_s):
            while True:
                status = await client.call(GetRoomStatus(3, room_id), RoomStatus)
                if condition(status):
                    return status
                await trio.testing.wait_all_tasks_blocked(0.002)
