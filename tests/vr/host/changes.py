"""Changing the members of a group of running hosts, as an operator would: ask whoever leads until it is everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from tests.vr.host.cluster import GENESIS, GROUP, Node
from vr.configuration import Configuration, Member
from vr.reconfiguration import Refusal


def member(node: Node) -> Member:
    return Member(node.host.replica_id, b"key")


def primary_of(nodes: Sequence[Node]) -> Node | None:
    return next((node for node in nodes if GROUP in node.host.groups() and node.host.replica(GROUP).is_primary), None)


async def until(nodes: Sequence[Node], condition: Callable[[], object]) -> None:
    """Look whenever one of the nodes reports something, and now and then: standing of peers is not reported."""
    while not condition():
        with trio.move_on_after(0.05):
            await nodes[0].changed.wait()


async def change(nodes: Sequence[Node], voters: Sequence[Node], standbys: Sequence[Node] = ()) -> Configuration:
    """Ask whoever leads until the change is begun, and wait until it is everywhere."""
    wanted: Configuration | None = None
    while True:
        leader = primary_of(nodes)
        if leader is not None:
            current = leader.host.replica(GROUP).configuration
            if wanted is not None and current == wanted:
                break
            following = current.successor(tuple(map(member, voters)), tuple(map(member, standbys)))
            if wanted is None or following == wanted:
                refusal = leader.host.reconfigure(GROUP, following)
                assert refusal in {None, Refusal.NOT_READY, Refusal.BUSY, Refusal.NOT_PRIMARY}
                wanted = following if refusal is None else wanted
        with trio.move_on_after(0.02):
            await nodes[0].changed.wait()
    for node in standbys:
        if GROUP not in node.host.groups():
            await node.host.create_group(wanted, GENESIS)
    here = (*voters, *standbys)
    await until(nodes, lambda: all(node.host.replica(GROUP).configuration == wanted for node in here))
    return wanted
