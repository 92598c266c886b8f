"""A small network of its own: one namespace per host, all on one bridge, made and removed by whoever opens it.

    n1 ── veth ─┐
    n2 ── veth ─┼── bridge (in a namespace too, so that nothing is left in the machine's own)
    c  ── veth ─┘

Addresses are 10.77.0.1 and so on. Every host has a fixed entry in its neighbour table for every other. To lose what one
host sends to another, that entry gets a hardware address that nobody has: packets leave and arrive nowhere, no error
comes back, and the other direction goes on working. It needs nothing but `ip`. A link is slowed by a token bucket (`tc`);
netem is better where the kernel has it, and not needed here.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

SUBNET = "10.77.0"
NOBODY = "02:00:00:00:ff:ff"
CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/var/run/netns")
COMMAND_S_MAX = 10.0


class NetworkError(Exception):
    """The kernel did not let us."""


def run(*command: str, text: str | None = None) -> str:
    """Run a command and give its output.

    Raises:
        NetworkError: it failed, or took longer than COMMAND_S_MAX seconds.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def why_not() -> str:
    """Why networks cannot be made here, for people; empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` (Debian: apt install iproute2)"
    try:
        with open_network(("probe",)):
            return ""
    except NetworkError as error:
        return f"network namespaces are not permitted: {error}"


class Network:
    """Hosts by name. Made by `open_network`."""

    def __init__(self, prefix: str, names: Sequence[str]) -> None:
        self.prefix = prefix
        self.names = tuple(names)
        self._lost: set[tuple[str, str]] = set()

    def address(self, name: str) -> str:
        """IPv4 address of a host."""
        return f"{SUBNET}.{self.names.index(name) + 1}"

    def command(self, name: str) -> tuple[str, ...]:
        """What to put before a command that is to run on a host."""
        return ("ip", "netns", "exec", self.namespace(name))

    def namespace(self, name: str) -> str:
        """The host's name for `ip netns`."""
        return f"{self.prefix}-{name}"

    # --- faults --------------------------------------------------------------------------------------------------

    def lose(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Lose what the first host of each pair sends to the second."""
        self._lost.update(pairs)
        self._set_neighbours(self._lost)

    def part(self, one: Iterable[str], others: Iterable[str]) -> None:
        """Lose everything between two groups of hosts, both ways."""
        others = tuple(others)
        pairs = [(left, right) for left in one for right in others if left != right]
        self.lose([*pairs, *((right, left) for left, right in pairs)])

    def find(self) -> None:
        """Lose nothing any more."""
        healed, self._lost = self._lost, set()
        self._set_neighbours(healed)

    @property
    def is_whole(self) -> bool:
        """Nothing is lost on purpose."""
        return not self._lost

    def slow(self, name: str, kbit_per_s: int) -> None:
        """Bound what a host sends; beyond 0.4 s of it in the queue packets are dropped."""
        self._tc(name, "replace", "tbf", "rate", f"{kbit_per_s}kbit", "burst", "16kb", "latency", "400ms")

    def quicken(self, name: str) -> None:
        """No bound any more."""
        self._tc(name, "del")

    def _tc(self, name: str, verb: str, *arguments: str) -> None:
        run("tc", "-n", self.namespace(name), "qdisc", verb, "dev", "eth0", "root", *arguments)

    def _set_neighbours(self, pairs: Iterable[tuple[str, str]]) -> None:
        batches: dict[str, list[str]] = {}
        for source, target in pairs:
            hardware = NOBODY if (source, target) in self._lost else self._hardware(target)
            batches.setdefault(source, []).append(self._neighbour(target, hardware))
        for source, lines in batches.items():
            run("ip", "-n", self.namespace(source), "-batch", "-", text="\n".join(lines) + "\n")

    def _neighbour(self, name: str, hardware: str) -> str:
        return f"neigh replace {self.address(name)} lladdr {hardware} nud permanent dev eth0"

    def _hardware(self, name: str) -> str:
        return f"02:00:00:00:00:{self.names.index(name) + 1:02x}"

    # --- making and removing -------------------------------------------------------------------------------------

    def make(self) -> None:
        """Make everything."""
        bridge = self.namespace("bridge")
        run("ip", "netns", "add", bridge)
        run("ip", "-n", bridge, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", bridge, "link", "set", "br0", "up")
        for name in self.names:
            self._make_host(name, bridge)

    def _make_host(self, name: str, bridge: str) -> None:
        namespace = self.namespace(name)
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", bridge)
        run("ip", "-n", bridge, "link", "set", "dev", name, "master", "br0", "up")
        lines = [
            "link set lo up",
            f"link set eth0 address {self._hardware(name)} up",
            f"addr add {self.address(name)}/24 dev eth0",
            *(self._neighbour(other, self._hardware(other)) for other in self.names if other != name),
        ]
        run("ip", "-n", namespace, "-batch", "-", text="\n".join(lines) + "\n")

    def remove(self) -> None:
        """Remove everything, as far as it was made."""
        for name in (*self.names, "bridge"):
            if (NAMESPACES / self.namespace(name)).exists():
                run("ip", "netns", "del", self.namespace(name))


@contextmanager
def open_network(names: Sequence[str]) -> Iterator[Network]:
    """A network for the time of the block. Networks of processes that are no more are removed first.

    Raises:
        NetworkError: not permitted here.
    """
    _sweep()
    network = Network(f"samtala-{os.getpid()}", names)
    try:
        network.make()
        yield network
    finally:
        network.remove()


def _sweep() -> None:
    if not NAMESPACES.is_dir():
        return
    for path in NAMESPACES.iterdir():
        match = re.fullmatch(r"samtala-(\d+)-\w+", path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            with suppress(NetworkError):  # Somebody else may sweep too.
                run("ip", "netns", "del", path.name)


@contextmanager
def inside(network: Network, name: str) -> Iterator[None]:
    """Sockets that this thread opens, and threads and processes that it starts, are on that host.

    Raises:
        NetworkError: not permitted.
    """
    with Path("/proc/self/ns/net").open() as before:
        with (NAMESPACES / network.namespace(name)).open() as wanted:
            _enter(wanted.fileno())
        try:
            yield
        finally:
            _enter(before.fileno())


def _enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, CLONE_NEWNET) != 0:
        raise NetworkError(os.strerror(ctypes.get_errno()))
