from __future__ import annotations

from pathlib import Path

import msgspec
import trio
from trio.testing import MockClock

from dht.node import Node, open_node
from room_server import limits
from room_server.config import Endpoint
from room_server.node_records import OwnRecord, PeerFinder, numeric_addresses
from room_server.peers import Peer
from tests.room_server.cluster import TestNode, cluster_of, status_when
from wire.identity import NodeIdentity
from wire.ids import RoomId
from wire.messages import RoomStatus
from wire.node_record import node_record_key, open_node_record, sign_node_record

ROOM = RoomId(b"a room that goes")
IDENTITY = NodeIdentity(b"n" * 32)


def own_record(dht: Node, host: str, *, now_s: int = 1000) -> OwnRecord:
    return OwnRecord(dht, IDENTITY, Endpoint(host, 7400), wall_us=lambda: now_s * 1_000_000, random01=lambda: 0.5)


async def places_at(node: Node, count: int) -> list[str]:
    """Where the record at a node says that the server is, once it says something."""
    with trio.fail_after(10):
        while True:
            async with open_node(read_only=True) as newcomer:
                item = await newcomer.get(node_record_key(IDENTITY.public), seeds=[node.address])
            if item is not None and item.seq >= count:
                return [place.host for place in open_node_record(item, IDENTITY.public)]
            await trio.sleep(0.02)


async def test_clock_that_went_back_does_not_hide_where_a_server_is() -> None:
    async with open_node() as storer, open_node(bootstrap=[storer.address]) as dht:
        await dht.bootstrap()
        ahead = sign_node_record(IDENTITY, ["192.0.2.1"], 7400, seq=5_000_000_000, now_unix=5000)
        await dht.put(ahead, seeds=[storer.address])
        own = own_record(dht, "192.0.2.2")

        for _ in range(2):
            await own._look(["192.0.2.2"])

        assert await places_at(storer, 5_000_000_001) == ["192.0.2.2"]


async def test_wildcards_and_unknown_names_are_not_announced() -> None:
    for host in ("0.0.0.0", "::", "no-such-host.invalid"):
        assert await numeric_addresses(Endpoint(host, 7400)) == []
    assert await numeric_addresses(Endpoint("127.0.0.1", 7400)) == ["127.0.0.1"]

    async with open_node() as dht:
        await own_record(dht, "0.0.0.0")._look([])
        assert dht.pinned() == []


async def test_peer_is_dialled_elsewhere_once_its_record_says_so(autojump_clock: MockClock) -> None:
    peer = Peer(name="p", node_key=IDENTITY.public, host="192.0.2.9", port=7400)
    async with open_node() as dht, trio.open_nursery() as nursery:
        finder = PeerFinder(dht)
        nursery.start_soon(finder.run)

        async def found() -> Peer | None:
            finder.elsewhere(peer)
            await trio.sleep(2 * (limits.PEER_FIND_EVERY_S + limits.PEER_FIND_S_MAX))
            return finder.elsewhere(peer)

        assert await found() is None, "nobody has a record"
        dht.pin(sign_node_record(IDENTITY, ["192.0.2.9"], 7400, seq=1, now_unix=1))
        assert await found() is None, "it is where we know it"
        dht.pin(sign_node_record(IDENTITY, ["192.0.2.2"], 7400, seq=2, now_unix=1))
        assert await found() == msgspec.structs.replace(peer, host="192.0.2.2")
        dht.pin(sign_node_record(IDENTITY, ["192.0.2.9"], 7400, seq=3, now_unix=1))
        assert await found() is None, "it came back"
        nursery.cancel_scope.cancel()


async def test_server_that_moved_is_found_by_the_others_without_anybody(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, dht=True) as cluster:
        await cluster.create_room(ROOM)
        # The one with the greatest key is dialled by all others and dials nobody.
        mover = max(cluster.nodes, key=lambda node: node.address.node_key)
        witness = next(node for node in cluster.nodes if node is not mover)
        await cluster.kill(mover)
        await status_when(witness, ROOM, lambda status: status.spare_failures == 0)

        move(mover, "127.0.0.2")
        await cluster.start(mover)

        await status_when(witness, ROOM, all_up)


def move(node: TestNode, host: str) -> None:
    listen = f"{host}:{node.address.port}"
    node.config = msgspec.structs.replace(node.config, listen=listen, advertise=listen)


def all_up(status: RoomStatus) -> bool:
    return status.spare_failures == 1
