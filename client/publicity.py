"""Whether enough of a room's servers can be reached from everywhere. Pure.

A room of 2f + 1 servers goes on with f + 1 of them. Servers behind home routers reach those that are public, but not each
other: with fewer than f + 1 public ones a majority may never meet, and members may find nobody to talk to. An address tells
whether it can be public; whether it is, only being dialled tells (`samtala doctor` on that server).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from client.moving import MovePlan
from wire.descriptor import Descriptor


def descriptor_warning(descriptor: Descriptor) -> str | None:
    """What is to be said of the servers of a new room; None if nothing is."""
    return public_warning([list(replica.addresses) for replica in descriptor.replicas])


def plan_warning(plan: MovePlan) -> str | None:
    """What is to be said of the servers that a room shall have."""
    return public_warning([[(server.host, server.port)] if server.host else [] for server in plan.wanted])


def public_warning(servers: Sequence[Sequence[tuple[str, int]]]) -> str | None:
    """Judge servers by their hosts and ports; None if enough may be public, or all are on this very machine.

    A name, or no address at all, gets the benefit of the doubt: only its owner knows what is behind it. Servers with one address
    for several are carried by one of them (docs/adr/0021), and count as one: they are out of reach together.
    """
    public = sum(not places for places in servers)
    public += len({frozenset(places) for places in servers if any(_may_be_public(host) for host, _ in places)})
    needed = len(servers) // 2 + 1
    if public >= needed or all(_is_loopback(host) for places in servers for host, _ in places):
        return None
    can = f"{public} of {len(servers)} servers {'has an address' if public == 1 else 'have addresses'}"
    return (
        f"Warning: {can} that can be reached from the internet, and the room needs {needed}: people and servers elsewhere"
        " will not reach it. Take public servers, or have home routers forward the port (docs/how-to/be-found.md)."
    )


def _may_be_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return host != "localhost"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
