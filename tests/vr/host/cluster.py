"""Hosts in one trio loop, joined in memory: what one sends the other receives, unless the link is cut."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import trio

from vr.configuration import Configuration, Member
from vr.host import Busy, Host, HostOptions, open_host
from vr.host.hosted_group import HostedGroup
from vr.log import Request
from vr.ready import CommittedOp, EpochEnd, Rejected, RejectReason, Reply
from vr.replica import Replica, Restored
from vr.storage.file_system import FileSystem
from vr.types import ClientId, GroupId, OpNumber, ReplicaId, ReplicaIndex, RequestNumber, SessionNumber

SEGMENT_BYTES = 256 * 1024
GROUP = GroupId(b"group-0000000001")
GENESIS = b"genesis"


class Journal:
    """A service that remembers every body it executed; its results are its lengths."""

    def __init__(self, genesis: bytes) -> None:
        self.bodies: list[bytes] = [genesis]

    def apply(self, op: OpNumber, timestamp_us: int, requests: Sequence[Request]) -> list[bytes]:
        results = []
        for request in requests:
            self.bodies.append(request.body)
            results.append(b"%d" % (len(self.bodies) - 1))
        return results

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.bodies)

    def restore(self, snapshot: bytes) -> None:
        self.bodies = msgspec.msgpack.decode(snapshot, type=list[bytes])

    def mark(self) -> int:
        return len(self.bodies) - 1


LARGE_BYTES = 100_000


class Links:
    """The network: open hosts by replica id."""

    def __init__(self) -> None:
        self.hosts: dict[ReplicaId, Host] = {}
        self.cut: set[frozenset[ReplicaId]] = set()
        self.large_bytes = 0  # of frames of at least LARGE_BYTES
        self.large_bytes_max: int | None = None  # from there on they are lost

    def join(self, host: Host) -> None:
        for other_id, other in self.hosts.items():
            other.peer_connected(host.replica_id)
            host.peer_connected(other_id)
        self.hosts[host.replica_id] = host

    def lets_pass(self, source: ReplicaId, target: ReplicaId, frame: bytes) -> bool:
        if frozenset((source, target)) in self.cut:
            return False
        if len(frame) < LARGE_BYTES:
            return True
        if self.large_bytes_max is not None and self.large_bytes >= self.large_bytes_max:
            return False
        self.large_bytes += len(frame)
        return True

    def leave(self, replica_id: ReplicaId) -> None:
        self.hosts.pop(replica_id, None)
        for other in self.hosts.values():
            other.peer_disconnected(replica_id)


class Wire:
    """One host's transport."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self.own: ReplicaId | None = None
        self.frames = 0

    def send(self, peer: ReplicaId, frame: bytes) -> None:
        self.frames += 1
        target = self._links.hosts.get(peer)
        if target is not None and self.own is not None and self._links.lets_pass(self.own, peer, frame):
            target.receive(self.own, frame)


class Node:
    """A host over one folder, through its incarnations, and a client attached to it."""

    def __init__(self, folder: Path, links: Links, *, options: HostOptions | None = None) -> None:
        self.folder = folder
        self.options = options or HostOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=0, seed=1)
        self.file_system: FileSystem | None = None
        self._links = links
        self.services: dict[GroupId, Journal] = {}
        self.committed: list[tuple[GroupId, CommittedOp]] = []
        self.statuses = 0
        self.ends: list[tuple[GroupId, EpochEnd]] = []
        self.replies: dict[tuple[ClientId, RequestNumber], Reply] = {}
        self.rejected: list[Rejected] = []
        self.changed = trio.Event()
        self.host: Host

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Host]:
        wire = Wire(self._links)
        self.committed.clear()
        async with open_host(
            self.folder, wire, self._make_service, self, file_system=self.file_system, options=self.options
        ) as host:
            wire.own = host.replica_id
            self.host = host
            self._links.join(host)
            try:
                yield host
            finally:
                self._links.leave(host.replica_id)

    def _make_service(self, group: GroupId, genesis: bytes) -> Journal:
        self.services[group] = Journal(genesis)
        return self.services[group]

    def bodies(self, group: GroupId = GROUP) -> list[bytes]:
        """What the service executed."""
        return self.services[group].bodies[1:]

    # --- embedder

    def on_committed(self, group: GroupId, operations: Sequence[CommittedOp]) -> None:
        self.committed += [(group, operation) for operation in operations]
        self._change()

    def on_reply(self, group: GroupId, reply: Reply) -> None:
        self.replies[reply.client, reply.number] = reply
        self._change()

    def on_rejected(self, group: GroupId, rejected: Rejected) -> None:
        self.rejected.append(rejected)
        self._change()

    def on_epoch_end(self, group: GroupId, end: EpochEnd) -> Sequence[tuple[int, bytes]]:
        self.ends.append((group, end))
        self._change()
        return [(end.configuration.epoch, b"%d" % end.op)]

    def on_status(self, group: GroupId) -> None:
        self.statuses += 1
        self._change()

    def _change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    # --- client

    async def register(self, client: ClientId, group: GroupId = GROUP) -> SessionNumber:
        request = Request(client, SessionNumber(0), RequestNumber(0), b"")
        return (await self._answered(group, request)).session

    async def call(
        self, client: ClientId, session: SessionNumber, number: int, body: bytes, group: GroupId = GROUP
    ) -> Reply:
        """Submit a request until it is answered."""
        return await self._answered(group, Request(client, session, RequestNumber(number), body))

    async def _answered(self, group: GroupId, request: Request) -> Reply:
        self.replies.pop((request.client, request.number), None)
        self._submit(group, request)
        while (reply := self.replies.get((request.client, request.number))) is None:
            await self.changed.wait()
            if self.rejected:
                assert self.rejected.pop().reason is RejectReason.BUSY
                self._submit(group, request)
        return reply

    def _submit(self, group: GroupId, request: Request) -> None:
        with contextlib.suppress(Busy):
            self.host.submit(group, [request])

    async def until(self, condition: object) -> None:
        """Wait until `condition()` holds; it is looked at whenever the host reports something."""
        assert callable(condition)
        while not condition():
            await self.changed.wait()


def configuration_of(nodes: Sequence[Node], group: GroupId = GROUP) -> Configuration:
    members = tuple(Member(node.host.replica_id, b"key") for node in nodes)
    return Configuration(group=group, members=members)


@contextlib.asynccontextmanager
async def cluster(
    folder: Path, *, size: int = 3, options: HostOptions | None = None, file_systems: Sequence[FileSystem] = ()
) -> AsyncIterator[list[Node]]:
    """Running nodes that share a group."""
    links = Links()
    nodes = [Node(folder / f"node-{index}", links, options=options) for index in range(size)]
    for node, file_system in zip(nodes, file_systems, strict=False):
        node.file_system = file_system
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.running())
        for node in nodes:
            await node.host.create_group(configuration_of(nodes), GENESIS)
        yield nodes


OWN, PEER, THIRD = (ReplicaId(bytes([index]) * 16) for index in range(3))


def hosted(index: int = 0) -> HostedGroup:
    configuration = Configuration(
        group=GroupId(index.to_bytes(16, "big")), members=tuple(Member(one, b"") for one in (OWN, PEER, THIRD))
    )
    replica = Replica(configuration, ReplicaIndex(0), Journal(b""), Restored.fresh(), now=0.0, seed=1)
    return HostedGroup(configuration, b"", replica, checkpoint_op=OpNumber(0))
