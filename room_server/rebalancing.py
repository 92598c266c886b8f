"""Which rooms of a cluster should be on which of its servers. Pure.

    where rooms are, servers that may have some ─▶ `plan_rebalance` ─▶ changes, room by room

1. No room is on a server that shall have none, as long as that costs no failure that it survives now.
2. A room has as many servers as the policy asks for, as far as there are so many; never fewer than now. A number that would
   become even is not reached: one more that has to agree, and no failure more that is survived.
3. Servers have as many rooms as each other, give or take one. No room is moved that need not be for that.

Only rooms whose servers may say which come next are touched (`wire.room.Genesis.by_quorum`), and that have a leader to do it;
the others count as load. A server
that is down and stays keeps its rooms: it may come back. Who is outside the cluster keeps its rooms, too. The same
input gives the same plan at whichever server is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

import msgspec

from wire.ids import NodeKey, RoomId
from wire.peer_messages import RoomPlace


class RoomChange(msgspec.Struct, frozen=True):
    """A room that should be elsewhere: its servers now, and then (those that stay first)."""

    room_id: RoomId
    now: tuple[NodeKey, ...]
    then: tuple[NodeKey, ...]


class RebalancePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done."""

    changes: tuple[RoomChange, ...]
    """In the order of the rooms' ids."""
    held: tuple[RoomId, ...]
    """Rooms that stay on a server that shall have none: there are no others for them."""
    leaderless: tuple[RoomId, ...]
    """Rooms that nobody leads now: nothing is planned for them yet."""
    pinned: tuple[RoomId, ...]
    """Rooms on a server that shall have none, that only their owners may move."""
    loads: dict[NodeKey, int]
    """Rooms by server afterwards, of those that may have some."""


class _Draft:
    """Where rooms are to be, and how many of them on each server that may have some."""

    def __init__(self, able: Sequence[NodeKey]) -> None:
        self.able = able
        self.loads = dict.fromkeys(able, 0)
        self.before: dict[RoomId, tuple[NodeKey, ...]] = {}
        self.servers: dict[RoomId, list[NodeKey]] = {}
        self.movable: dict[NodeKey, set[RoomId]] = {key: set() for key in able}

    def put(self, room: RoomPlace, servers: Iterable[NodeKey]) -> None:
        """More servers of a room."""
        self.before[room.room_id] = room.servers
        known = self.servers.setdefault(room.room_id, [])
        for key in servers:
            known.append(key)
            if key in self.loads:
                self.loads[key] += 1
                if _is_free(room):
                    self.movable[key].add(room.room_id)

    def least_loaded(self, but: Collection[NodeKey], count: int) -> list[NodeKey]:
        """So many servers that do not have a room yet, if there are, the emptiest first."""
        free = [key for key in self.able if key not in but]
        return sorted(free, key=lambda key: (self.loads[key], self.able.index(key)))[:count]

    def shift(self, room_id: RoomId, old: NodeKey, new: NodeKey) -> None:
        """One server of a room is another."""
        servers = self.servers[room_id]
        servers[servers.index(old)] = new
        self.movable[old].remove(room_id)
        self.movable[new].add(room_id)
        self.loads[old] -= 1
        self.loads[new] += 1


def plan_rebalance(
    rooms: Iterable[RoomPlace], *, able: Sequence[NodeKey], leaving: Collection[NodeKey], replicas: int
) -> RebalancePlan:
    """Say which rooms should be elsewhere.

    Args:
        rooms: all that a server of the cluster has, each once.
        able: servers that are up and may have rooms.
        leaving: servers that shall have none.
        replicas: servers that the policy wants for a room.
    """
    ordered = sorted(rooms, key=lambda room: room.room_id)
    draft = _Draft(able)
    for room in ordered:  # What stays weighs before anything is added.
        draft.put(room, [key for key in room.servers if key not in leaving or not _is_free(room)])
    held = [room.room_id for room in ordered if _is_free(room) and _fill(room, draft, leaving, replicas)]
    _level(draft)
    return RebalancePlan(
        changes=tuple(
            RoomChange(room.room_id, room.servers, _stable(room.servers, draft.servers[room.room_id]))
            for room in ordered
            if set(draft.servers[room.room_id]) != set(room.servers)
        ),
        held=tuple(held),
        leaderless=tuple(room.room_id for room in ordered if not room.is_led),
        pinned=tuple(
            room.room_id for room in ordered if not room.is_movable and any(key in leaving for key in room.servers)
        ),
        loads=draft.loads,
    )


def _is_free(room: RoomPlace) -> bool:
    """It may be moved, now."""
    return room.is_movable and room.is_led


def _fill(room: RoomPlace, draft: _Draft, leaving: Collection[NodeKey], replicas: int) -> bool:
    """Give a room the servers that it lacks by rules 1 and 2; tells whether it is held on one that shall have none."""
    stay = tuple(draft.servers[room.room_id])
    available = len(stay) + sum(key not in stay for key in draft.able)
    target = min(replicas, available)
    if target < replicas and target % 2 == 0:
        target -= 1
    wanted = max(len(room.servers), target)
    draft.put(room, draft.least_loaded(stay, wanted - len(stay)))
    lacking = len(room.servers) - len(draft.servers[room.room_id])
    if lacking > 0:
        draft.put(room, [key for key in room.servers if key in leaving][:lacking])
    return lacking > 0


def _level(draft: _Draft) -> None:
    """Rule 3: from the fullest to the emptiest server, half of what lies between them, until nothing is to be gained.

    Ends because each step makes the sum of the squares of the loads smaller.
    """
    while any(_even_out(draft, *pair) for pair in _pairs(draft)):
        pass


def _pairs(draft: _Draft) -> list[tuple[NodeKey, NodeKey]]:
    """Servers that have too much, each with one that has less; the greatest differences first."""
    ranked = sorted(draft.able, key=lambda key: (-draft.loads[key], draft.able.index(key)))
    pairs = [(full, empty) for full, empty in combinations(ranked, 2) if draft.loads[full] - draft.loads[empty] > 1]
    return sorted(pairs, key=lambda pair: draft.loads[pair[1]] - draft.loads[pair[0]])


def _even_out(draft: _Draft, full: NodeKey, empty: NodeKey) -> bool:
    """Move rooms between two servers; False if there is none that could go."""
    surplus = (draft.loads[full] - draft.loads[empty]) // 2
    free = draft.movable[full] - draft.movable[empty]
    chosen = sorted(free, key=lambda room_id: (full in draft.before[room_id], room_id))[:surplus]
    for room_id in chosen:  # Those first that come to the full one anew: they would be fetched anyway.
        draft.shift(room_id, full, empty)
    return bool(chosen)


def _stable(before: Sequence[NodeKey], after: Collection[NodeKey]) -> tuple[NodeKey, ...]:
    """Those who stay in the order in which they were, then the others."""
    return (*(key for key in before if key in after), *(key for key in after if key not in before))
