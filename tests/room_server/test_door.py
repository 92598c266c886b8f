from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing

from tests.room_server.cluster import TestNode, cluster_of, status_when
from tests.room_server.network import network_client
from wire.errors import PeerError
from wire.frames import encode_frame
from wire.identity import NodeIdentity
from wire.ids import RoomId
from wire.messages import PeerFrame, PeerHello, PeerProof, Ping, Pong, RoomStatus, encode
from wire.peering import make_hello

ROOM = RoomId(b"the door's room!")


async def metrics_of(node: TestNode) -> str:
    assert node.running is not None
    assert node.running.metrics_port is not None
    stream = await trio.open_tcp_stream("127.0.0.1", node.running.metrics_port)
    async with stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"".join([data async for data in stream]).decode()


async def count_of(node: TestNode, series: str) -> float:
    [line] = [line for line in (await metrics_of(node)).splitlines() if line.startswith(series + " ")]
    return float(line.rpartition(" ")[2])


async def at_least(node: TestNode, series: str, count: float) -> None:
    with trio.fail_after(20):
        while await count_of(node, series) < count:
            await trio.testing.wait_all_tasks_blocked(0.001)


async def still_serves(node: TestNode) -> None:
    async with network_client(node.address) as client:
        await client.call(Ping(1), Pong)


@pytest.mark.parametrize("noise", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 5000])
async def test_what_is_no_tls_ends_counted(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    async with cluster_of(tmp_path_factory.mktemp("door"), start=False) as cluster:
        node = cluster.nodes[0]
        await cluster.start(node)
        before = await count_of(node, 'samtala_handshakes_total{result="failed"}')
        stream = await trio.open_tcp_stream("127.0.0.1", node.address.port)
        async with stream:
            await stream.send_all(noise or b"x")
            await stream.send_eof()
            await at_least(node, 'samtala_handshakes_total{result="failed"}', before + 1)

        await still_serves(node)


async def test_server_that_is_no_peer_and_frames_without_proof_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with cluster_of(tmp_path_factory.mktemp("door")) as cluster:
        node = cluster.nodes[0]
        await cluster.create_room(ROOM)
        before = await status_when(node, ROOM, lambda status: status.spare_failures == 1)
        stranger = NodeIdentity(b"s" * 32)
        impostor = msgspec.structs.replace(hello_of(stranger), node_key=cluster.nodes[1].address.node_key)

        for hello in (hello_of(stranger), impostor):
            async with network_client(node.address, hello=False) as client:
                await client.say(hello, PeerProof(bytes(64)), PeerFrame(b"\x92\x01\x90"))
                await closed(client.closed)

        after = await status_when(node, ROOM, lambda status: True)
        assert history_of(after) == history_of(before)


def history_of(status: RoomStatus) -> tuple[object, ...]:
    """What a stranger must not move; how far backups are behind moves by itself."""
    return status.view, status.status, status.op_number, status.commit_number, status.next_sequence, status.chain


def hello_of(identity: NodeIdentity) -> PeerHello:
    return make_hello(identity, nonce=b"n" * 32, replica_id=b"r" * 16, name="x", software="test/0")


async def closed(wait: object) -> None:
    try:
        await wait()  # type: ignore[operator]  # an async function
    except PeerError:
        return


async def test_connections_beyond_the_limit_are_closed_before_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with cluster_of(tmp_path_factory.mktemp("door"), start=False) as cluster:
        node = cluster.nodes[0]
        node.config = msgspec.structs.replace(
            node.config, limits=msgspec.structs.replace(node.config.limits, connections=2), peers=()
        )
        await cluster.start(node)
        async with network_client(node.address) as first, network_client(node.address):
            with pytest.raises(PeerError):
                async with network_client(node.address):
                    pass

            await first.call(Ping(1), Pong)
            assert await count_of(node, 'samtala_client_disconnects_total{reason="limit"}') == 1

        await at_least(node, 'samtala_client_disconnects_total{reason="closed"}', 2)
        await still_serves(node)


async def test_broken_frames_are_counted_by_cause(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with cluster_of(tmp_path_factory.mktemp("door"), start=False) as cluster:
        node = cluster.nodes[0]
        await cluster.start(node)
        for data, cause in [
            (b"\xff\xff\xff\xff", "frame"),
            (encode_frame(b"\xc1"), "decode"),
            (encode_frame(encode(Ping(1))) * 2 + encode_frame(encode(Pong(1))), "out_of_order"),
        ]:
            async with network_client(node.address) as client:
                await client.say_raw(data)
                await closed(client.closed)
            await at_least(node, f'samtala_client_disconnects_total{{reason="{cause}"}}', 1)

        await still_serves(node)
