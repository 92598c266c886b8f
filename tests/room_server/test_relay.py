"""A server that nobody can dial is reached through a fellow, which sees ciphertext, and bounds and counts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from room_server import limits
from room_server.config import load_config
from room_server.errors import ConfigError
from room_server.feed import RingBudget
from room_server.metrics import NodeMetrics
from room_server.peers import Peer, PeerLinks
from room_server.relay import RELAYED_HOST, Carried, Relays
from room_server.rooms import Rooms
from tests.room_server.builders import app
from tests.room_server.cluster import (
    Cluster,
    TestNode,
    appended,
    cluster_of,
    eventually,
    member_of,
    open_session,
    status_when,
)
from tests.room_server.network import network_client
from wire.errors import PeerError
from wire.front import Arrival, relay_leg, server_name
from wire.identity import NodeIdentity, ServerAddress
from wire.ids import ClientId, NodeKey, RoomId
from wire.messages import Append
from wire.room import ResultKind
from wire.tls import connect

ROOM = RoomId(b"behind a router!")
CLIENT = ClientId(b"c" * 16)
TOKEN = b"t" * 16


@asynccontextmanager
async def behind_a_router(folder: Path) -> AsyncIterator[Cluster]:
    """a, which everybody can dial, and b, c and d, which are reached through a only."""
    async with cluster_of(folder, names=("a", "b", "c", "d"), relayed=("b", "c", "d")) as cluster:
        for node in cluster.nodes:
            await reached(node)
        yield cluster


async def reached(node: TestNode) -> None:
    """Return when a connection to this node can be made: its link to the relay stands."""
    with trio.fail_after(20):
        while True:
            try:
                async with network_client(node.address):
                    return
            except PeerError:
                await trio.testing.wait_all_tasks_blocked(0.05)


async def gauge(cluster: Cluster, name: str) -> float:
    running = cluster.nodes[0].running
    assert running is not None
    stream = await trio.open_tcp_stream("127.0.0.1", running.metrics_port or 0)
    async with stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        text = b"".join([chunk async for chunk in stream]).decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


async def test_a_room_of_servers_that_nobody_can_dial_takes_messages_and_outlives_one_of_them(tmp_path: Path) -> None:
    async with behind_a_router(tmp_path) as cluster:
        _, b, c, d = cluster.nodes
        assert b.address.port == cluster.nodes[0].address.port
        await cluster.create_room(ROOM, members_of=[b, c, d])
        await status_when(c, ROOM, lambda status: status.status == "normal" and status.spare_failures == 1)
        async with member_of(c, ROOM) as writer:
            session = await open_session(writer, ROOM, CLIENT)
            results = await appended(writer, Append(ROOM, CLIENT, session, 1, (app(0), app(0))))
            assert [result.kind for result in results] == [ResultKind.ACCEPTED] * 2
            await cluster.kill(b)
            results = await appended(writer, Append(ROOM, CLIENT, session, 3, (app(0),)))
            assert [result.sequence for result in results] == [3]
        assert await gauge(cluster, "samtala_relay_bytes_total") > 10_000
        await cluster.start(b)
        await reached(b)
        await status_when(b, ROOM, lambda status: status.next_sequence == 4 and status.spare_failures == 1)


async def test_connections_end_with_the_relay_and_come_back_with_it(tmp_path: Path) -> None:
    async with behind_a_router(tmp_path) as cluster:
        a, b, _, _ = cluster.nodes
        async with network_client(b.address) as client:
            await cluster.kill(a)
            with trio.fail_after(10):
                assert await client.tls.receive_some() == b""
        await cluster.start(a)

        await reached(b)


async def test_who_wants_a_server_that_is_no_peer_of_ours_gets_nothing(tmp_path: Path) -> None:
    stranger = NodeIdentity(b"s" * 32)
    async with cluster_of(tmp_path, names=("a", "b")) as cluster:
        a = cluster.nodes[0].address

        with pytest.raises(PeerError, match="another key"):
            await connect(ServerAddress(a.host, a.port, stranger.public))

        assert await gauge(cluster, 'samtala_relays_refused_total{reason="stranger"}') == 1


async def test_who_wants_a_peer_that_is_away_is_told_at_once(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, names=("a", "b"), relayed=("b",)) as cluster:
        _, b = cluster.nodes
        await cluster.kill(b)
        await trio.testing.wait_all_tasks_blocked(0.05)

        with trio.fail_after(limits.RELAY_WAIT_S_MAX / 2), pytest.raises(PeerError, match="does not come"):
            await connect(b.address)


def links(*peers: Peer) -> PeerLinks:
    """No link stands yet."""

    async def never(_: object) -> None:
        raise AssertionError("nobody is met")

    return PeerLinks(
        peers, node_key=NodeKey(b"o" * 32), rooms=Rooms(RingBudget()), host_room=never, on_epochs=lambda room: None,
        dial=never, metrics=NodeMetrics(version="0", peers=[peer.name for peer in peers]), random01=lambda: 0.5,
        wall_us=lambda: 0,
    )  # type: ignore[arg-type]  # nobody is dialled  # fmt: skip


B = Peer(name="b", node_key=NodeIdentity(b"b" * 32).public, host="127.0.0.1", port=1)


class Desk:
    """Relays with a link that takes every ask."""

    def __init__(self, connections_max: int = 2) -> None:
        self.asked: list[bytes] = []
        self.metrics = NodeMetrics(version="0", peers=["b"])
        peers = links(B)
        peers.tell = self._tell  # type: ignore[method-assign]  # the far end is not what is tested here
        self.relays = Relays(peers, connections_max=connections_max, metrics=self.metrics)

    def _tell(self, _key: NodeKey, message: object) -> bool:
        self.asked.append(message.token)  # type: ignore[attr-defined]  # a RelayAsk
        return True

    def refused(self, reason: str) -> float:
        return float(self.metrics.registry.get_sample_value("samtala_relays_refused_total", {"reason": reason}) or 0)


WANTS_B = Arrival(received=b"client hello", server_name=server_name(B.node_key))


async def received_by(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some()
    return data


async def test_bytes_cross_both_ways_unchanged_until_one_side_ends() -> None:
    desk = Desk()
    near, client = trio.testing.memory_stream_pair()
    far, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.relays.carry, client, WANTS_B)
        await trio.testing.wait_all_tasks_blocked()
        [token] = desk.asked
        nursery.start_soon(desk.relays.join, server, Arrival(received=relay_leg(token), token=token))
        await near.send_all(b" and more")
        assert await received_by(far, 21) == b"client hello and more"
        await far.send_all(b"answer")
        assert await received_by(near, 6) == b"answer"
        assert len(desk.relays) == 1
        await far.aclose()

    assert await near.receive_some() == b""
    assert len(desk.relays) == 0


async def test_as_many_are_carried_as_the_configuration_says(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    desk = Desk(connections_max=2)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            _, client = trio.testing.memory_stream_pair()
            nursery.start_soon(desk.relays.carry, client, WANTS_B)
            await trio.testing.wait_all_tasks_blocked()
        assert (len(desk.asked), desk.refused("limit")) == (2, 1)

    assert desk.refused("away") == 2


async def test_a_token_is_good_once_and_only_if_it_was_given_out() -> None:
    desk = Desk()
    _, client = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.relays.carry, client, WANTS_B)
        await trio.testing.wait_all_tasks_blocked()
        [token] = desk.asked
        for wrong in (
            Arrival(received=relay_leg(TOKEN), token=TOKEN),
            Arrival(received=relay_leg(token), token=token),
            Arrival(received=relay_leg(token), token=token),
        ):
            _, server = trio.testing.memory_stream_pair()
            nursery.start_soon(desk.relays.join, server, wrong)
            await trio.testing.wait_all_tasks_blocked()

        assert desk.refused("token") == 2
        nursery.cancel_scope.cancel()


async def test_silence_ends_what_is_carried(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    desk = Desk()
    near, client = trio.testing.memory_stream_pair()
    far, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.relays.carry, client, WANTS_B)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(desk.relays.join, server, Arrival(received=relay_leg(desk.asked[0]), token=desk.asked[0]))
        await received_by(far, 12)
        begin = trio.current_time()
        await trio.sleep(limits.RELAY_IDLE_S_MAX - 1)
        await near.send_all(b"still here")

    assert limits.RELAY_IDLE_S_MAX <= trio.current_time() - begin <= 2 * limits.RELAY_IDLE_S_MAX


async def test_a_reader_who_does_not_read_stops_the_writer() -> None:
    desk = Desk()
    near, client = trio.testing.lockstep_stream_pair()
    far, server = trio.testing.lockstep_stream_pair()
    sent = 0

    async def write() -> None:
        nonlocal sent
        while True:
            await near.send_all(bytes(1000))
            sent += 1000

    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.relays.carry, client, WANTS_B)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(desk.relays.join, server, Arrival(received=relay_leg(desk.asked[0]), token=desk.asked[0]))
        await received_by(far, 12)
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()

        assert sent <= 2000
        nursery.cancel_scope.cancel()


async def test_nobody_but_our_relay_has_us_dial_and_not_without_end() -> None:
    served: list[str] = []

    async def enter(stream: trio.SocketStream, host: str) -> None:
        served.append(host)
        await stream.aclose()

    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    relay = msgspec.structs.replace(B, port=listener.socket.getsockname()[1])
    carried = Carried(relay, enter=enter)
    alone = Carried(None, enter=enter)
    for token in (TOKEN, b"short"):
        carried.on_ask(NodeKey(b"x" * 32), token)
        alone.on_ask(relay.node_key, token)
    carried.on_ask(relay.node_key, b"short")
    for _ in range(limits.RELAYED_WAITING_MAX + 5):
        carried.on_ask(relay.node_key, TOKEN)
    heard: list[bytes] = []

    async def hear(stream: trio.SocketStream) -> None:
        heard.append(await received_by(stream, len(relay_leg(TOKEN))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, hear, [listener])
        nursery.start_soon(carried.run)
        await eventually(lambda: len(heard) == limits.RELAYED_WAITING_MAX == len(served))
        nursery.cancel_scope.cancel()

    assert set(heard) == {relay_leg(TOKEN)}
    assert set(served) == {RELAYED_HOST}


def test_the_configuration_says_what_is_wrong_with_a_relay(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    text = 'name = "b"\ndata = "b"\nrelay = "{relay}"\nadvertise = "{place}"\n'
    peer = f'[[peers]]\nname = "a"\naddress = "{ServerAddress("a.example", 7610, B.node_key)}"\n'

    def loaded(relay: str, place: str) -> str:
        path.write_text(text.format(relay=relay, place=place) + peer)
        return load_config(path).relay

    assert loaded("a", "a.example:7610") == "a"
    with pytest.raises(ConfigError, match="no peer is called 'x'; known: a"):
        loaded("x", "a.example:7610")
    with pytest.raises(ConfigError, match=r'advertise = "a\.example:7610"'):
        loaded("a", "b.example:7610")
