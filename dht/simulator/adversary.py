"""Hosts that lie (dht.md 2, threats). Each is an honest core that some questions do not reach.

    DROPPER     acknowledges puts and stores nothing
    COLLUDER    names only its fellows, has nothing, stores nothing
    FORGER      the same, and claims, for itself and its fellows, ids right beside whatever is asked for
    SYBIL       a colluder whose own id was chosen beside one target
    REPLAYER    answers for ever with the first version that it was given

They answer pings and join as anyone does, so they are in everybody's tables.
"""

from __future__ import annotations

import random
from enum import Enum

from dht.dht import Dht
from dht.errors import DecodeError
from dht.events import Event
from dht.items import mutable_target
from dht.krpc import Arguments, Query, decode, encode_answer
from dht.limits import REPLY_NODES_MAX
from dht.node_id import NODE_ID_BYTES, Address, distance, pack_node

_FORGED_TAIL_BYTES = 4


class Lie(Enum):
    """How a host lies."""

    DROPPER = "dropper"
    COLLUDER = "colluder"
    FORGER = "forger"
    SYBIL = "sybil"
    REPLAYER = "replayer"


class Conspiracy:
    """What liars know of each other: ids by address, the same for all."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.members: dict[Address, bytes] = {}

    def near(self, target: bytes) -> list[tuple[bytes, Address]]:
        """Return the members nearest to a target, as they are."""
        ranked = sorted(self.members.items(), key=lambda member: distance(member[1], target))
        return [(node_id, address) for address, node_id in ranked[:REPLY_NODES_MAX]]

    def forged(self, target: bytes) -> list[tuple[bytes, Address]]:
        """Return some members under ids right beside a target."""
        chosen = self.rng.sample(sorted(self.members), min(REPLY_NODES_MAX, len(self.members)))
        return [(self.beside(target), address) for address in chosen]

    def beside(self, target: bytes) -> bytes:
        """Return an id nearer to a target than any honest one."""
        return target[: NODE_ID_BYTES - _FORGED_TAIL_BYTES] + self.rng.randbytes(_FORGED_TAIL_BYTES)


class Liar:
    """A host that lies in one way. Its `core` joins, pings and answers what the lie leaves alone."""

    def __init__(self, core: Dht, lie: Lie, conspiracy: Conspiracy, address: Address) -> None:
        self.core = core
        self._lie = lie
        self._conspiracy = conspiracy
        self._first_puts: dict[bytes, Arguments] = {}
        self._datagrams: list[tuple[bytes, Address]] = []
        self._address = address
        conspiracy.members[address] = core.own_id

    def receive(self, datagram: bytes, address: Address, now: float) -> None:
        """Lie, or let the core answer."""
        try:
            message = decode(datagram)
        except DecodeError:
            return
        values = self._lie_about(message) if isinstance(message, Query) else None
        if values is None or not isinstance(message, Query):
            self.core.receive(datagram, address, now)
            self._conspiracy.members[self._address] = self.core.own_id
            return
        values = {b"id": self.core.own_id, **values}
        self._datagrams.append((encode_answer(values, transaction=message.transaction, to=address), address))

    def tick(self, now: float) -> None:
        """Let the core keep its table."""
        self.core.tick(now)

    def next_deadline(self) -> float:
        """Return when the core wants to be ticked."""
        return self.core.next_deadline()

    def take_datagrams(self) -> list[tuple[bytes, Address]]:
        """Return lies and the core's own datagrams."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams + self.core.take_datagrams()

    def take_events(self) -> list[Event]:
        """Return the core's events."""
        return self.core.take_events()

    def _lie_about(self, query: Query) -> Arguments | None:
        """Return what to answer instead of the core, None to leave it to the core."""
        if query.method == b"put":
            return self._swallow(query.arguments)
        target = query.arguments.get(b"target")
        if not isinstance(target, bytes) or len(target) != NODE_ID_BYTES or query.method not in (b"get", b"find_node"):
            return None
        match self._lie:
            case Lie.DROPPER:
                return None
            case Lie.REPLAYER:
                return self._replay(target) if query.method == b"get" else None
            case Lie.COLLUDER | Lie.SYBIL:
                return _named(self._conspiracy.near(target))
            case Lie.FORGER:
                return {b"id": self._conspiracy.beside(target), **_named(self._conspiracy.forged(target))}

    def _swallow(self, arguments: Arguments) -> Arguments:
        """Acknowledge a put, and remember the first version of each item."""
        match arguments:
            case {b"k": bytes(key)}:
                salt = arguments.get(b"salt", b"")
                assert isinstance(salt, bytes), "only honest nodes put here"
                held = {name: arguments[name] for name in (b"k", b"seq", b"sig", b"v")}
                self._first_puts.setdefault(mutable_target(key, salt), held)
            case _:
                pass
        return {}

    def _replay(self, target: bytes) -> Arguments | None:
        held = self._first_puts.get(target)
        return None if held is None else _named(self._conspiracy.near(target)) | held


def _named(nodes: list[tuple[bytes, Address]]) -> Arguments:
    return {b"nodes": b"".join(pack_node(node_id, address) for node_id, address in nodes), b"token": b"accepted"}
