from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from client.cluster import ask_roster, host_room
from client.errors import RefusedError, UnavailableError
from client.founding import found_room
from tests.client.builders import NOW_S, entropy_of, identity_of
from tests.client.communities import community
from wire.identity import ServerAddress
from wire.ids import NodeKey
from wire.messages import NodeAddress


def genesis_on(nodes: tuple[NodeAddress, ...], turn: int = 0) -> bytes:
    identity = identity_of("alice")
    return found_room("x", nodes, identity, entropy=entropy_of(turn), now_us=NOW_S * 1_000_000).genesis


async def test_one_server_tells_of_all(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        roster = await ask_roster([cluster.nodes[1].address])

        assert {node.name for node in roster.nodes} == {"a", "b", "c"}
        assert {node.replica_id for node in roster.nodes} == {node.replica_id for node in cluster.nodes}
        assert {(node.host, node.port) for node in roster.nodes} == {
            (node.address.host, node.address.port) for node in cluster.nodes
        }
        assert roster.left_out == ()


async def test_a_new_room_gets_as_many_servers_as_the_cluster_says_those_that_answer_first(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        await ask_roster([cluster.nodes[0].address])
        await cluster.kill(cluster.nodes[1])
        roster = await ask_roster([cluster.nodes[0].address])

        assert [node.name for node in roster.nodes] == ["a", "c", "b"]
        assert roster.for_new_room() == roster
        few = msgspec.structs.replace(roster, room_servers=2).for_new_room()
        assert [node.name for node in few.nodes] == ["a", "c"]


async def test_a_room_begins_on_a_majority_and_says_who_misses_it(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        roster = await ask_roster([cluster.nodes[0].address])
        await cluster.kill(cluster.nodes[2])

        missing = await host_room(roster.nodes, genesis_on(roster.nodes))

        assert len(missing) == 1
        assert missing[0].startswith("c at 127.0.0.1:")


async def test_without_a_majority_no_room_begins(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        roster = await ask_roster([cluster.nodes[0].address])
        for node in cluster.nodes[1:]:
            await cluster.kill(node)

        with pytest.raises(UnavailableError, match="majority") as caught:
            await host_room(roster.nodes, genesis_on(roster.nodes))

        assert len(caught.value.tried) == 2


async def test_servers_that_are_not_meant_refuse(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        roster = await ask_roster([cluster.nodes[0].address])
        strangers = tuple(
            msgspec.structs.replace(node, replica_id=b"x" * 15 + bytes([place]))
            for place, node in enumerate(roster.nodes)
        )

        with pytest.raises(RefusedError, match="refuse to host"):
            await host_room(roster.nodes, genesis_on(strangers))


async def test_nobody_there_is_told_for_each_address() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()

    with pytest.raises(UnavailableError, match="no server answers") as caught:
        await ask_roster([ServerAddress("127.0.0.1", port, NodeKey(b"k" * 32))])

    assert str(port) in caught.value.tried[0]


async def test_a_server_with_another_key_is_not_asked(tmp_path: Path) -> None:
    async with community(tmp_path) as cluster:
        right = cluster.nodes[0].address
        wrong = ServerAddress(right.host, right.port, NodeKey(b"k" * 32))

        with pytest.raises(UnavailableError, match="key"):
            await ask_roster([wrong])
