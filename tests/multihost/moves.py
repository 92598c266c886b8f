"""Rounds in which the room comes to other servers, as `samtala room move` does it, while everybody talks.

| kind | where to |
|---|---|
| grow | two servers more |
| move | as many servers, others as far as there are any |
| shrink | two servers less |
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import trio

from bench.rooms import BenchRoom
from client.errors import SamtalaError
from client.moving import Mover, find_servers, plan_move
from tests.multihost.faults import Kind
from wire.certificate import RoomServers, Server
from wire.ids import GroupEpoch

MOVES = frozenset({Kind.GROW, Kind.MOVE, Kind.SHRINK})
FIRST_SERVERS = 3
"""Servers that a room begins with, when it is to move."""
SERVERS_MAX = 7
MOVE_S_MAX = 60.0


def next_places(kind: Kind, now: Sequence[int], servers: int, rng: random.Random) -> tuple[int, ...]:
    """The places of the servers that the room shall have."""
    others = [place for place in range(servers) if place not in now]
    if kind is Kind.GROW:
        wanted = [*now, *rng.sample(others, min(2, len(others), SERVERS_MAX - len(now)))]
    elif kind is Kind.SHRINK:
        wanted = rng.sample(now, max(1, len(now) - 2))
    else:
        strangers = rng.sample(others, min(len(others), len(now)))
        wanted = [*strangers, *rng.sample(now, len(now) - len(strangers))]
    return tuple(sorted(wanted))


def first_servers(room: BenchRoom) -> RoomServers:
    """Where the room begins: what a link would tell."""
    servers = tuple(Server(b"", address.node_key, address.host, address.port) for address in room.servers)
    return RoomServers(GroupEpoch(0), servers[:FIRST_SERVERS])


async def move_room(room: BenchRoom, known: RoomServers, places: Sequence[int]) -> str:
    """Move it; what went wrong, or nothing."""
    wanted = [str(room.servers[place]) for place in places]
    with trio.move_on_after(MOVE_S_MAX):
        try:
            status, nodes, roster = await find_servers(room.room_id, known, wanted)
            plan = plan_move(status, nodes, [*known.servers, *roster])
            mover = Mover(
                room.room_id, plan, known=known, admin_seed=room.keys.write, sign=lambda _, epoch: b"",
                report=lambda line: None,
            )  # fmt: skip
            status = await mover.run()
        except SamtalaError as error:
            return f"the room did not move: {error}"
        there = {replica.node_key for replica in status.replicas}
        is_there = there == {room.servers[place].node_key for place in places}
        return "" if is_there else "the room has other servers than it was given"
    return f"the room did not move within {MOVE_S_MAX:.0f} s"
