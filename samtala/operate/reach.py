"""Whether others reach a node where it says it is: its peers are asked to dial back, and what they tell gets its remedy.

    examine_reach ─ DialBack ─▶ every peer     Sighting, … ─▶ `room_server.reachability.judge` ─▶ at most one finding

A home router fails in three ways, and each has another remedy: it lets nothing in, it leads to something else, or its
provider has given it another address. The node asks now and then, too; here all peers are asked now, also when the node did not.
"""

from __future__ import annotations

import trio

from room_server.config import Endpoint, NodeConfig, parse_endpoint
from room_server.errors import StartError
from room_server.reachability import Sighting, Verdict, ask_fellow, judge, numeric_hosts
from room_server.report import NodeReport, Reachability
from room_server.setup import load_identity
from samtala.operate.verdict import Finding, warning
from wire.identity import parse_node_address
from wire.messages import DialBack, Reach


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

    async def ask(name: str, address: str) -> None:
        question = DialBack(1, key, advertised.port)
        sighting = await ask_fellow(name, parse_node_address(address), question, agent="samtala-doctor")
        if sighting is not None:
            sightings.append(sighting)

    async with trio.open_nursery() as nursery:
        for name, address in _fellows(config, report).items():
            nursery.start_soon(ask, name, address)
    announced = await numeric_hosts(advertised)
    return reach_findings(advertised, judge(advertised, announced, sorted(sightings, key=lambda one: one.fellow)))


def _fellows(config: NodeConfig, report: NodeReport) -> dict[str, str]:
    """Whom to ask, by name: the configured peers, and those that the node knows from its cluster."""
    known = {peer.name: peer.node for peer in report.peers if peer.node}
    return known | {peer.name: peer.address for peer in config.peers}


def _judge_relay(relay: str, report: NodeReport) -> list[Finding]:
    """Of a server that is carried: it is reached as long as its link to the relay stands."""
    if any(peer.up for peer in report.peers if peer.name == relay):
        return []
    why = f"not reachable from outside: people come through {relay}, and there is no link to it"
    return [warning("relay-away", why, f"on {relay}: samtala status; or name another `relay` in node.toml")]


def reach_findings(advertised: Endpoint, verdict: Verdict) -> list[Finding]:
    """At most one finding, and what mends it."""
    sighting, why, port = verdict.sighting, verdict.why, advertised.port
    if verdict.state is not Reachability.NO or sighting is None:
        return []
    rule = f"in the router, forward TCP and UDP {port} to this machine"
    match sighting.reach:
        case Reach.REACHED:
            now = Endpoint(sighting.host, port)
            return [warning("address-changed", why, f'advertise = "{now}" in node.toml; systemctl restart samtala')]
        case Reach.CLOSED:
            return [warning("port-wrong", why, f"ss -ltnp sport = :{port}; {rule}, to the port of `listen`")]
        case Reach.STRANGER:
            return [warning("port-wrong", why, f"{rule} and no other; or another `advertise` in node.toml")]
        case _:
            return [warning("unreachable", why, f"ufw allow {port}; {rule}")]
