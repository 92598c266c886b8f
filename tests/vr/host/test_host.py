from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from tests.vr.host.cluster import GENESIS, GROUP, SEGMENT_BYTES, Links, Node, cluster, configuration_of
from vr.errors import PeerError, UnknownGroup
from vr.host import (
    Busy,
    DiskFull,
    GenesisConflict,
    GroupDamaged,
    HostClosed,
    HostOptions,
    NotAMember,
    PeerFrameError,
)
from vr.host.limits import SUBMITTED_REQUESTS_MAX
from vr.host.peer_frame import encode_peer_frames
from vr.limits import SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_ASKED_MAX
from vr.log import Request
from vr.messages import Commit, encode
from vr.ready import RejectReason
from vr.replica import ReplicaOptions, Status
from vr.storage.errors import FolderEmpty, FolderInUse, StoragePoisoned
from vr.storage.file_system import File, RealFile, RealFileSystem
from vr.storage.segment import segment_name
from vr.types import ClientId, GroupId, OpNumber, ReplicaId, ReplicaIndex, RequestNumber, SessionNumber, ViewNumber

CLIENT = ClientId(b"client-000000001")
PATIENCE_S = 30


def everybody_has(nodes: list[Node], bodies: list[bytes]) -> Callable[[], bool]:
    return lambda: all(node.bodies() == bodies for node in nodes)


async def until_all(nodes: list[Node], condition: Callable[[], bool]) -> None:
    """Wait for something that any of the nodes may report."""
    while True:
        changes = [node.changed for node in nodes]  # taken before the look, so that no change is missed
        if condition():
            return
        async with trio.open_nursery() as nursery:
            for changed in changes:
                nursery.start_soon(_wait_for, changed, nursery.cancel_scope)


async def _wait_for(changed: trio.Event, scope: trio.CancelScope) -> None:
    await changed.wait()
    scope.cancel()


def primary_of(nodes: list[Node]) -> Node:
    return nodes[nodes[0].host.replica(GROUP).primary_index]


async def test_a_request_is_answered_and_executed_everywhere(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path) as nodes:
            for number, node in enumerate(nodes):
                client = ClientId(bytes([number]) * 16)
                session = await node.register(client)
                reply = await node.call(client, session, 1, b"from node %d" % number)
                assert reply.result == b"%d" % (number + 1)

            await until_all(nodes, everybody_has(nodes, [b"from node 0", b"from node 1", b"from node 2"]))

            marks = [operation.mark for _, operation in nodes[0].committed]
            assert marks == sorted(marks)
            assert marks[-1] == 3


async def test_one_host_alone_serves_and_remembers(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1) as [node]:
            session = await node.register(CLIENT)
            for number in range(1, 6):
                await node.call(CLIENT, session, number, b"%d" % number)
        async with node.running() as host:
            assert host.recovery_report == []
            await node.until(everybody_has([node], [b"1", b"2", b"3", b"4", b"5"]))
            assert [operation.mark for _, operation in node.committed] == [0, 1, 2, 3, 4, 5]

            assert (await node.call(CLIENT, session, 6, b"6")).result == b"6"


