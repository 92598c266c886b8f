"""Nodes as real processes: kill -9, drain, one data folder for two, a lost disk, a disk that fails."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from collections.abc import Sequence as Many
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.room_server.builders import app
from tests.room_server.cluster import Cluster, TestNode, cluster_of, member_of, open_session, status_when
from tests.room_server.network import NetworkClient, network_client
from wire.errors import PeerError
from wire.ids import ClientId, RoomId, Sequence
from wire.messages import Append, Appended, Message, Refused, Subscribe, Subscribed
from wire.room import ResultKind, decode_block_header, decode_result

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent.parent
ROOM = RoomId(b"a room of process")[:16]
CLIENT = ClientId(b"c" * 16)
SERVE = """
import sys
from pathlib import Path
from room_server.config import load_config
from room_server.process import main
sys.exit(main(lambda: load_config(Path(sys.argv[1]))))
"""
SERVE_WITH_A_DISK_THAT_FAILS_WHEN_TOLD = (
    """
import os, sys
from vr.storage import file_system
sync = file_system.RealFile.sync
def fragile_sync(self):
    if os.path.exists(sys.argv[2]):
        raise OSError(5, "Input/output error")
    sync(self)
file_system.RealFile.sync = fragile_sync
"""
    + SERVE
)


def written(node: TestNode, folder: Path) -> Path:
    """node.toml of a node, as an operator writes it."""
    config = node.config
    lines = [
        f'name = "{config.name}"',
        f'data = "{config.data}"',
        f'listen = "{config.listen}"',
        f'replica_id = "{config.replica_id}"',
        *(f'[[peers]]\nname = "{peer.name}"\naddress = "{peer.address}"' for peer in config.peers),
        "[dht]\nenabled = false",
        '[metrics]\nlisten = ""',
    ]
    path = folder / f"{config.name}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


class Process:
    """One node process. Its log lines go to a file, for the test to read after the end."""

    def __init__(self, process: trio.Process, log: Path, folder: Path) -> None:
        self.process = process
        self._log = log
        self.flag = folder / "disk-fails"

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    @property
    def text(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    async def exit_code(self) -> int:
        with trio.fail_after(30):
            return await self.process.wait()


@asynccontextmanager
async def serving(
    node: TestNode, folder: Path, *, script: str = SERVE, environ: dict[str, str] | None = None
) -> AsyncIterator[Process]:
    config = written(node, folder)
    log = folder / f"{node.config.name}-{os.urandom(4).hex()}.log"
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", script, str(config), str(folder / "disk-fails")],
            cwd=ROOT,
            stderr=output,
            env={**os.environ, **(environ or {})},
        )
    try:
        yield Process(process, log, folder)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(deadline=trio.current_time() + 10, shield=True):
            await process.wait()


async def listening(node: TestNode) -> None:
    """Wait until somebody answers on the node's port."""
    with trio.fail_after(30):
        while True:
            try:
                async with network_client(node.address):
                    return
            except PeerError:
                await trio.sleep(0.02)


