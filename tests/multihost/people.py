"""Two people with full clients, MLS and all, talking while hosts fail: nothing may be lost, and nothing undecryptable.

The demo's story on servers that have hosts of their own. People send one message after the other; each must be shown,
decrypted, to both.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import trio

from samtala.demo.cluster import Cluster
from samtala.demo.story import PEOPLE, Report, Story, story_on
from tests.multihost.faults import OF_THE_PRIMARY, Fault, draw, inject, undo
from tests.multihost.hosts import Hosts, open_hosts
from tests.multihost.network import Network, inside, open_network
from tests.multihost.rounds import CLIENTS, Plan, possible

PROGRESS_S_MAX = 30.0
POLL_S = 0.05


class PeopleReport(msgspec.Struct, frozen=True, kw_only=True):
    """`kinds`: what befell the servers, in order. `stuck`: rounds after which nobody could send again."""

    kinds: tuple[str, ...]
    stuck: tuple[int, ...]
    story: Report

    @property
    def is_clean(self) -> bool:
        """Every promise was kept, and everything came back."""
        return self.story.is_clean and not self.stuck


async def _talk(plan: Plan, network: Network, folder: Path) -> PeopleReport:
    names = [name for name in network.names if name != CLIENTS]
    async with open_hosts(network, names, folder / "servers") as hosts:
        cluster = Cluster(folder / "servers", list(hosts.servers), {})
        async with story_on(cluster, folder / "people") as story, trio.open_nursery() as nursery:
            for name in PEOPLE:
                nursery.start_soon(story.listen, name)
                nursery.start_soon(story.talk, name)
            nursery.start_soon(story.watch)
            kinds, stuck = await _trouble(plan, hosts, story)
            story.hush()
            await story.settle()
            report = await story.report()
            nursery.cancel_scope.cancel()
    return PeopleReport(kinds=tuple(kinds), stuck=tuple(stuck), story=report)


async def _trouble(plan: Plan, hosts: Hosts, story: Story) -> tuple[list[str], list[int]]:
    rng = random.Random(plan.seed)
    kinds: list[str] = []
    stuck: list[int] = []
    for number in range(1, plan.rounds + 1):
        fault = _aimed(draw(rng, plan.servers, plan.kinds), story)
        kinds.append(fault.kind.value)
        inject(fault, hosts, CLIENTS)
        await trio.sleep(fault.hold_s)
        await undo(fault, hosts)
        if not await _goes_on(story):
            stuck.append(number)
    return kinds, stuck


def _aimed(fault: Fault, story: Story) -> Fault:
    primary = story.primary()
    if fault.kind not in OF_THE_PRIMARY or primary is None:
        return fault
    return msgspec.structs.replace(fault, victims=(primary,))


async def _goes_on(story: Story) -> bool:
    """Wait until both people's messages are acknowledged again."""
    before = story.ledger.account().acked
    with trio.move_on_after(PROGRESS_S_MAX):
        while story.ledger.account().acked < before + 2 * len(PEOPLE):  # noqa: ASYNC110  # two clients have to get there
            await trio.sleep(POLL_S)
        return True
    return False


def talk(plan: Plan, folder: Path) -> PeopleReport:
    """Make a network, let two people talk in it while the plan's faults happen, and remove it.

    Raises:
        NetworkError: not permitted here; ask `network.why_not` first.
        ServerFailedError: a server does not come up.
    """
    plan = possible(msgspec.structs.replace(plan, has_clocks=False, disk_mib=0))
    names = [f"n{number}" for number in range(1, plan.servers + 1)]
    with open_network((*names, CLIENTS)) as network, inside(network, CLIENTS):
        return trio.run(_talk, plan, network, folder)
