"""What a link must survive, with real servers and real DHT nodes on loopback (dht.md §4).

Hints that are dead: tests/client/test_client.py. A network without internet: tests/client/test_lan.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import trio

from client.discovery import Discovery
from dht.errors import DecodeError
from dht.items import MutableItem
from dht.krpc import Arguments, Query, decode, encode_answer
from dht.limits import DATAGRAM_BYTES_MAX
from dht.node import Node, open_node
from dht.node_id import Address, pack_node
from tests.client.communities import community, lobby, person, read_until
from tests.client.test_discovery import item, link
from tests.room_server.cluster import cluster_of
from wire.descriptor import descriptor_seq
from wire.link import Hint, parse_link

HONEST, LIARS = 14, 6
LIE_S_MAX = 40.0
MOVES_S_MAX = 60.0


async def test_a_link_opens_with_one_live_hint_and_no_dht(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster, person(tmp_path, "alice") as alice, person(tmp_path, "bob") as bob:
        ours = await lobby(cluster, alice)
        await ours.send("still here")
        dead, alive = cluster.nodes[2], cluster.nodes[0].address
        await cluster.kill(dead)
        hints = (
            Hint(host="127.0.0.1", port=9),
            Hint(host=dead.address.host, port=dead.address.port),
            Hint(host=alive.host, port=alive.port),
        )
        text = msgspec.structs.replace(parse_link(ours.link), hints=hints).to_text()

        theirs = await bob.join(text)

        await theirs.caught_up()
        assert len(await theirs.members()) == 2


async def test_who_was_away_while_all_servers_were_replaced_one_by_one_comes_back(tmp_path: Path) -> None:
    with trio.fail_after(MOVES_S_MAX):
        async with (
            cluster_of(tmp_path / "servers", dht=True, names=("a", "b", "c", "d", "e", "f")) as cluster,
            person(tmp_path, "alice") as alice,
        ):
            named = [str(node.address) for node in cluster.nodes]
            ours = await alice.create_room("lobby", nodes=named[:3])
            async with person(tmp_path, "bob") as bob:
                await (await bob.join(ours.link)).caught_up()
            for first in (1, 2, 3):
                _, mover = await alice.plan_move("lobby", named[first : first + 3], lambda line: None)
                await mover.run()
                await cluster.kill(cluster.nodes[first - 1])
            await ours.send("we have moved")

            async with person(tmp_path, "bob") as bob:
                theirs = await bob.room("lobby")
                assert (await read_until(theirs, "we have moved"))[-1].sender.name == "alice"
                await theirs.send("so I see")


async def test_a_link_is_found_with_a_third_of_the_nodes_lying() -> None:
    newest = item(7)
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(LIE_S_MAX))
        liars = [await stack.enter_async_context(liar(newest)) for _ in range(LIARS)]
        nodes: list[Node] = []
        for _ in range(HONEST):
            known = [*liars, *(node.address for node in nodes)]
            nodes.append(await stack.enter_async_context(open_node(bootstrap=known)))
        for node in nodes:
            await node.bootstrap()
        assert (await nodes[0].put(newest)).stored > 0

        for start in range(3):
            search = Discovery(link(), known_nodes=[*liars[start : start + 2], nodes[-1 - start].address])
            await search.search(lambda found: False)

            assert search.best is not None
            assert search.best.item == newest


@asynccontextmanager
async def liar(wanted: MutableItem) -> AsyncIterator[Address]:
    """A node that says it has a newer record, which nobody signed, and names others that are near and do not exist."""
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_lie, socket, wanted)
            yield socket.getsockname()[:2]
            nursery.cancel_scope.cancel()


async def _lie(socket: trio.socket.SocketType, wanted: MutableItem) -> None:
    own_id = hashlib.sha1(str(socket.getsockname()).encode()).digest()
    near = [(wanted.target[:19] + bytes([place]), ("127.0.0.1", 9)) for place in range(8)]
    while True:
        datagram, address = await socket.recvfrom(DATAGRAM_BYTES_MAX)
        try:
            query = decode(datagram)
        except DecodeError:
            continue
        if isinstance(query, Query):
            await socket.sendto(_lie_to(query, own_id, near, wanted, address), address)


def _lie_to(
    query: Query, own_id: bytes, near: Sequence[tuple[bytes, Address]], wanted: MutableItem, address: Address
) -> bytes:
    values: Arguments = {b"id": own_id, b"token": b"t", b"nodes": b"".join(pack_node(*node) for node in near)}
    if query.method == b"get":
        values |= {b"k": wanted.public_key, b"sig": bytes(64), b"seq": descriptor_seq(9, 9), b"v": wanted.value}
    return encode_answer(values, transaction=query.transaction, to=address)
