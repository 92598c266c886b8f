"""Real server processes, each on a host of its own in a network of its own.

Each has its data folder (on a small tmpfs where a test wants a disk that fills up), its log, and a launcher that puts it
into its namespace and ends it if the test dies. With libfaketime a host's wall clock can jump; its monotonic clock cannot.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from room_server.setup import init_node
from samtala.demo.cluster import Place, ServerFailedError, ServerProcess
from tests.multihost.network import Network, run

PORT = 7610
METRICS_PORT = 7612
BALLAST = "ballast"
DATA = "data"
PIECE_BYTES = 65536
START_S_MAX = 180.0
"""A long run is nice to others: on a crowded machine a process may need half a minute to import its modules."""
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
            await server.ready(START_S_MAX)

    async def restart_each(self) -> None:
        """Stop one after the other as an operator would, and wait until it is ready again before the next.

        Raises:
            ServerFailedError: one does not end well, or does not come back.
        """
        for index, server in enumerate(self.servers):
            code = await server.stop()
            if code != 0:
                raise ServerFailedError(f"server {server.place.name} ended with {code}:\n{server.log_tail()}")
            await self.start([index])

    def shift_clock(self, index: int, seconds: float) -> None:
        """Let a host's wall clock differ from the true one from now on. Needs `has_clocks`."""
        clock_file(self.servers[index].place.folder).write_text(f"{seconds:+.3f}s")


@asynccontextmanager
async def open_hosts(
    network: Network, names: Sequence[str], folder: Path, *, has_clocks: bool = False, disk_mib: int = 0
) -> AsyncIterator[Hosts]:
    """Servers on those hosts, started and ready; killed at the end. Call it where they can be reached from.

    Args:
        network: where.
        names: of the hosts.
        folder: what they keep and say goes below it.
        has_clocks: run them under libfaketime.
        disk_mib: give each a disk of its own of that size; 0: they share the machine's.

    Raises:
        ServerFailedError: one of them does not come up.
        NetworkError: disks are not permitted.
    """
    with ExitStack() as disks:
        if disk_mib:
            for name in names:
                disks.enter_context(small_disk(folder / name / DATA, disk_mib))
        async with _running(network, names, folder, has_clocks=has_clocks) as hosts:
            yield hosts


@asynccontextmanager
async def _running(network: Network, names: Sequence[str], folder: Path, *, has_clocks: bool) -> AsyncIterator[Hosts]:
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
    made = init_node(folder / "node.toml", name=name, data=folder / DATA, listen=listen, advertise=listen)
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
def small_disk(folder: Path, size_mib: int) -> Iterator[None]:
    """A disk of that size, mounted at `folder` for the time of the block.

    Raises:
        NetworkError: not permitted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "samtala-disk", str(folder))
    try:
        yield
    finally:
        run("umount", "--lazy", str(folder))


def fill(folder: Path) -> None:
    """Fill the disk of its own that `folder` is (`small_disk`) to the last byte."""
    assert folder.is_mount(), "the machine's own disk is not ours to fill"
    free = os.statvfs(folder)
    with (folder / BALLAST).open("wb") as file, suppress(OSError):
        for _ in range(free.f_bavail * free.f_frsize // PIECE_BYTES + 2):
            file.write(bytes(PIECE_BYTES))
            file.flush()


def relieve(folder: Path) -> None:
    """Give that space back."""
    (folder / BALLAST).unlink()
