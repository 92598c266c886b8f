from __future__ import annotations

import socket as sockets
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from room_server.port_mapper import NONCE_BYTES
from room_server.report import RouterReport
from room_server.router_port import RouterPort, find_gateway, router_nonce
from wire.identity import NodeIdentity

PORT = 7610


class Router:
    """Answers on loopback as RFC 6887 or RFC 6886 say; what it was asked is in `requests`."""

    def __init__(self, *, speaks_pcp: bool) -> None:
        self.speaks_pcp = speaks_pcp
        self.requests: list[bytes] = []
        self.place = ("", 0)

    def answer(self, request: bytes) -> bytes:
        self.requests.append(request)
        if request[0] == 0:
            return struct.pack(">BBHI", 0, 0x80 | request[1], 0, 50) + request[4:6] + struct.pack(">HI", PORT, 3600)
        if not self.speaks_pcp:
            return struct.pack(">BBHI", 0, 0x81, 1, 50)
        outside = bytes(10) + b"\xff\xff" + sockets.inet_aton("203.0.113.5")
        return struct.pack(">BBBBII12x", 2, 0x81, 0, 0, 3600, 50) + request[24:42] + struct.pack(">H", PORT) + outside

    async def run(self, socket: trio.socket.SocketType) -> None:
        while True:
            request, sender = await socket.recvfrom(2000)
            await socket.sendto(self.answer(request), sender)


@asynccontextmanager
async def router(*, speaks_pcp: bool) -> AsyncIterator[Router]:
    made = Router(speaks_pcp=speaks_pcp)
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        made.place = socket.getsockname()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run, socket)
            yield made
            nursery.cancel_scope.cancel()


def router_port(place: tuple[str, int] | None) -> RouterPort:
    return RouterPort(PORT, nonce=bytes(12), random01=lambda: 0.5, gateway=lambda: place)


async def mapped(port: RouterPort) -> RouterReport:
    with trio.fail_after(10):
        while port.report().trouble:
            await trio.testing.wait_all_tasks_blocked(0.001)
    return port.report()


@pytest.mark.parametrize(("speaks_pcp", "host"), [(True, "203.0.113.5"), (False, "")])
async def test_port_is_forwarded_while_we_run_and_given_back(speaks_pcp: bool, host: str) -> None:
    async with router(speaks_pcp=speaks_pcp) as home:
        port = router_port(home.place)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.run)

            assert await mapped(port) == RouterReport(ports=("TCP 7610", "UDP 7610"), host=host, trouble="")
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            while len(home.requests) < (4 if speaks_pcp else 6):
                await trio.testing.wait_all_tasks_blocked(0.001)

    lifetimes = [request[4:8] if speaks_pcp else request[8:12] for request in home.requests[-2:]]
    assert lifetimes == [bytes(4), bytes(4)]


@pytest.mark.parametrize(("place", "trouble"), [(None, "no router"), (("127.0.0.1", 9), "no answer")])
async def test_what_is_wrong_is_told(place: tuple[str, int] | None, trouble: str) -> None:
    port = router_port(place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.run)
        await trio.testing.wait_all_tasks_blocked(0.01)

        assert trouble in port.report().trouble
        assert port.report().ports == ()
        nursery.cancel_scope.cancel()


def test_gateway_of_this_machine_is_an_address_or_nothing() -> None:
    found = find_gateway()

    assert found is None or (sockets.inet_aton(found[0]) and found[1] == 5351)


def test_nonce_is_each_servers_own_and_outlives_a_restart() -> None:
    nonces = [router_nonce(NodeIdentity(seed * 32)) for seed in (b"a", b"a", b"b")]

    assert nonces[0] == nonces[1] != nonces[2]
    assert len(nonces[0]) == NONCE_BYTES
