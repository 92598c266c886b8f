"""Ports and peers of a node from outside: who listens where, and whether the servers that it needs can be reached."""

from __future__ import annotations

import secrets
import socket
import time
from typing import Final

import trio

from room_server.config import Endpoint, NodeConfig, PeerConfig, parse_endpoint
from room_server.report import NodeReport
from samtala.operate.verdict import Finding, critical, page, warning
from wire.errors import ClosedError, HandshakeError, PeerError
from wire.frames import FrameDecoder, encode_frame
from wire.identity import parse_node_address
from wire.messages import NONCE_BYTES, Hello, ServerHello, decode, encode
from wire.tls import TlsConnection, connect
from wire.versions import PROTOCOL_OLDEST, PROTOCOL_VERSION

DIAL_S_MAX: Final = 4.0
"""Seconds for one peer: longer than a handshake over a bad line."""
CLOCK_S_MAX: Final = 0.5
"""Seconds by which clocks of servers may differ: times of messages are theirs."""
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not bound


async def examine_ports(config: NodeConfig, report: NodeReport | None) -> list[Finding]:
    """Whether the node can be reached where it should listen, or, if it is down, whether the port is free."""
    endpoint = parse_endpoint(config.listen)
    if endpoint.port == 0:
        return []
    if report is None:
        return _can_bind(endpoint)
    answers = await _answers(Endpoint(_WILDCARDS.get(endpoint.host, endpoint.host), endpoint.port))
    if answers:
        return []
    why = f"the node runs but does not answer at {endpoint}"
    return [critical("port-silent", why, f"ss -ltnp sport = :{endpoint.port}; {page('node-down')}")]


def _can_bind(endpoint: Endpoint) -> list[Finding]:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    for kind, name, option in ((socket.SOCK_STREAM, "TCP", "-ltnp"), (socket.SOCK_DGRAM, "UDP", "-lunp")):
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
            try:
                probe.bind((endpoint.host, endpoint.port))
            except OSError as error:
                why = f"{name} {endpoint} cannot be used: {error.strerror}"
                return [critical("port-taken", why, f"ss {option} sport = :{endpoint.port}; or another `listen`")]
    return []


async def _answers(endpoint: Endpoint) -> bool:
    with trio.move_on_after(DIAL_S_MAX):
        try:
            stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
        except OSError:
            return False
        await stream.aclose()
        return True
    return False


async def examine_peers(config: NodeConfig, report: NodeReport | None) -> list[Finding]:
    """Dial all peers at once: refused, silent, unknown name, another key, another time.

    A peer to which the node has a link may be out of reach from here all the same, because it dials us: no finding.
    """
    up = {peer.name for peer in report.peers if peer.up} if report is not None else set()
    findings: list[Finding] = []

    async def examine(peer: PeerConfig) -> None:
        found = await _examine_peer(peer)
        findings.extend(one for one in found if one.name != "peer-unreachable" or peer.name not in up)

    async with trio.open_nursery() as nursery:
        for peer in config.peers:
            nursery.start_soon(examine, peer)
    if not config.peers:
        why = "no other server is configured: rooms made here live and die with this machine"
        findings.append(warning("no-peers", why, "add [[peers]] to node.toml, as `samtala node init` says"))
    return sorted(findings, key=lambda finding: finding.why)


async def _examine_peer(peer: PeerConfig) -> list[Finding]:
    address = parse_node_address(peer.address)
    where = f"{peer.name} at {address.host}:{address.port}"
    why = f"{where} does not answer"
    with trio.move_on_after(DIAL_S_MAX):
        try:
            tls = await connect(address)
            try:
                return clock_findings(peer.name, await _clock_offset_s(tls))
            finally:
                await tls.aclose()
        except HandshakeError as error:
            if "another key" in str(error):
                fix = f"compare with what `samtala node init` printed on {peer.name}; then [[peers]] in node.toml"
                why = f"{where} is not who the configuration says: {error}"
                return [critical("peer-stranger", why, fix, subject=peer.name)]
            why = f"{where}: {error}"
        except PeerError as error:
            why = f"{where} cannot be reached: {_reason(error)}"
    return [warning("peer-unreachable", why, _fix(peer, why), subject=peer.name)]


async def _clock_offset_s(tls: TlsConnection) -> float:
    """How far a server's clock is ahead of ours, half the round trip allowed for."""
    decoder = FrameDecoder()
    asked_at = time.time()
    await tls.send(
        encode_frame(encode(Hello(PROTOCOL_VERSION, secrets.token_bytes(NONCE_BYTES), oldest=PROTOCOL_OLDEST)))
    )
    while True:
        data = await tls.receive_some()
        if not data:
            raise ClosedError("it hung up after our hello")
        for frame in decoder.feed(data):
            answer = decode(frame)
            if isinstance(answer, ServerHello):
                return answer.wall_us / 1e6 - (asked_at + time.time()) / 2


def clock_findings(peer: str, offset_s: float) -> list[Finding]:
    """Judge how far a peer's clock is ahead of ours."""
    if abs(offset_s) <= CLOCK_S_MAX:
        return []
    why = f"the clock of {peer} is {abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} ours: one is wrong"
    return [warning("clocks-differ", why, f"here and on {peer}: date; timedatectl set-ntp true", subject=peer)]


def _reason(error: PeerError) -> str:
    return str(error).rpartition(": ")[2]


def _fix(peer: PeerConfig, reason: str) -> str:
    address = parse_node_address(peer.address)
    if "refused" in reason.lower():
        return f"on {peer.name}: systemctl start samtala; journalctl -u samtala -n 50"
    if "name or service" in reason.lower() or "resolution" in reason.lower() or "no address" in reason.lower():
        return f"getent hosts {address.host}"
    return f"on {peer.name}: open TCP and UDP {address.port} in the firewall; {page('peer-unreachable')}"
