"""Real server processes, each on a host of its own in a network of its own.

Each has its data folder (on a small tmpfs where a test wants a disk that fills up), its log, and a launcher that puts it
into its namespace and ends it if the test dies. With libfaketime a host's wall clock can jump; its monotonic clock cannot.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from room_server.setup import init_node
from samtala.demo.cluster import Place, ServerProcess
from tests.multihost.network import Network, run

PORT = 7610
METRICS_PORT = 7612
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


class Hosts:
    """Server processes by place. Made by `open_hosts`."""

    def __init__(self, network: Network, servers: Sequence[ServerProcess]) -> None:
        self.network = network
        self.servers = tuple(servers)

    @property
    def addresses(self) -> list[str]:
        """`HOST:PORT#KEY` of each."""
        return [server.place.address for server in self.servers]

    def name(self, index: int) -> str:
        """A host's name in the network."""
        return self.servers[index].place.name

    async def start(self, indexes: Iterable[int]) -> None:
        """Start those that do not run, and wait until all of them are ready.

        Raises:
            ServerFailedError: one does not come up.
        """
        started = [self.servers[index] for index in indexes if not self.servers[index].is_running]
        for server in started:
            server.start()
        for server in started:
            await server.ready()

    def shift_clock(self, index: int, seconds: float) -> None:
        """Let a host's wall clock differ from the true one from now on. Needs `has_clocks`."""
        clock_file(self.servers[index].place.folder).write_text(f"{seconds:+.3f}s")


@asynccontextmanager
async def open_hosts(
    network: Network, names: Sequence[str], folder: Path, *, has_clocks: bool = False
) -> AsyncIterator[Hosts]:
    """Servers on those hosts, started and ready; killed at the end. Call it where they can be reached from.

    Raises:
        ServerFailedError: one of them does not come up.
    """
    places = [make_place(network, name, folder / name, has_clocks=has_clocks) for name in names]
    for place in places:
        name_peers(place, [other for other in places if other is not place])
    hosts = Hosts(network, [ServerProcess(place) for place in places])
    try:
        await hosts.start(range(len(places)))
        yield hosts
    finally:
        for server in hosts.servers:
            server.resume()
            server.kill()


def make_place(network: Network, name: str, folder: Path, *, has_clocks: bool = False) -> Place:
    """A node on a host, as `samtala node init` makes it; it may lie on a disk that is mounted there already."""
    host = network.address(name)
    listen = f"{host}:{PORT}"
    folder.mkdir(parents=True, exist_ok=True)
    made = init_node(folder / "node.toml", name=name, data=folder / "data", listen=listen, advertise=listen)
    launcher = (*network.command(name), "setpriv", "--pdeathsig", "KILL")
    if has_clocks:
        clock_file(folder).write_text("+0")
        launcher += ("env", *_clock_environment(clock_file(folder)))
    return Place(
        name=name, folder=folder, port=PORT, metrics_port=METRICS_PORT, address=str(made.address), host=host,
        launcher=launcher,
    )  # fmt: skip


def name_peers(place: Place, peers: Iterable[Place]) -> None:
    """Add peers to a node's configuration."""
    with (place.folder / "node.toml").open("a") as file:
        for peer in peers:
            file.write(f'\n[[peers]]\nname = "{peer.name}"\naddress = "{peer.address}"\n')


def clock_file(folder: Path) -> Path:
    """Where libfaketime reads a host's clock from."""
    return folder / "clock"


def _clock_environment(clock: Path) -> list[str]:
    assert FAKETIME is not None, "look at FAKETIME first"
    return [
        f"LD_PRELOAD={FAKETIME}",
        f"FAKETIME_TIMESTAMP_FILE={clock}",
        "FAKETIME_CACHE_DURATION=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "FAKETIME_DONT_RESET=1",
    ]


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """A disk of that size, mounted at `folder` for the time of the block.

    Raises:
        NetworkError: not permitted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "samtala-disk", str(folder))
    try:
        yield folder
    finally:
        run("umount", "--lazy", str(folder))


def fill(folder: Path) -> Path:
    """Fill the disk that `folder` is on to the last byte; the file that does it, to be removed."""
    path = folder / "ballast"
    free = os.statvfs(folder)
    with path.open("wb") as file:
        try:
            for _ in range(free.f_bavail * free.f_frsize // 65536 + 2):
                file.write(bytes(65536))
                file.flush()
        except OSError:
            return path
    return path
