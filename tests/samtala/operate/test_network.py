from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from room_server.config import NodeConfig, PeerConfig
from samtala.operate.network import clock_findings, examine_peers, examine_ports
from tests.samtala.operate.reports import node_report, peer
from wire.errors import PeerError
from wire.frames import encode_frame
from wire.identity import NodeIdentity, ServerAddress
from wire.messages import NONCE_BYTES, ServerHello, encode
from wire.tls import accept, server_context
from wire.versions import PROTOCOL_VERSION

IDENTITY = NodeIdentity.generate()
STRANGER = NodeIdentity.generate()


@asynccontextmanager
async def server(identity: NodeIdentity, *, ahead_s: float = 0.0) -> AsyncIterator[int]:
    """Something that speaks our TLS and says what time it has; its port."""
    context = server_context(identity)

    async def handle(stream: trio.SocketStream) -> None:
        try:
            tls = await accept(stream, context)
            await tls.receive_some()
            wall_us = int((time.time() + ahead_s) * 1e6)
            hello = ServerHello(PROTOCOL_VERSION, bytes(NONCE_BYTES), identity.public, "b", wall_us)
            await tls.send(encode_frame(encode(hello)))
        except PeerError:
            return
        await tls.aclose()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def config_with(port: int, *, host: str = "127.0.0.1") -> NodeConfig:
    address = str(ServerAddress(host, port, IDENTITY.public))
    return NodeConfig(name="a", data="/srv/a", peers=(PeerConfig(name="b", address=address),))


async def test_peer_that_answers_with_its_key_is_no_finding() -> None:
    async with server(IDENTITY) as port:
        assert await examine_peers(config_with(port), None) == []


async def test_peer_with_another_key_is_a_stranger() -> None:
    async with server(STRANGER) as port:
        [finding] = await examine_peers(config_with(port), None)

    assert (finding.name, finding.severity.name) == ("peer-stranger", "CRITICAL")


async def test_peer_that_is_down_is_told_from_one_that_has_no_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        [refused] = await examine_peers(config_with(taken.getsockname()[1]), None)
    [unknown] = await examine_peers(config_with(1, host="no-such-host.invalid"), None)

    assert refused.name == unknown.name == "peer-unreachable"
    assert "systemctl start" in refused.fix
    assert "getent" in unknown.fix or "firewall" in unknown.fix


@pytest.mark.parametrize(("ahead_s", "words"), [(7.0, "7.0 s ahead of ours"), (-3600.0, "s behind ours")])
async def test_clock_of_a_peer_is_compared_with_ours(ahead_s: float, words: str) -> None:
    async with server(IDENTITY, ahead_s=ahead_s) as port:
        [finding] = await examine_peers(config_with(port), node_report(peers=(peer("b"),)))

    assert finding.name == "clocks-differ"
    assert words in finding.why


def test_clocks_may_differ_a_little() -> None:
    assert clock_findings("b", 0.3) == clock_findings("b", -0.3) == []


async def test_peer_that_is_linked_need_not_be_reachable_from_here() -> None:
    assert await examine_peers(config_with(1), node_report(peers=(peer("b"),))) == []


async def test_node_without_peers_is_said() -> None:
    findings = await examine_peers(NodeConfig(name="a", data="/srv/a"), None)

    assert [finding.name for finding in findings] == ["no-peers"]


async def test_port_that_another_program_holds_is_found_while_the_node_is_down() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = NodeConfig(name="a", data="/srv/a", listen=f"127.0.0.1:{port}")
        [finding] = await examine_ports(config, None)
        assert await examine_ports(config, node_report()) == [], "the node listens there"

    assert finding.name == "port-taken"
    assert await examine_ports(config, None) == []
    [silent] = await examine_ports(config, node_report())
    assert silent.name == "port-silent"


async def test_datagram_port_counts_too() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        [finding] = await examine_ports(NodeConfig(name="a", data="/srv/a", listen=listen), None)

    assert "UDP" in finding.why
