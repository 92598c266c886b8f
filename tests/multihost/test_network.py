"""Hosts reach each other, and packets that are to be lost are lost, one way and silently."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.multihost.network import Network, inside, open_network, run, why_not

pytestmark = pytest.mark.multihost
SKIP_REASON = why_not()
PORT = 9
SOON_S = 0.3


@pytest.fixture
def network() -> Iterator[Network]:
    if SKIP_REASON:
        pytest.skip(SKIP_REASON)
    with open_network(("a", "b")) as network:
        yield network


@pytest.fixture
def sockets(network: Network) -> Iterator[dict[str, socket.socket]]:
    """A datagram socket on each host."""
    opened: dict[str, socket.socket] = {}
    for name in network.names:
        with inside(network, name):
            opened[name] = socket.socket(type=socket.SOCK_DGRAM)
        opened[name].bind((network.address(name), PORT))
        opened[name].settimeout(SOON_S)
    yield opened
    for one in opened.values():
        one.close()


def arrives(network: Network, sockets: dict[str, socket.socket], source: str, target: str) -> bool:
    sockets[source].sendto(b"hello", (network.address(target), PORT))
    try:
        return sockets[target].recv(100) == b"hello"
    except TimeoutError:
        return False


def all_datagrams(receiver: socket.socket) -> list[bytes]:
    received: list[bytes] = []
    try:
        while True:
            received.append(receiver.recv(2000))
    except TimeoutError:
        return received


def test_hosts_reach_each_other(network: Network, sockets: dict[str, socket.socket]) -> None:
    assert arrives(network, sockets, "a", "b")
    assert arrives(network, sockets, "b", "a")


def test_one_direction_is_lost_without_an_error(network: Network, sockets: dict[str, socket.socket]) -> None:
    network.lose([("a", "b")])

    assert not arrives(network, sockets, "a", "b")
    assert arrives(network, sockets, "b", "a")


def test_a_partition_is_mended(network: Network, sockets: dict[str, socket.socket]) -> None:
    network.part(["a"], ["b"])
    is_parted = not arrives(network, sockets, "a", "b") and not arrives(network, sockets, "b", "a")
    network.find()

    assert is_parted
    assert network.is_whole
    assert arrives(network, sockets, "a", "b")


def test_a_slow_link_carries_less(network: Network, sockets: dict[str, socket.socket]) -> None:
    network.slow("a", 64)
    for _ in range(100):
        sockets["a"].sendto(bytes(1000), (network.address("b"), PORT))
    received = len(all_datagrams(sockets["b"]))
    network.quicken("a")

    assert 0 < received < 50
    assert arrives(network, sockets, "a", "b")


def test_nothing_is_left_behind() -> None:
    if SKIP_REASON:
        pytest.skip(SKIP_REASON)
    with open_network(("a", "b")) as network:
        prefix = network.prefix

    assert prefix not in run("ip", "netns", "list")
