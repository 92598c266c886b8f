"""The connection against real nodes: three in this program, one of which dies and comes back."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from client.connection import Deliveries, RoomConnection, open_room_connection
from tests.room_server.cluster import Cluster, cluster_of
from tests.room_server.fakes import KEYS
from wire.ids import CLIENT_ID_BYTES, ROOM_ID_BYTES, ClientId, RoomEpoch, RoomId
from wire.room import Purpose, decode_entries

EPOCH = RoomEpoch(0)
MEMBERS = 3
ENTRIES = 60


class OpaqueKeys:
    """Keys of a room that never leaves epoch 0."""

    @property
    def epoch(self) -> RoomEpoch:
        return EPOCH

    def read_seed(self) -> bytes:
        return bytes(KEYS[Purpose.READ])

    def write_seed(self) -> bytes:
        return bytes(KEYS[Purpose.WRITE])

    def join_seed(self) -> None:
        return None

    def admin_seed(self) -> None:
        return None


class Member:
    """A connection, what it sends and what it was given."""

    def __init__(self, connection: RoomConnection, name: int) -> None:
        self.connection = connection
        self.sent = [b"%d of %d" % (number, name) for number in range(ENTRIES)]
        self.received: list[bytes] = []
        self._grew = trio.Event()

    async def listen(self) -> None:
        async for event in self.connection.events():
            if isinstance(event, Deliveries):
                for delivery in event.deliveries:
                    self.received += decode_entries(delivery.block)
            self._grew.set()
            self._grew = trio.Event()

    async def send(self) -> None:
        for entry in self.sent:
            await self.connection.append_entry(EPOCH, entry)

    async def until(self, count: int) -> None:
        while len(self.received) < count:
            await self._grew.wait()


async def churn(cluster: Cluster, members: list[Member], nursery: trio.Nursery) -> None:
    """Everybody sends; one node dies on the way, and returns."""
    for member in members:
        nursery.start_soon(member.listen)
        nursery.start_soon(member.send)
    for count, change in ((ENTRIES // 2, cluster.kill), (ENTRIES, cluster.start)):
        for member in members:
            await member.until(count)
        await change(cluster.nodes[0])
    for member in members:
        await member.until(MEMBERS * ENTRIES)


async def test_no_gap_and_no_double_when_a_node_dies_and_returns(tmp_path: Path) -> None:
    room_id = RoomId(secrets.token_bytes(ROOM_ID_BYTES))
    async with cluster_of(tmp_path) as cluster, AsyncExitStack() as stack:
        await cluster.create_room(room_id)
        addresses = [node.address for node in cluster.nodes]
        members = []
        for name in range(MEMBERS):
            client_id = ClientId(secrets.token_bytes(CLIENT_ID_BYTES))
            servers = addresses[name:] + addresses[:name]
            opened = open_room_connection(room_id, servers, OpaqueKeys(), client_id=client_id)
            members.append(Member(await stack.enter_async_context(opened), name))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                await churn(cluster, members, nursery)
                nursery.cancel_scope.cancel()

    assert sorted(members[0].received) == sorted(entry for member in members for entry in member.sent), "each once"
    assert members[0].received == members[1].received == members[2].received, "the same order for everyone"
