"""Three servers as real operating-system processes on loopback, to be killed, restarted and parted.

Each has its own data folder below one temporary folder, its own ports, and dials its peers through gates. A server is
up when its own `/readyz` says so; nothing here waits by the clock alone.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from room_server.setup import init_node
from samtala.demo.gates import Gate, open_gates

HOST = "127.0.0.1"
START_S_MAX = 30.0
POLL_S = 0.02
STOP_S_MAX = 65.0
NAMES = ("a", "b", "c")
PORTS = (20_000, 32_000)
"""Below those that operating systems give to connections: Linux from 32,768 on, others from 49,152."""
PORT_TRIES_MAX = 100


class ServerFailedError(Exception):
    """A server did not come up, or ended by itself; the message holds the end of its log."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one server lives. `port` serves clients, peers (TCP) and the DHT (UDP).

    `launcher` is put before its command: what runs it on another host, or under other conditions.
    """

    name: str
    folder: Path
    port: int
    metrics_port: int
    address: str
    host: str = HOST
    launcher: tuple[str, ...] = ()


class ServerProcess:
    """One `samtala node serve` process."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.log_path = place.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Is there a process, as far as the operating system says?"""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        """The operating system's number of it, while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    def start(self) -> None:
        """Start the process; it may take a while to be ready."""
        assert not self.is_running
        program = (sys.executable, "-m", "samtala", "node", "serve")
        command = [*self.place.launcher, *program, "--config", str(self.place.folder / "node.toml")]
        environment = os.environ | {"SAMTALA_METRICS__LISTEN": f"{self.place.host}:{self.place.metrics_port}"}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
            )

    async def ready(self, timeout_s: float = START_S_MAX) -> None:
        """Return when the server says that it is.

        Raises:
            ServerFailedError: it ended, or was not ready within `timeout_s` seconds.
        """
        with trio.move_on_after(timeout_s):
            while self.is_running:
                if (await get(self.place.metrics_port, "/readyz", host=self.place.host)).startswith("HTTP/1.1 200"):
                    return
                await trio.sleep(POLL_S)
        raise ServerFailedError(f"server {self.place.name} did not become ready:\n{self.log_tail()}")

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: alive for the kernel, silent for everybody else."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM, wait for the drain, and give the exit code; killed after STOP_S_MAX seconds."""
        self._signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the process to end by itself, and give its exit code; killed after STOP_S_MAX seconds."""
        process = self._process
        if process is None:
            return 0
        with trio.move_on_after(STOP_S_MAX):
            while process.poll() is None:  # noqa: ASYNC110  # the kernel has no event for us here
                await trio.sleep(POLL_S)
        if process.poll() is None:
            process.kill()
        return process.wait()

    def log_tail(self, lines_max: int = 12) -> str:
        """The last lines of the server's log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines_max:])

    def _signal(self, number: int) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()


class Cluster:
    """The three servers and the gates between them."""

    def __init__(self, folder: Path, servers: list[ServerProcess], gates: dict[tuple[int, int], Gate]) -> None:
        self.folder = folder
        self.servers = servers
        self.gates = gates
        self._parted: set[int] = set()

    @property
    def addresses(self) -> list[str]:
        """`HOST:PORT#KEY` of each."""
        return [server.place.address for server in self.servers]

    def part(self, index: int) -> None:
        """Cut a server off from its peers, both ways. Clients still reach it."""
        self._parted.add(index)
        for (source, target), gate in self.gates.items():
            if index in {source, target}:
                gate.close()

    def heal(self) -> None:
        """Open every gate."""
        self._parted.clear()
        for gate in self.gates.values():
            if not gate.is_open:
                gate.open()

    def is_parted(self, index: int) -> bool:
        """Was this server cut off from its peers?"""
        return index in self._parted

    async def metrics(self) -> list[str]:
        """The metrics text of each server, empty where it does not answer."""
        places = [server.place for server in self.servers]
        return [await get(place.metrics_port, "/metrics", host=place.host) for place in places]


@asynccontextmanager
async def open_cluster(folder: Path, *, has_gates: bool = True) -> AsyncIterator[Cluster]:
    """Start three servers below `folder`, wait until all are ready, and stop them at the end.

    Args:
        folder: of all data.
        has_gates: peers dial each other through gates, so that the cluster can be parted; costs a detour through this process.

    Raises:
        ServerFailedError: one of them does not come up.
    """
    places = [_make_node(folder / name, name) for name in NAMES]
    async with open_gates([place.port for place in places] if has_gates else []) as gates:
        for index, place in enumerate(places):
            _add_peers(place, index, places, gates)
        servers = [ServerProcess(place) for place in places]
        try:
            for server in servers:
                server.start()
            for server in servers:
                await server.ready()
            yield Cluster(folder, servers, gates)
        finally:
            for server in servers:
                server.resume()
                server.kill()


def _make_node(folder: Path, name: str) -> Place:
    """As `samtala node init` does it."""
    port = free_port()
    listen = f"{HOST}:{port}"
    folder.mkdir(parents=True)
    made = init_node(folder / "node.toml", name=name, data=folder / "data", listen=listen, advertise=listen)
    return Place(name=name, folder=folder, port=port, metrics_port=free_port(), address=str(made.address))


def _add_peers(place: Place, index: int, places: list[Place], gates: dict[tuple[int, int], Gate]) -> None:
    """Name the other servers in node.toml, by the addresses of the gates that lead to them."""
    peers = [other for other in range(len(places)) if other != index]
    with (place.folder / "node.toml").open("a") as file:
        for other in peers:
            key = places[other].address.rpartition("#")[2]
            port = gates[index, other].port if gates else places[other].port
            address = f"{HOST}:{port}#{key}"
            file.write(f'\n[[peers]]\nname = "{NAMES[other]}"\naddress = "{address}"\n')
        bootstrap = ", ".join(f'"{HOST}:{places[other].port}"' for other in peers)
        file.write(f"\n[dht]\nbootstrap = [{bootstrap}]\nallow = [{bootstrap}]\n")


def free_port() -> int:
    """A loopback port that was free for TCP and UDP a moment ago.

    Not one that the operating system gives away: any connection that somebody makes in the meantime could take that, and the
    server that it was meant for would not start.
    """
    for _ in range(PORT_TRIES_MAX):
        port = PORTS[0] + secrets.randbelow(PORTS[1] - PORTS[0])
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            try:
                stream.bind((HOST, port))
                datagrams.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerFailedError(f"no free port on {HOST} from {PORTS[0]} to {PORTS[1]}")


async def get(port: int, path: str, *, host: str = HOST) -> str:
    """A plain HTTP GET: the whole answer with its head, or nothing when nobody answers in two seconds."""
    received = bytearray()
    with trio.move_on_after(2):
        try:
            async with await trio.open_tcp_stream(host, port) as stream:
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                async for piece in stream:
                    received += piece
        except (OSError, trio.BrokenResourceError):
            return ""
    return received.decode(errors="replace")
