"""What rooms cost that nobody uses: three hosts in one process, joined in memory, with thousands of groups asleep.

    python -m bench --only idle        JSON: share of a core per host, and how a dead node's groups find new primaries

The figures are per host: the process's CPU time divided by three.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from vr.configuration import Configuration, Member
from vr.host import Host, HostOptions, open_host
from vr.log import Request
from vr.ready import CommittedOp, EpochEnd, Rejected, Reply
from vr.types import GroupId, OpNumber, ReplicaId

SIZES = (1000, 5000)
IDLE_S = 5.0
PATIENCE_S = 120
CREATED_AT_ONCE = 250


class IdleCost(msgspec.Struct, frozen=True, kw_only=True):
    """`core_share`: of one core, per host. `takeover_s`: from a node's death until every group it led has a primary."""

    groups: int
    core_share: float
    turns_per_s: float
    takeover_s: float
    takeover_cpu_s: float
    views_per_group: float


class _Discard:
    """A service that does nothing."""

    def apply(self, op: OpNumber, timestamp_us: int, requests: Sequence[Request]) -> list[bytes]:
        return [b""] * len(requests)

    def snapshot(self) -> bytes:
        return b""

    def restore(self, snapshot: bytes) -> None:
        pass


class _Node:
    """A host, its transport and its embedder in one; frames arrive a moment later, as over a network."""

    def __init__(self, nodes: dict[ReplicaId, _Node]) -> None:
        self._nodes = nodes
        self.host: Host

    def send(self, peer: ReplicaId, frame: bytes) -> None:
        if peer in self._nodes and self.host.replica_id in self._nodes:
            self._nodes[peer].host.receive(self.host.replica_id, frame)

    def on_committed(self, group: GroupId, operations: Sequence[CommittedOp]) -> None:
        pass

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        pass

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        pass

    def on_epoch_end(self, group: GroupId, end: EpochEnd) -> Sequence[tuple[int, bytes]]:
        return ()

    def on_status(self, group: GroupId) -> None:
        pass


async def measure(folder: Path, groups: int) -> IdleCost:
    """Create the groups, let them fall asleep, look; then kill a node and look again."""
    nodes: dict[ReplicaId, _Node] = {}
    async with contextlib.AsyncExitStack() as stack:
        for place in range(3):
            node = _Node(nodes)
            node.host = await stack.enter_async_context(
                open_host(folder / str(place), node, lambda group, genesis: _Discard(), node, options=HostOptions())
            )
            nodes[node.host.replica_id] = node
        hosts = [node.host for node in nodes.values()]
        for host in hosts:
            for other in hosts:
                if other is not host:
                    host.peer_connected(other.replica_id)
        await _create(hosts, groups)
        await _until_still(hosts)
        cpu, turns = time.process_time(), sum(host.statistics.turns for host in hosts)
        await trio.sleep(IDLE_S)
        cpu, turns = time.process_time() - cpu, sum(host.statistics.turns for host in hosts) - turns
        dead = hosts[0]
        takeover_s, takeover_cpu_s, views = await _kill(nodes, dead)
        return IdleCost(
            groups=groups, core_share=round(cpu / IDLE_S / 3, 4), turns_per_s=round(turns / IDLE_S / 3, 1),
            takeover_s=round(takeover_s, 2), takeover_cpu_s=round(takeover_cpu_s / 2, 2),
            views_per_group=round(views, 2),
        )  # fmt: skip


async def _create(hosts: Sequence[Host], groups: int) -> None:
    members = tuple(Member(host.replica_id, b"") for host in hosts)
    limiter = trio.CapacityLimiter(CREATED_AT_ONCE)

    async def create(configuration: Configuration) -> None:
        async with limiter:
            for host in hosts:
                await host.create_group(configuration, b"")

    async with trio.open_nursery() as nursery:
        for _ in range(groups):
            nursery.start_soon(create, Configuration(group=GroupId(secrets.token_bytes(16)), members=members))


async def _until_still(hosts: Sequence[Host]) -> None:
    for _ in range(PATIENCE_S):
        if not any(host.awake_groups for host in hosts):
            return
        await trio.sleep(1)
    raise TimeoutError("groups do not fall asleep")


async def _kill(nodes: dict[ReplicaId, _Node], dead: Host) -> tuple[float, float, float]:
    """(seconds, CPU seconds, views per group that lost its primary) until every group has a primary again."""
    survivors = [node.host for node in nodes.values() if node.host is not dead]
    led = [group for group in dead.groups() if dead.replica(group).is_primary]
    before = sum(survivors[0].replica(group).view for group in led)
    start, cpu = trio.current_time(), time.process_time()
    del nodes[dead.replica_id]
    for host in survivors:
        host.peer_disconnected(dead.replica_id)
    for _ in range(PATIENCE_S * 10):
        if all(any(host.replica(group).is_primary for host in survivors) for group in led):
            break
        await trio.sleep(0.1)
    views = sum(survivors[0].replica(group).view for group in led) - before
    return trio.current_time() - start, time.process_time() - cpu, views / max(len(led), 1)


def run() -> list[IdleCost]:
    """Every size, in folders of their own."""
    found = []
    for groups in SIZES:
        with tempfile.TemporaryDirectory(prefix="samtala-idle-") as folder:
            found.append(trio.run(measure, Path(folder), groups))
    return found
