"""Ports and peers of a node from outside: who listens where, and whether the servers that it needs can be reached."""

from __future__ import annotations

import socket
from typing import Final

import trio

from room_server.config import Endpoint, NodeConfig, PeerConfig, parse_endpoint
from room_server.report import NodeReport
from samtala.operate.verdict import Finding, critical, page, warning
from wire.errors import ClosedError, HandshakeError
from wire.identity import parse_node_address
from wire.tls import connect

DIAL_S_MAX: Final = 4.0
"""Seconds for one peer: longer than a handshake over a bad line."""
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
    """Dial the peers to which the node has no link, all at once: refused, silent, unknown name, or another key."""
    up = {peer.name for peer in report.peers if peer.up} if report is not None else set()
    findings: list[Finding] = []

    async def examine(peer: PeerConfig) -> None:
        findings.extend(await _examine_peer(peer))

    async with trio.open_nursery() as nursery:
        for peer in config.peers:
            if peer.name not in up:
                nursery.start_soon(examine, peer)
    if not config.peers:
        why = "no other server is configured: rooms made here live and die with this machine"
        findings.append(warning("no-peers", why, "add [[peers]] to node.toml, as `samtala node init` says"))
    return sorted(findings, key=lambda finding: finding.why)


async def _examine_peer(peer: PeerConfig) -> list[Finding]:
    address = parse_node_address(peer.address)
    where = f"{peer.name} at {address.host}:{address.port}"
    with trio.move_on_after(DIAL_S_MAX):
        try:
            tls = await connect(address)
        except HandshakeError as error:
            if "another key" not in str(error):
                return [warning("peer-unreachable", f"{where}: {error}", _fix(peer, ""), subject=peer.name)]
            fix = f"compare with what `samtala node init` printed on {peer.name}; then [[peers]] in node.toml"
            return [
                critical("peer-stranger", f"{where} is not who the configuration says: {error}", fix, subject=peer.name)
            ]
        except ClosedError as error:
            why = f"{where} cannot be reached: {_reason(error)}"
            return [warning("peer-unreachable", why, _fix(peer, str(error)), subject=peer.name)]
        await tls.aclose()
        return []
    return [warning("peer-unreachable", f"{where} does not answer", _fix(peer, ""), subject=peer.name)]


def _reason(error: ClosedError) -> str:
    return str(error).rpartition(": ")[2]


def _fix(peer: PeerConfig, reason: str) -> str:
    address = parse_node_address(peer.address)
    if "refused" in reason.lower():
        return f"on {peer.name}: systemctl start samtala; journalctl -u samtala -n 50"
    if "name or service" in reason.lower() or "resolution" in reason.lower() or "no address" in reason.lower():
        return f"getent hosts {address.host}"
    return f"on {peer.name}: open TCP and UDP {address.port} in the firewall; {page('peer-unreachable')}"
