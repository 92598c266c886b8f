"""Whether others reach a node where it says it is: its peers are asked to dial back, and what they tell is judged.

    examine_reach ─ DialBack ─▶ every peer        Sighting, … ─▶ judge_reach ─▶ at most one finding

A home router fails in three ways, and each has another remedy: it lets nothing in, it leads to something else, or its
provider has given it another address. One peer that gets through outweighs those that do not: their network may be at fault.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from room_server.config import Endpoint, NodeConfig, PeerConfig, parse_endpoint
from room_server.errors import StartError
from room_server.report import NodeReport
from room_server.setup import load_identity
from samtala.operate.verdict import Finding, warning
from wire.channel import open_channel
from wire.errors import PeerError
from wire.identity import parse_node_address
from wire.ids import NodeKey
from wire.messages import DialBack, DialledBack, Reach

ASK_S_MAX: Final = 9.0
"""Seconds for one peer: its dial takes up to four, and the connection to it as long."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What one peer says: how it reached us, and the numeric address at which it tried."""

    peer: str
    reach: Reach
    host: str


async def examine_reach(config: NodeConfig, report: NodeReport | None) -> list[Finding]:
    """Ask all peers at once to dial the running node. Peers that do not answer are another check's affair."""
    advertised = parse_endpoint(config.advertise or config.listen)
    if report is None or advertised.port == 0:
        return []
    if config.relay:
        return _judge_relay(config.relay, report)
    try:
        key = load_identity(config).public
    except StartError:
        return []  # The key is examined elsewhere.
    sightings: list[Sighting] = []

    async def ask(peer: PeerConfig) -> None:
        with trio.move_on_after(ASK_S_MAX):
            sighting = await _ask(peer, key, advertised.port)
            if sighting is not None:
                sightings.append(sighting)

    async with trio.open_nursery() as nursery:
        for peer in config.peers:
            nursery.start_soon(ask, peer)
    return judge_reach(advertised, await _numeric(advertised), sorted(sightings, key=lambda one: one.peer))


def _judge_relay(relay: str, report: NodeReport) -> list[Finding]:
    """Of a server that is carried: it is reached as long as its link to the relay stands."""
    if any(peer.up for peer in report.peers if peer.name == relay):
        return []
    why = f"not reachable from outside: people come through {relay}, and there is no link to it"
    return [warning("relay-away", why, f"on {relay}: samtala status; or name another `relay` in node.toml")]


async def _ask(peer: PeerConfig, key: NodeKey, port: int) -> Sighting | None:
    try:
        async with open_channel(parse_node_address(peer.address), agent="samtala-doctor") as channel:
            answer = await channel.call(DialBack(1, key, port))
    except PeerError:
        return None
    if not isinstance(answer, DialledBack):
        return None
    return Sighting(peer=peer.name, reach=answer.reach, host=answer.host)


async def _numeric(endpoint: Endpoint) -> list[str]:
    with trio.move_on_after(ASK_S_MAX):
        try:
            found = await trio.socket.getaddrinfo(endpoint.host, endpoint.port, type=trio.socket.SOCK_STREAM)
        except OSError:
            return []
        return [str(address[0]) for *_, address in found]
    return []


def judge_reach(advertised: Endpoint, announced: Sequence[str], sightings: Sequence[Sighting]) -> list[Finding]:
    """At most one finding, and what mends it.

    Args:
        advertised: what the configuration announces.
        announced: the numeric addresses of that; empty where its name is unknown.
        sightings: what peers say. Those that share a home network with us know nothing of the outside.
    """
    is_outside = any(_is_public(host) for host in announced)
    heard = [one for one in sightings if not is_outside or _is_public(one.host)]
    reached = [one for one in heard if one.reach is Reach.REACHED]
    if reached:
        return _moved(advertised, announced, reached[0])
    return [_unreached(advertised.port, heard[0])] if heard else []


def _moved(advertised: Endpoint, announced: Sequence[str], sighting: Sighting) -> list[Finding]:
    same_family = [host for host in announced if (":" in host) == (":" in sighting.host)]
    if not same_family or sighting.host in same_family or any(map(_is_wildcard, same_family)):
        return []
    now = Endpoint(sighting.host, advertised.port)
    why = f"the address has changed: {sighting.peer} reaches this server at {now}, it announces {advertised}"
    return [warning("address-changed", why, f'advertise = "{now}" in node.toml; systemctl restart samtala')]


def _unreached(port: int, sighting: Sighting) -> Finding:
    where = f"{sighting.peer} tried {Endpoint(sighting.host, port)}"
    rule = f"in the router, forward TCP and UDP {port} to this machine"
    match sighting.reach:
        case Reach.CLOSED:
            why = f"wrong port: {where}, and nobody listens there"
            return warning("port-wrong", why, f"ss -ltnp sport = :{port}; {rule}, to the port of `listen`")
        case Reach.STRANGER:
            why = f"wrong port: {where}, and something else answers"
            return warning("port-wrong", why, f"{rule} and no other; or another `advertise` in node.toml")
        case _:
            why = f"not reachable from outside: {where}, and nothing answers"
            return warning("unreachable", why, f"ufw allow {port}; {rule}")


def _is_public(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_global


def _is_wildcard(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_unspecified
