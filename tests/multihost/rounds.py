"""Round after round: something breaks under load, is mended, and everybody must get on again; then the account.

    draw ─▶ inject ─▶ hold ─▶ undo ─▶ every member acknowledged again? (PROGRESS_S_MAX) ─▶ next

Gaps are measured from the injection to the end of the round: `gap_s` is the longest time in which nobody's entry was
acknowledged, `member_gap_s` the longest that one member had to wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import trio

from bench.rooms import BenchRoom, make_room
from samtala.demo.cluster import ServerFailedError
from tests.multihost.faults import OF_THE_PRIMARY, Fault, Kind, draw, inject, undo
from tests.multihost.hosts import FAKETIME, Hosts, open_hosts
from tests.multihost.journal import Account, Gap, Journal
from tests.multihost.load import Member, ask_primary, read_all, talking
from tests.multihost.moves import FIRST_SERVERS, MOVES, first_servers, move_room, next_places
from tests.multihost.network import Network, inside, open_network
from wire.identity import parse_node_address

CLIENTS = "c"
PROGRESS_S_MAX = 30.0
PRIMARY_S_MAX = 20.0
QUIET_S_MAX = 30.0
REST_S = 0.5
POLL_S = 0.02


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run. With the same seed, the same faults are drawn."""

    seed: int
    rounds: int
    servers: int = 5
    members: int = 6
    kinds: tuple[Kind, ...] = tuple(Kind)
    hold_s: float | None = None
    has_clocks: bool = False
    disk_mib: int = 0


def possible(plan: Plan) -> Plan:
    """The plan without what cannot be done here: clocks that jump need a library, full disks a disk of their own."""
    has_clocks = plan.has_clocks and FAKETIME is not None
    impossible = {Kind.CLOCK: not has_clocks, Kind.FULL_DISK: not plan.disk_mib}
    impossible |= dict.fromkeys(MOVES, plan.servers <= FIRST_SERVERS)
    kinds = tuple(kind for kind in plan.kinds if not impossible.get(kind))
    return msgspec.structs.replace(plan, kinds=kinds, has_clocks=has_clocks)