class Writer:
    """A client that appends one block after the other, moves on when its server dies, and never loses its place."""

    def __init__(self, nodes: list[TestNode]) -> None:
        self.nodes = nodes
        self.number = 0
        self.session = 0
        self.acknowledged: dict[int, int] = {}
        """Sequence by request number, of everything that was acknowledged."""
        self.wanted = 0
        self.reached = trio.Event()

    async def acknowledgements(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        self.wanted, self.reached = len(self.acknowledged) + count, trio.Event()
        await self.reached.wait()

    async def write(self, count: int) -> None:
        for place in range(100):
            try:
                async with member_of(self.nodes[place % len(self.nodes)], ROOM) as client:
                    if not self.session:
                        self.session = await open_session(client, ROOM, CLIENT)
                    while count:
                        await self._append(client, self.number + 1)
                        self.number += 1
                        count -= 1
                    return
            except (PeerError, AssertionError):
                await trio.sleep(0.01)
        raise AssertionError("no server took the block")

    async def _append(self, client: NetworkClient, number: int) -> None:
        from tests.room_server.network import NetworkClient

        assert isinstance(client, NetworkClient)
        await client.say(Append(ROOM, CLIENT, self.session, number, (app(0, fill=b"block %d" % number),)))
        answer = await client.hear(Appended)
        [(answered, encoded)] = answer.results
        result = decode_result(encoded)
        assert (answered, result.kind) == (number, ResultKind.ACCEPTED)
        self.acknowledged[number] = result.sequence
        if len(self.acknowledged) == self.wanted:
            self.reached.set()


async def read_all(node: TestNode, count: int) -> list[tuple[int, int, bytes]]:
    async with member_of(node, ROOM) as client:
        await client.call(Subscribe(1, ROOM, Sequence(0)), Subscribed)
        delivered = await client.delivered(count)
    assert [d.first_sequence for d in delivered] == list(range(1, count + 1))
    assert all(decode_block_header(d.block).count == 1 for d in delivered)
    return [(d.first_sequence, d.number, d.block) for d in delivered]


async def leader_of(cluster: Cluster, node: TestNode) -> TestNode:
    status = await status_when(node, ROOM, lambda status: status.status == "normal")
    return next(other for other in cluster.nodes if other.address.node_key == status.primary)


async def test_nothing_acknowledged_is_lost_when_leaders_are_killed_without_warning(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, start=False) as cluster, trio.open_nursery() as nursery:
        processes: dict[str, Process] = {}

        async def run(node: TestNode, task_status: trio.TaskStatus[None]) -> None:
            async with serving(node, tmp_path) as process:
                processes[node.config.name] = process
                await listening(node)
                task_status.started()
                await process.process.wait()

        for node in cluster.nodes:
            await nursery.start(run, node)
        await cluster.create_room(ROOM)
        writer = Writer(cluster.nodes)
        await writer.write(50)
        for _ in range(2):
            leader = await leader_of(cluster, cluster.nodes[0])
            async with trio.open_nursery() as writing:
                writing.start_soon(writer.write, 100)
                await writer.acknowledgements(60)
                processes[leader.config.name].kill()
            await nursery.start(run, leader)
            await writer.write(50)

        histories = [await read_all(node, writer.number) for node in cluster.nodes]

        assert histories[0] == histories[1] == histories[2]
        by_number = {number: sequence for sequence, number, _ in histories[0]}
        assert writer.acknowledged == by_number
        nursery.cancel_scope.cancel()


async def test_all_killed_at_once_come_back_with_everything_acknowledged(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, start=False) as cluster:
        writer = Writer(cluster.nodes)
        async with running(cluster, tmp_path) as processes:
            await cluster.create_room(ROOM)
            await writer.write(40)
            for process in processes:
                process.kill()

        async with running(cluster, tmp_path):
            await writer.write(10)
            history = await read_all(cluster.nodes[0], 50)

        assert writer.acknowledged == {number: sequence for sequence, number, _ in history}


@asynccontextmanager
async def running(cluster: Cluster, folder: Path) -> AsyncIterator[list[Process]]:
    a, b, c = cluster.nodes
    async with serving(a, folder) as first, serving(b, folder) as second, serving(c, folder) as third:
        for node in cluster.nodes:
            await listening(node)
        yield [first, second, third]


async def test_term_drains_tells_clients_and_exits_with_zero(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, start=False) as cluster, running(cluster, tmp_path) as processes:
        await cluster.create_room(ROOM)
        async with member_of(cluster.nodes[0], ROOM) as client:
            session = await open_session(client, ROOM, CLIENT)
            await client.say(Append(ROOM, CLIENT, session, 1, (app(0),)))

            processes[0].process.send_signal(signal.SIGTERM)

            said = await client.closed()
            assert {Appended, Refused} == {type(message) for message in said}
        assert await processes[0].exit_code() == 0
        assert [event["event"] for event in processes[0].events][-1] == "node_stopped"


async def test_second_process_on_the_same_data_folder_is_refused(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, start=False) as cluster:
        node = cluster.nodes[0]
        async with serving(node, tmp_path):
            await listening(node)
            other = TestNode(
                node.config.__class__(name="a", data=node.config.data, listen="127.0.0.1:0"), node.address, b""
            )
            async with serving(other, tmp_path) as second:
                code = await second.exit_code()

        assert code == 1
        assert "another process uses this data folder" in str(second.events[-1]["reason"])


async def test_empty_folder_under_a_known_identity_is_refused(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, start=False) as cluster:
        node = cluster.nodes[0]
        data = Path(node.config.data)
        (data / "replica_id").unlink()
        async with serving(node, tmp_path) as without_replica_id:
            code = await without_replica_id.exit_code()
        assert code == 1
        assert "replace the node" in str(without_replica_id.events[-1]["reason"])

        (data / "identity.key").unlink()
        async with serving(node, tmp_path) as empty:
            code = await empty.exit_code()
        assert code == 1
        assert "the disk was lost" in str(empty.events[-1]["reason"])


async def test_disk_that_fails_ends_the_process_without_an_acknowledgement(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, start=False) as cluster:
        a, b, c = cluster.nodes
        async with (
            serving(a, tmp_path, script=SERVE_WITH_A_DISK_THAT_FAILS_WHEN_TOLD) as first,
            serving(b, tmp_path, script=SERVE_WITH_A_DISK_THAT_FAILS_WHEN_TOLD) as second,
            serving(c, tmp_path, script=SERVE_WITH_A_DISK_THAT_FAILS_WHEN_TOLD) as third,
        ):
            for node in cluster.nodes:
                await listening(node)
            await cluster.create_room(ROOM)
            async with member_of(a, ROOM) as client:
                session = await open_session(client, ROOM, CLIENT)
                first.flag.touch()
                await client.say(Append(ROOM, CLIENT, session, 1, (app(0),)))
                said = await closed(client)

            assert not any(isinstance(message, Appended) for message in said)
            for process in (first, second, third):
                assert await process.exit_code() == 1
                assert process.events[-1]["event"] == "node_stopped_by_storage"


async def closed(client: NetworkClient) -> Many[Message]:
    try:
        return await client.closed()
    except PeerError:
        return []


async def event_of(process: Process, name: str) -> dict[str, object]:
    """The last log line of a name, once there is one."""
    with trio.fail_after(30):
        while not (found := [event for event in process.events if event["event"] == name]):  # noqa: ASYNC110 - another process has to write it
            await trio.sleep(0.02)
    return found[-1]


async def test_signals_reload_the_configuration_and_show_the_tasks(tmp_path: Path) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as manager:
        await manager.bind(str(tmp_path / "notify"))
        await _signals_are_heard(tmp_path, manager)


async def _signals_are_heard(tmp_path: Path, manager: trio.socket.SocketType) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000000"}
    async with cluster_of(tmp_path, start=False) as cluster:
        node = cluster.nodes[0]
        async with serving(node, tmp_path, environ=environ) as process:
            await listening(node)
            assert [await manager.recv(100) for _ in "12"] == [b"READY=1", b"WATCHDOG=1"]
            path = tmp_path / "a.toml"
            good = path.read_text()

            path.write_text(good + '[log]\nlevle = "debug"\n')
            process.process.send_signal(signal.SIGHUP)
            assert "did you mean 'log.level'" in str((await event_of(process, "config_refused"))["reason"])

            path.write_text(good + '[log]\nlevel = "debug"\n[limits]\nrooms = 5\nring_mb = 7\n')
            process.process.send_signal(signal.SIGHUP)
            assert (await event_of(process, "config_reloaded"))["needs_restart"] == ["limits.ring_mb"]

            process.process.send_signal(signal.SIGUSR1)
            with trio.fail_after(30):
                while "room_server.node._accept" not in process.text:  # noqa: ASYNC110 - another process has to write it
                    await trio.sleep(0.02)
            async with network_client(node.address):
                pass
            process.process.send_signal(signal.SIGTERM)
            assert await process.exit_code() == 0
            told = [(await manager.recv(100)).partition(b"\n")[0] for _ in range(5)]
            assert told == [b"RELOADING=1", b"READY=1", b"RELOADING=1", b"READY=1", b"STOPPING=1"]
