"""Workloads on one room of opaque entries, through `client.connection.RoomConnection`, without MLS.

A member is one connection, attached to the servers in turn, so that a third of them talk to the primary and the others
through backups, as real members would.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import trio
from nacl.signing import SigningKey

from client.connection import Deliveries, RoomConnection, ServerAddress, open_room_connection
from samtala.demo.cluster import Cluster
from samtala.demo.ledger import percentile
from wire.channel import open_channel
from wire.identity import parse_node_address
from wire.ids import ClientId, RoomEpoch, RoomId
from wire.messages import CreateRoom, GetNodeInfo, NodeInfo, RoomCreated
from wire.room import GENESIS_VERSION, Genesis, GenesisMember, decode_entries, encode_genesis

ENTRY_BYTES = 300
MEMBERS = 8
WINDOW = 64
FAILOVER_APPENDS = 400
EPOCH = RoomEpoch(0)


class OneSender(msgspec.Struct, frozen=True, kw_only=True):
    """W1: milliseconds of one acknowledgement after the other."""

    acked: int
    ack_p50_ms: float
    ack_p99_ms: float


class Pipelined(msgspec.Struct, frozen=True, kw_only=True):
    """W2: entries a second, counted by the members."""

    appends_per_s: float
    deliveries_per_s: float


class Failover(msgspec.Struct, frozen=True, kw_only=True):
    """W6: seconds without an acknowledgement around a SIGKILL of the primary."""

    longest_gap_s: float


class OpaqueKeys(msgspec.Struct, frozen=True):
    """Keys of a room that never leaves epoch 0."""

    read: bytes
    write: bytes

    @property
    def epoch(self) -> RoomEpoch:
        """Always the first."""
        return EPOCH

    def read_seed(self) -> bytes:
        """Opens reading."""
        return self.read

    def write_seed(self) -> bytes:
        """Opens writing."""
        return self.write

    def join_seed(self) -> None:
        """Nobody joins."""

    def admin_seed(self) -> None:
        return None


class BenchRoom(msgspec.Struct, frozen=True):
    """A room of opaque entries on the cluster."""

    room_id: RoomId
    servers: tuple[ServerAddress, ...]
    keys: OpaqueKeys


async def make_room(addresses: Iterable[str]) -> BenchRoom:
    """Create a room on servers, given as `HOST:PORT#KEY`."""
    servers = tuple(parse_node_address(address) for address in addresses)
    members = []
    for server in servers:
        async with open_channel(server) as channel:
            info = await channel.call(GetNodeInfo(1))
            assert isinstance(info, NodeInfo)
            own = info.nodes[0]
            members.append(GenesisMember(own.replica_id, own.node_key, server.host, server.port))
    keys = OpaqueKeys(secrets.token_bytes(32), secrets.token_bytes(32))
    room_id = RoomId(secrets.token_bytes(16))
    public = [bytes(SigningKey(seed).verify_key) for seed in (keys.write, keys.read)]
    genesis = Genesis(
        version=GENESIS_VERSION, room_id=room_id, created_us=int(time.time() * 1e6), members=tuple(members),
        write_key=public[0], read_key=public[1], join_key=public[0], admin_key=public[0], group_info=b"", descriptor=b"",
    )  # fmt: skip
    for server in servers:
        async with open_channel(server) as channel:
            made = await channel.call(CreateRoom(1, encode_genesis(genesis)))
            assert isinstance(made, RoomCreated), made
    return BenchRoom(room_id, servers, keys)


@asynccontextmanager
async def open_member(room: BenchRoom, place: int) -> AsyncIterator[RoomConnection]:
    """A member whose first choice is server `place` modulo three."""
    first = place % len(room.servers)
    servers = room.servers[first:] + room.servers[:first]
    client_id = ClientId(secrets.token_bytes(16))
    async with open_room_connection(room.room_id, servers, room.keys, client_id=client_id) as member:
        await member.wait_live()
        yield member


async def drain(member: RoomConnection) -> None:
    """Take events and forget them."""
    async for _ in member.events():
        pass


async def one_sender(cluster: Cluster, seconds: float) -> OneSender:
    """W1: one at a time, through the server that leads the room."""
    room = await make_room(cluster.addresses)
    durations: list[float] = []
    async with open_member(room, await leader(room)) as member, trio.open_nursery() as nursery:
        nursery.start_soon(drain, member)
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            start = time.perf_counter()
            await member.append_entry(EPOCH, bytes(ENTRY_BYTES))
            durations.append(time.perf_counter() - start)
        nursery.cancel_scope.cancel()
    return OneSender(
        acked=len(durations),
        ack_p50_ms=round(percentile(durations, 0.5) * 1000, 3),
        ack_p99_ms=round(percentile(durations, 0.99) * 1000, 3),
    )


async def leader(room: BenchRoom) -> int:
    """Which server leads the room."""
    async with open_member(room, 0) as member, trio.open_nursery() as nursery:
        nursery.start_soon(drain, member)
        status = await member.status()
        nursery.cancel_scope.cancel()
    return [server.node_key for server in room.servers].index(status.primary)


class _Counts:
    def __init__(self) -> None:
        self.acked = 0
        self.delivered = 0


async def pipelined(cluster: Cluster, seconds: float) -> Pipelined:
    """W2: eight members, each with 64 entries in flight, all receiving everything."""
    room = await make_room(cluster.addresses)
    counts = _Counts()
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(open_member(room, place)) for place in range(MEMBERS)]
        start = trio.current_time()
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for member in members:
                    nursery.start_soon(_receive, member, counts)
                    nursery.start_soon(_send, member, counts)
        elapsed_s = trio.current_time() - start
    return Pipelined(
        appends_per_s=round(counts.acked / elapsed_s, 1), deliveries_per_s=round(counts.delivered / elapsed_s, 1)
    )


async def _send(member: RoomConnection, counts: _Counts) -> None:
    entry = bytes(ENTRY_BYTES)
    in_flight = deque(member.append_soon(EPOCH, entry) for _ in range(WINDOW))
    while True:
        await in_flight.popleft().result()
        counts.acked += 1
        while in_flight and in_flight[0].is_done:
            in_flight.popleft()
            counts.acked += 1
        for _ in range(WINDOW - len(in_flight)):
            in_flight.append(member.append_soon(EPOCH, entry))


async def _receive(member: RoomConnection, counts: _Counts) -> None:
    async for event in member.events():
        if isinstance(event, Deliveries):
            for delivery in event.deliveries:
                counts.delivered += len(decode_entries(delivery.block))


async def failover(cluster: Cluster) -> Failover:
    """W6: SIGKILL the primary while a member of a backup appends one by one."""
    room = await make_room(cluster.addresses)
    victim = await leader(room)
    longest_s = 0.0
    async with open_member(room, victim + 1) as member, trio.open_nursery() as nursery:
        nursery.start_soon(drain, member)
        last = trio.current_time()
        for count in range(FAILOVER_APPENDS):
            if count == FAILOVER_APPENDS // 2:
                cluster.servers[victim].kill()
            await member.append_entry(EPOCH, bytes(ENTRY_BYTES))
            now = trio.current_time()
            longest_s, last = max(longest_s, now - last), now
        nursery.cancel_scope.cancel()
    cluster.servers[victim].start()
    await cluster.servers[victim].ready()
    return Failover(longest_gap_s=round(longest_s, 3))