def first_size(plan: Plan) -> int:
    """Servers that the room begins with: a few of them, if it is to move."""
    return FIRST_SERVERS if MOVES & set(plan.kinds) else plan.servers


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one round. `recovered_s`: from the undoing until every member was acknowledged again."""

    number: int
    kind: Kind
    victims: tuple[int, ...]
    hold_s: float
    acked: int
    gap_s: float
    member_gap_s: float
    recovered_s: float
    failure: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. `failures`: what did not come back, contradictions that clients noticed, servers that died."""

    seed: int
    seconds: float
    rounds: tuple[Round, ...]
    account: Account
    failures: tuple[str, ...]
    examples: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Every promise was kept, and everything came back."""
        return self.account.is_clean and not self.failures


class Run:
    """A run under way."""

    def __init__(self, plan: Plan, hosts: Hosts, room: BenchRoom, tell: Callable[[Round], None]) -> None:
        self.plan = plan
        self.hosts = hosts
        self.room = room
        self.journal = Journal()
        self.members: list[Member] = []
        self.known = first_servers(room)
        """What everybody knows who has the link."""
        self.places = tuple(range(min(first_size(plan), len(hosts.servers))))
        """Of the servers that the room has."""
        self.rounds: list[Round] = []
        self.failures: list[str] = []
        self._tell = tell
        self._rng = random.Random(plan.seed)
        self._gap = Gap(trio.current_time())
        self._acked = 0

    def on_ack(self, now: float) -> None:
        """Somebody's entry was acknowledged."""
        self._acked += 1
        self._gap.acknowledged(now)

    async def play(self) -> None:
        """All rounds, then the reading of everything from every server."""
        async with talking(
            self.room,
            self.journal,
            self.on_ack,
            count=self.plan.members,
            rng=random.Random(self.plan.seed),
            known=self.known if first_size(self.plan) == FIRST_SERVERS else None,
        ) as self.members:
            await self._progress()
            for number in range(1, self.plan.rounds + 1):
                await self._round(number)
                if self.rounds[-1].failure:
                    break
            await self._quiet()
        for place in self.places:
            self.failures += await read_all(self.room, place, self.journal)
        for member in self.members:
            self.failures += member.alarms

    async def _round(self, number: int) -> None:
        fault = await self._resolve(draw(self._rng, len(self.hosts.servers), self.plan.kinds))
        if self.plan.hold_s is not None:
            fault = msgspec.structs.replace(fault, hold_s=self.plan.hold_s)
        self._gap = gap = Gap(trio.current_time())
        for member in self.members:
            member.gap = Gap(trio.current_time())
        acked = self._acked
        inject(fault, self.hosts, CLIENTS)
        if fault.kind is Kind.CLIENT:
            for member in self._rng.sample(self.members, min(2, len(self.members))):
                member.die()
        await trio.sleep(fault.hold_s)
        failure = ""
        if fault.kind in MOVES:
            failure = await move_room(self.room, self.known, fault.victims)
            self.places = self.places if failure else fault.victims
        try:
            await undo(fault, self.hosts)
        except ServerFailedError as error:
            failure = str(error)
        undone_at = trio.current_time()
        failure = failure or await self._progress() or self._dead_server()
        recovered_s = trio.current_time() - undone_at
        await trio.sleep(REST_S)
        if failure:
            self.failures.append(f"round {number}: {failure}")
        self.rounds.append(
            Round(
                number=number, kind=fault.kind, victims=fault.victims, hold_s=fault.hold_s, acked=self._acked - acked,
                gap_s=round(gap.longest_s, 3), member_gap_s=round(max(m.gap.longest_s for m in self.members), 3),
                recovered_s=round(recovered_s, 3), failure=failure,
            )
        )  # fmt: skip
        self._tell(self.rounds[-1])

    async def _resolve(self, fault: Fault) -> Fault:
        """Put in who the primary is, or where the room goes."""
        if fault.kind in MOVES:
            places = next_places(fault.kind, self.places, len(self.hosts.servers), self._rng)
            return msgspec.structs.replace(fault, victims=places)
        if fault.kind not in OF_THE_PRIMARY:
            return fault
        with trio.move_on_after(PRIMARY_S_MAX):
            while True:
                primary = await ask_primary(self.room, self.members)
                if primary is not None:
                    return msgspec.structs.replace(fault, victims=(primary,))
                await trio.sleep(POLL_S)
        return fault

    async def _progress(self) -> str:
        """Wait until every member was acknowledged again; what is wrong if that takes too long."""
        before = [member.acked for member in self.members]
        with trio.move_on_after(PROGRESS_S_MAX):
            while any(member.acked <= then for member, then in zip(self.members, before, strict=True)):  # noqa: ASYNC110 - answers of many
                await trio.sleep(POLL_S)
            return ""
        stuck = [member for member, then in zip(self.members, before, strict=True) if member.acked <= then]
        places = ", ".join(
            f"{member.place} ({member.connection.state.value}: {'; '.join(member.connection.failures)})"
            for member in stuck
            if member.connection is not None
        )
        return f"no acknowledgement within {PROGRESS_S_MAX:.0f} s for members {places}"

    def _dead_server(self) -> str:
        dead = [server for server in self.hosts.servers if not server.is_running]
        return "; ".join(f"server {server.place.name} ended by itself:\n{server.log_tail()}" for server in dead)

    async def _quiet(self) -> None:
        for member in self.members:
            member.hush()
        with trio.move_on_after(QUIET_S_MAX):
            while not all(member.is_quiet for member in self.members):  # noqa: ASYNC110  # answers of many
                await trio.sleep(POLL_S)

    def report(self, seconds: float) -> Report:
        """The figures."""
        return Report(
            seed=self.plan.seed,
            seconds=round(seconds, 1),
            rounds=tuple(self.rounds),
            account=self.journal.account(),
            failures=tuple(self.failures),
            examples=tuple(self.journal.examples),
        )


async def _run(plan: Plan, network: Network, folder: Path, tell: Callable[[Round], None]) -> Report:
    begun_at = trio.current_time()
    names = [name for name in network.names if name != CLIENTS]
    async with AsyncExitStack() as stack:
        hosts = await stack.enter_async_context(
            open_hosts(network, names, folder, has_clocks=plan.has_clocks, disk_mib=plan.disk_mib)
        )
        room = await make_room(hosts.addresses[: first_size(plan)])
        everywhere = tuple(parse_node_address(address) for address in hosts.addresses)
        run = Run(plan, hosts, msgspec.structs.replace(room, servers=everywhere), tell)
        await run.play()
        return run.report(trio.current_time() - begun_at)


def play(plan: Plan, folder: Path, tell: Callable[[Round], None]) -> Report:
    """Make a network, run the plan in it, and remove it.

    Raises:
        NetworkError: not permitted here; ask `network.why_not` first.
        ServerFailedError: the servers do not come up at all.
    """
    plan = possible(plan)
    names = [f"n{number}" for number in range(1, plan.servers + 1)]
    with open_network((*names, CLIENTS)) as network, inside(network, CLIENTS):
        return trio.run(_run, plan, network, folder, tell)
