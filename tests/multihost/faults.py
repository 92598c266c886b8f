"""What goes wrong in a round: drawn from a seed, done to the hosts, and undone.

| kind | what |
|---|---|
| kill_one, kill_primary | SIGKILL, restarted on the same disk |
| kill_majority | SIGKILL of more than half at once, all restarted |
| stop_one, stop_primary | SIGSTOP for 1 to 5 seconds |
| silent_one, silent_primary | nothing reaches it and nothing leaves it, as if its cable was pulled |
| part_minority | fewer than half cut off from the other servers; clients reach everybody |
| part_primary | the primary cut off from the other servers; clients reach everybody |
| one_way | what one server sends to the others is lost; it goes on hearing them |
| slow | one server's link carries 256 kbit/s |
| full_disk | one server's disk has no byte left; if it ends for that, it is started when there is space again |
| rolling | SIGTERM to each server in turn, the next when the one before is ready again |
| clock | one server's wall clock jumps by up to an hour, either way |
| client | two clients lose their connections and come back as others |
| grow, move, shrink | the room gets other servers (`tests.multihost.moves`) |
| nothing | a round to compare with |
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import Enum

import msgspec

from tests.multihost.hosts import DATA, Hosts, fill, relieve

SLOW_KBIT_PER_S = 256
CLOCK_JUMP_S_MAX = 3600.0


class Kind(Enum):
    """See the module."""

    KILL_ONE = "kill_one"
    KILL_PRIMARY = "kill_primary"
    KILL_MAJORITY = "kill_majority"
    STOP_ONE = "stop_one"
    STOP_PRIMARY = "stop_primary"
    SILENT_ONE = "silent_one"
    SILENT_PRIMARY = "silent_primary"
    PART_MINORITY = "part_minority"
    PART_PRIMARY = "part_primary"
    ONE_WAY = "one_way"
    SLOW = "slow"
    FULL_DISK = "full_disk"
    ROLLING = "rolling"
    CLOCK = "clock"
    CLIENT = "client"
    GROW = "grow"
    MOVE = "move"
    SHRINK = "shrink"
    NOTHING = "nothing"


OF_THE_PRIMARY = frozenset({Kind.KILL_PRIMARY, Kind.STOP_PRIMARY, Kind.SILENT_PRIMARY, Kind.PART_PRIMARY})
KILLS = frozenset({Kind.KILL_ONE, Kind.KILL_PRIMARY, Kind.KILL_MAJORITY})
STOPS = frozenset({Kind.STOP_ONE, Kind.STOP_PRIMARY})
SILENCES = frozenset({Kind.SILENT_ONE, Kind.SILENT_PRIMARY})
PARTITIONS = frozenset({Kind.PART_MINORITY, Kind.PART_PRIMARY})


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. `victims`: places; the primary's is put in when it is known. `hold_s`: seconds until it is undone."""

    kind: Kind
    victims: tuple[int, ...]
    hold_s: float
    clock_s: float = 0.0


def draw(rng: random.Random, servers: int, kinds: Sequence[Kind]) -> Fault:
    """Draw the next fault."""
    kind = rng.choice(kinds)
    counts = {Kind.KILL_MAJORITY: servers // 2 + 1, Kind.PART_MINORITY: rng.randint(1, (servers - 1) // 2)}
    victims = tuple(sorted(rng.sample(range(servers), counts.get(kind, 1))))
    hold_s = rng.uniform(1, 5) if kind in STOPS else rng.uniform(0.2, 4)
    return Fault(
        kind=kind, victims=victims, hold_s=round(hold_s, 2), clock_s=rng.uniform(-CLOCK_JUMP_S_MAX, CLOCK_JUMP_S_MAX)
    )


def inject(fault: Fault, hosts: Hosts, clients: str) -> None:
    """Do it. `clients`: the host that the clients are on."""
    names = [hosts.name(index) for index in fault.victims]
    others = [hosts.name(index) for index in range(len(hosts.servers)) if index not in fault.victims]
    if fault.kind in SILENCES:
        hosts.network.part(names, [*others, clients])
    elif fault.kind in PARTITIONS:
        hosts.network.part(names, others)
    elif fault.kind is Kind.ONE_WAY:
        hosts.network.lose([(name, other) for name in names for other in others])
    else:
        for index in fault.victims:
            _strike(fault, hosts, index)


def _strike(fault: Fault, hosts: Hosts, index: int) -> None:
    """What concerns one host alone."""
    if fault.kind in KILLS:
        hosts.servers[index].kill()
    elif fault.kind in STOPS:
        hosts.servers[index].pause()
    elif fault.kind is Kind.SLOW:
        hosts.network.slow(hosts.name(index), SLOW_KBIT_PER_S)
    elif fault.kind is Kind.FULL_DISK:
        fill(hosts.servers[index].place.folder / DATA)
    elif fault.kind is Kind.CLOCK:
        hosts.shift_clock(index, fault.clock_s)


async def undo(fault: Fault, hosts: Hosts) -> None:
    """Undo it; returns when processes that were started are ready.

    Raises:
        ServerFailedError: one does not come up again.
    """
    if fault.kind is Kind.ROLLING:
        await hosts.restart_each()
    for index in fault.victims:
        _relieve(fault, hosts, index)
    hosts.network.find()
    if fault.kind in KILLS or fault.kind is Kind.FULL_DISK:
        await hosts.start(fault.victims)


def _relieve(fault: Fault, hosts: Hosts, index: int) -> None:
    if fault.kind in STOPS:
        hosts.servers[index].resume()
    elif fault.kind is Kind.SLOW:
        hosts.network.quicken(hosts.name(index))
    elif fault.kind is Kind.FULL_DISK:
        relieve(hosts.servers[index].place.folder / DATA)
    elif fault.kind is Kind.CLOCK:
        hosts.shift_clock(index, 0.0)