async def test_a_dead_primary_is_replaced_and_catches_up_from_its_disk_exactly_once(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        links = Links()
        nodes = [Node(tmp_path / f"node-{index}", links) for index in range(3)]
        async with trio.open_nursery() as nursery:
            kill = {node: await nursery.start(run_until_cancelled, node) for node in nodes}
            for node in nodes:
                await node.host.create_group(configuration_of(nodes), GENESIS)
            victim = primary_of(nodes)
            survivors = [node for node in nodes if node is not victim]
            client_node = survivors[0]
            session = await client_node.register(CLIENT)
            await client_node.call(CLIENT, session, 1, b"before")

            await kill[victim]()
            await client_node.call(CLIENT, session, 2, b"while it was dead")
            repeated = await client_node.call(CLIENT, session, 2, b"while it was dead")
            assert repeated.result == b"2"

            await nursery.start(run_until_cancelled, victim)
            await until_all(nodes, everybody_has(nodes, [b"before", b"while it was dead"]))
            repeated = await victim.call(CLIENT, session, 1, b"before")
            assert repeated.result == b"1"
            await victim.call(CLIENT, session, 3, b"after")
            await until_all(nodes, everybody_has(nodes, [b"before", b"while it was dead", b"after"]))
            nursery.cancel_scope.cancel()


async def run_until_cancelled(
    node: Node, task_status: trio.TaskStatus[Callable[[], object]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a node; hands out a function that kills it and returns when it is gone."""
    is_gone = trio.Event()
    with trio.CancelScope() as scope:

        async def kill() -> None:
            scope.cancel()
            await is_gone.wait()

        async with node.running():
            task_status.started(kill)
            await trio.sleep_forever()
    is_gone.set()


async def test_all_hosts_at_once_come_back_with_everything(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path) as nodes:
            session = await nodes[0].register(CLIENT)
            for number in range(1, 4):
                await nodes[0].call(CLIENT, session, number, b"%d" % number)
            await until_all(nodes, everybody_has(nodes, [b"1", b"2", b"3"]))
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(node.running())

            assert (await nodes[1].call(CLIENT, session, 4, b"4")).result == b"4"
            await until_all(nodes, everybody_has(nodes, [b"1", b"2", b"3", b"4"]))


async def test_a_laggard_catches_up_from_history_below_the_log_in_memory(tmp_path: Path) -> None:
    options = HostOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=0, seed=1, checkpoint_ops=50)
    with trio.fail_after(PATIENCE_S):
        links = Links()
        nodes = [Node(tmp_path / f"node-{index}", links, options=options) for index in range(3)]
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(node.running())
            for node in nodes:
                await node.host.create_group(configuration_of(nodes), GENESIS)
            laggard = next(node for node in nodes if node is not primary_of(nodes))
            others = [node for node in nodes if node is not laggard]
            session = await others[0].register(CLIENT)
            links.cut |= {frozenset((laggard.host.replica_id, other.host.replica_id)) for other in others}
            bodies = [b"%d" % number for number in range(1, 500)]
            for number, body in enumerate(bodies, start=1):
                await others[0].call(CLIENT, session, number, body)
            while others[0].host.statistics.checkpoints < 3:
                await trio.testing.wait_all_tasks_blocked(0.001)
            assert laggard.bodies() == []

            links.cut.clear()
            for other in others:
                other.host.peer_connected(laggard.host.replica_id)
                laggard.host.peer_connected(other.host.replica_id)

            await until_all(nodes, everybody_has(nodes, bodies))


async def test_a_laggard_below_what_history_keeps_is_brought_back_by_a_snapshot(tmp_path: Path) -> None:
    options = HostOptions(
        segment_bytes=SEGMENT_BYTES, free_bytes_min=0, seed=1, checkpoint_ops=20, history_ops_max=0,
        replica=ReplicaOptions(log_margin_ops=0),
    )  # fmt: skip
    with trio.fail_after(PATIENCE_S):
        links = Links()
        nodes = [Node(tmp_path / f"node-{index}", links, options=options) for index in range(3)]
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(node.running())
            for node in nodes:
                await node.host.create_group(configuration_of(nodes), GENESIS)
            laggard = next(node for node in nodes if node is not primary_of(nodes))
            others = [node for node in nodes if node is not laggard]
            session = await others[0].register(CLIENT)
            links.cut |= {frozenset((laggard.host.replica_id, other.host.replica_id)) for other in others}
            bodies = [b"%d" % number for number in range(1, 200)]
            for number, body in enumerate(bodies, start=1):
                await others[0].call(CLIENT, session, number, body)
            while min(other.host.statistics.checkpoints for other in others) < 3:
                await trio.testing.wait_all_tasks_blocked(0.001)
            assert (await primary_of(others).host.read_history(GROUP, 0))[0].op > 10

            links.cut.clear()
            for other in others:
                other.host.peer_connected(laggard.host.replica_id)
                laggard.host.peer_connected(other.host.replica_id)
            await until_all(nodes, everybody_has(nodes, bodies))
            assert laggard.host.statistics.snapshots_installed >= 1
            assert sum(other.host.statistics.snapshots_offered for other in others) >= 1
            reply = await laggard.call(CLIENT, session, len(bodies) + 1, b"after")
            assert reply.result == b"%d" % (len(bodies) + 1)

        async with laggard.running():
            assert laggard.host.damaged == {}
            assert laggard.bodies()[: len(bodies)] == bodies


async def test_a_laggard_that_restarts_in_the_middle_of_a_snapshot_goes_on_with_it(tmp_path: Path) -> None:
    options = HostOptions(
        segment_bytes=SEGMENT_BYTES, free_bytes_min=0, seed=1, checkpoint_ops=10, history_ops_max=0,
        replica=ReplicaOptions(log_margin_ops=0),
    )  # fmt: skip
    with trio.fail_after(PATIENCE_S):
        links = Links()
        nodes = [Node(tmp_path / f"node-{index}", links, options=options) for index in range(3)]
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(node.running())
            for node in nodes:
                await node.host.create_group(configuration_of(nodes), GENESIS)
            laggard = next(node for node in nodes if node is not primary_of(nodes))
        others = [node for node in nodes if node is not laggard]
        bodies = [bytes([number]) * 60_000 for number in range(1, 31)]
        async with others[0].running(), others[1].running():
            session = await others[0].register(CLIENT)
            for number, body in enumerate(bodies, start=1):
                await others[0].call(CLIENT, session, number, body)
            while min(other.host.statistics.checkpoints for other in others) < 3:
                await trio.testing.wait_all_tasks_blocked(0.001)

            total = sum(map(len, bodies))
            links.large_bytes, links.large_bytes_max = 0, total // 2
            async with laggard.running():
                while links.large_bytes < total // 2:
                    await trio.testing.wait_all_tasks_blocked(0.001)
            links.large_bytes_max = None
            async with laggard.running():
                await until_all(nodes, everybody_has(nodes, bodies))
                assert laggard.host.statistics.snapshots_installed == 1
            # What was under way when it died comes again; without what it had kept, half of the whole would.
            under_way = SNAPSHOT_CHUNKS_ASKED_MAX * SNAPSHOT_CHUNK_BYTES
            assert links.large_bytes < 1.05 * total + under_way < 1.4 * total


async def test_the_log_stays_short_and_history_keeps_everything(tmp_path: Path) -> None:
    options = HostOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=0, seed=1, checkpoint_ops=40)
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1, options=options) as [node]:
            session = await node.register(CLIENT)
            for number in range(1, 401):
                await node.call(CLIENT, session, number, b"%d" % number + bytes(1000))
            while node.host.statistics.checkpoints < 8:
                await trio.testing.wait_all_tasks_blocked(0.001)
            assert node.host.log_segments <= 4

            entries = await node.host.read_history(GROUP, 390)
            assert [stored.mark for stored in entries] == list(range(391, 401))
            assert [stored.results for stored in entries[:2]] == [[b"391"], [b"392"]]
        names = [path.name for path in (tmp_path / "node-0" / "wal").iterdir()]
        assert segment_name(1) not in names
        async with node.running() as host:
            await node.until(lambda: len(node.bodies()) == 400)
            assert len(node.committed) < 100, "only what lies above the checkpoint is executed again"
            entries = await host.read_history(GROUP, 0, 10_000)
            assert entries[0].mark == 1
            assert len(entries) < 12


async def test_quiet_groups_are_checkpointed_when_they_pin_the_log(tmp_path: Path) -> None:
    options = HostOptions(
        segment_bytes=SEGMENT_BYTES, free_bytes_min=0, seed=1, checkpoint_bytes=SEGMENT_BYTES, log_segments_max=3
    )
    quiet = GroupId(b"quiet-group-0001")
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1, options=options) as [node]:
            await node.host.create_group(configuration_of([node], quiet), GENESIS)
            await node.register(CLIENT, quiet)
            session = await node.register(CLIENT)
            for number in range(1, 120):
                await node.call(CLIENT, session, number, bytes(20_000))

            number = 120
            while node.host.log_segments > 4:  # the worker may be some operations behind
                await node.call(CLIENT, session, number, b"one more")
                number += 1
            assert GROUP in node.host.groups()
            assert node.host._loop.groups[quiet].checkpoint_op > 0


async def test_what_was_submitted_before_the_end_arrives(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1) as [node]:
            session = await node.register(CLIENT)
            node.host.submit(GROUP, [Request(CLIENT, session, RequestNumber(1), b"last words")])
        with pytest.raises(HostClosed):
            node.host.submit(GROUP, [])
        async with node.running():
            await node.until(everybody_has([node], [b"last words"]))


class FailingFile(RealFile):
    """A file on a disk that dies when told so."""

    is_dead = False

    def sync(self) -> None:
        if FailingFile.is_dead:
            raise OSError(errno.EIO, "input/output error")
        super().sync()


class FailingFileSystem(RealFileSystem):
    """Opens failing files."""

    def open(self, path: str, *, create: bool = False) -> File:  # type: ignore[override]  # the protocol's type
        file = super().open(path, create=create)
        file.__class__ = FailingFile
        return file


async def test_a_failed_sync_stops_the_host_loudly_and_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(PATIENCE_S):
        links = Links()
        node = Node(tmp_path, links)
        node.file_system = FailingFileSystem()

        async def life() -> None:
            async with node.running() as host:
                await host.create_group(configuration_of([node]), GENESIS)
                session = await node.register(CLIENT)
                await node.call(CLIENT, session, 1, b"kept")
                monkeypatch.setattr(FailingFile, "is_dead", True)
                await node.call(CLIENT, session, 2, b"never acknowledged")

        with pytest.raises(StoragePoisoned, match="acknowledge nothing more"):
            await life()
        assert [key[1] for key in node.replies] == [0, 1]

        monkeypatch.setattr(FailingFile, "is_dead", False)
        async with node.running():
            await node.until(lambda: node.bodies()[:1] == [b"kept"])


async def test_the_others_go_on_when_one_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with trio.fail_after(PATIENCE_S):
        links = Links()
        nodes = [Node(tmp_path / f"node-{index}", links) for index in range(3)]
        async with trio.open_nursery() as nursery:
            for node in nodes[1:]:
                await nursery.start(run_until_cancelled, node)
            nodes[0].file_system = FailingFileSystem()
            await nursery.start(run_expecting_poison, nodes[0])
            for node in nodes:
                await node.host.create_group(configuration_of(nodes), GENESIS)
            session = await nodes[1].register(CLIENT)
            monkeypatch.setattr(FailingFile, "is_dead", True)

            for number in range(1, 4):
                await nodes[1].call(CLIENT, session, number, b"%d" % number)

            await until_all(nodes[1:], everybody_has(nodes[1:], [b"1", b"2", b"3"]))
            nursery.cancel_scope.cancel()


async def run_expecting_poison(node: Node, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async def life() -> None:
        async with node.running():
            task_status.started()
            await trio.sleep_forever()

    with pytest.raises(StoragePoisoned):
        await life()


async def test_groups_are_created_once(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1) as [node]:
            configuration = configuration_of([node])
            await node.host.create_group(configuration, GENESIS)

            with pytest.raises(GenesisConflict):
                await node.host.create_group(configuration, b"another genesis")
            with pytest.raises(GenesisConflict):
                await node.host.create_group(msgspec.structs.replace(configuration, pipeline_ops_max=4), GENESIS)
            stranger = msgspec.structs.replace(
                configuration, members=(msgspec.structs.replace(configuration.members[0], replica_id=bytes(16)),)
            )
            with pytest.raises(NotAMember):
                await node.host.create_group(stranger, GENESIS)
            assert list(node.host.groups()) == [GROUP]


async def test_unknown_groups_are_refused(tmp_path: Path) -> None:
    async with Node(tmp_path, Links()).running() as host:
        with pytest.raises(UnknownGroup):
            host.submit(GROUP, [])
        with pytest.raises(UnknownGroup):
            await host.read_history(GROUP, 0)
        with pytest.raises(UnknownGroup):
            host.replica(GROUP)


async def test_a_second_host_on_the_folder_and_a_lost_folder_are_refused(tmp_path: Path) -> None:
    async with Node(tmp_path / "a", Links()).running() as host:
        with pytest.raises(FolderInUse):
            async with Node(tmp_path / "a", Links()).running():
                pass

    options = HostOptions(expected_replica_id=host.replica_id)
    with pytest.raises(FolderEmpty):
        async with Node(tmp_path / "b", Links(), options=options).running():
            pass


async def test_a_group_whose_promises_are_lost_does_not_run_but_the_others_do(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1) as [node]:
            session = await node.register(CLIENT)
            await node.call(CLIENT, session, 1, b"promised")
        for segment in (tmp_path / "node-0" / "wal").iterdir():
            segment.unlink()

        async with node.running() as host:
            assert GROUP in host.damaged
            with pytest.raises(GroupDamaged):
                host.submit(GROUP, [])
            other = GroupId(b"another-group-01")
            await host.create_group(configuration_of([node], other), GENESIS)
            assert (await node.register(CLIENT, other)) > 0
            with pytest.raises(GroupDamaged):
                await host.create_group(configuration_of([node]), GENESIS)


async def test_bounds_are_answered_with_busy_and_nothing_is_taken(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1) as [node]:
            request = Request(CLIENT, SessionNumber(0), RequestNumber(0), b"")
            with pytest.raises(Busy) as refusal:
                node.host.submit(GROUP, [request] * (SUBMITTED_REQUESTS_MAX + 1))
            assert refusal.value.retry_after_s > 0
            assert node.host.statistics.submits_refused == 1
            await node.register(CLIENT)


async def test_a_nearly_full_disk_refuses_requests_but_lives(tmp_path: Path) -> None:
    options = HostOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=1 << 60)
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1, options=options) as [node]:
            with pytest.raises(DiskFull):
                node.host.submit(GROUP, [Request(CLIENT, SessionNumber(0), RequestNumber(0), b"")])
            assert node.host.is_disk_full
            await node.until(lambda: node.host.replica(GROUP).status is Status.NORMAL)


class FillingFileSystem(RealFileSystem):
    """Says that nothing is left when the test says so."""

    is_full = False

    def free_bytes(self, path: str) -> int:
        return 0 if self.is_full else super().free_bytes(path)


async def test_a_primary_with_a_nearly_full_disk_refuses_what_others_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vr.host.writer.FREE_CHECK_S", 0.0)  # each job looks
    options = HostOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=1, seed=1)
    disks = [FillingFileSystem() for _ in range(3)]
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, options=options, file_systems=disks) as nodes:
            leader = int(nodes[0].host.replica(GROUP).primary_index)
            backup = nodes[leader - 1]
            session = await backup.register(CLIENT)
            disks[leader].is_full = True
            await backup.call(CLIENT, session, 1, b"the write after which it looks")
            backup.host.submit(GROUP, [Request(CLIENT, session, RequestNumber(2), b"too much")])
            await backup.until(lambda: backup.rejected)
            assert nodes[leader].host.is_disk_full
            assert backup.rejected.pop().reason is RejectReason.BUSY

            disks[leader].is_full = False
            await backup.call(CLIENT, session, 2, b"room again")
            assert backup.bodies() == [b"the write after which it looks", b"room again"]


async def test_bad_frames_are_the_link_s_end_and_change_nothing(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path) as nodes:
            host, peer = nodes[0].host, nodes[1].host.replica_id
            commit = Commit(view=ViewNumber(0), replica=ReplicaIndex(2), commit=OpNumber(9), head_op=OpNumber(9))
            for frame in (
                b"noise",
                *encode_peer_frames([(GROUP, b"noise")]),
                *encode_peer_frames([(GROUP, encode(commit))]),
            ):
                with pytest.raises(PeerError):
                    host.receive(peer, frame)
            with pytest.raises(PeerFrameError, match="another replica"):
                host.receive(ReplicaId(bytes(16)), next(encode_peer_frames([(GROUP, encode(commit))])))
            host.receive(peer, next(encode_peer_frames([(b"unknown-group-01", encode(commit))])))
            assert host.statistics.messages_for_unknown_groups == 1

            session = await nodes[0].register(CLIENT)
            await nodes[0].call(CLIENT, session, 1, b"still here")


async def test_restored_operations_are_reported_before_the_block_begins(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE_S):
        async with cluster(tmp_path, size=1) as [node]:
            session = await node.register(CLIENT)
            await node.call(CLIENT, session, 1, b"one")
        async with node.running():
            assert [operation.entry.op for _, operation in node.committed][:1] == [1]
            assert node.statuses == 0
