"""Keeping our port open in the home router: the trio shell around `PortMapper`, and what operators are told of it.

    default gateway (Linux: /proc/net/route) ─▶ UDP to its port 5351, connected: nobody else is heard ─▶ PortMapper
    nothing by that way for a while ─▶ UPnP, if the library for it is installed (`room_server.upnp`)

Looks for a gateway again now and then: a laptop changes networks, a router restarts. At the end the mapping is given back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
import trio

from room_server import limits, upnp
from room_server.port_mapper import NONCE_BYTES, Mapping, PortMapper, Protocol, default_gateway
from room_server.report import RouterReport
from wire.identity import NodeIdentity

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

SERVICE_PORT: Final = 5351
"""Where routers answer (RFC 6887 19.1, RFC 6886 3.1)."""
_ROUTES: Final = Path("/proc/net/route")


def router_nonce(identity: NodeIdentity) -> bytes:
    """The nonce of a server."""
    return hashlib.blake2b(key=identity.seed, digest_size=NONCE_BYTES, person=b"samtala-router").digest()


def find_gateway() -> tuple[str, int] | None:
    """The router's address and port; None where there is none, or nobody says."""
    try:
        host = default_gateway(_ROUTES.read_text())
    except OSError:
        return None
    return None if host is None else (host, SERVICE_PORT)


class RouterPort:
    """One port, asked for until cancelled.

    Args:
        port: ours, TCP and UDP.
        nonce: 12 bytes that nobody else knows, the same after a restart: the router hears no other (RFC 6887 11.1).
        gateway: finds the router.
        random01: entropy for jitter.
        has_upnp: the router may be asked by UPnP.
    """

    def __init__(
        self,
        port: int,
        *,
        nonce: bytes,
        random01: Callable[[], float],
        gateway: Callable[[], tuple[str, int] | None] = find_gateway,
        has_upnp: bool = False,
    ) -> None:
        self._port = port
        self._nonce = nonce
        self._gateway = gateway
        self._random01 = random01
        self._mapper: PortMapper | None = None
        self._trouble = "no router is known yet"
        self._has_upnp = has_upnp
        self._granted: upnp.UpnpGrant | None = None

    def report(self) -> RouterReport:
        """How it stands."""
        if self._granted is not None:
            ports = tuple(f"{protocol.name} {self._granted.port}" for protocol in Protocol)
            return RouterReport(ports=ports, host=self._granted.external_host, trouble="")
        mappings = self._mappings()
        trouble = self._trouble if self._mapper is None else self._mapper.refusal or "no answer from the router"
        return RouterReport(
            ports=tuple(f"{mapping.protocol.name} {mapping.external_port}" for mapping in mappings),
            host=next((mapping.external_host for mapping in mappings if mapping.external_host), ""),
            trouble="" if len(mappings) > 1 else trouble,
        )

    def _mappings(self) -> tuple[Mapping, ...]:
        return () if self._mapper is None else self._mapper.mappings(trio.current_time())

    async def run(self) -> None:
        """Ask, renew, and give back at the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask)
            if self._has_upnp:
                nursery.start_soon(self._ask_by_upnp)

    async def _ask_by_upnp(self) -> None:
        try:
            while True:
                await trio.sleep(limits.MAP_LIFETIME_S / 2 if self._granted is not None else limits.UPNP_AFTER_S)
                if not self._mappings():
                    await self._grant_by_upnp()
        finally:
            if self._granted is not None:
                with trio.move_on_after(limits.UPNP_GOODBYE_S_MAX, shield=True):
                    await upnp.close_port(self._port)

    async def _grant_by_upnp(self) -> None:
        before = self._granted
        try:
            self._granted = await upnp.open_port(self._port)
        except upnp.UpnpError as error:
            self._granted = None
            log.debug("upnp_failed", reason=str(error))
        if (before is None) != (self._granted is None):
            log.info("router_ports_changed", mapped=0 if self._granted is None else len(Protocol))

    async def _ask(self) -> None:
        while True:
            place = self._gateway()
            if place is not None:
                try:
                    await self._serve(place)
                except OSError as error:
                    self._trouble = f"the router cannot be asked: {error.strerror or error}"
            self._mapper = None
            await trio.sleep(limits.MAP_GATEWAY_LOOK_S)

    async def _serve(self, place: tuple[str, int]) -> None:
        """Until the gateway is another one.

        Raises:
            OSError: no way there.
        """
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
            await socket.connect(place)
            self._mapper = mapper = PortMapper(
                port=self._port,
                client_host=socket.getsockname()[0],
                nonce=self._nonce,
                now=trio.current_time(),
            )
            try:
                while self._gateway() == place:
                    await self._turn(socket, mapper)
            finally:
                with trio.move_on_after(limits.MAP_GOODBYE_S_MAX, shield=True), suppress(OSError):
                    for request in mapper.release():
                        await socket.send(request)

    async def _turn(self, socket: trio.socket.SocketType, mapper: PortMapper) -> None:
        before = len(mapper.mappings(trio.current_time()))
        with suppress(ConnectionRefusedError):  # It runs no such service; a router that is set up anew may.
            for request in mapper.poll(trio.current_time(), self._random01()):
                await socket.send(request)
            look_at = trio.current_time() + limits.MAP_GATEWAY_LOOK_S
            with trio.move_on_at(min(mapper.next_deadline(), look_at)):
                data = await socket.recv(limits.MAP_DATAGRAM_BYTES_MAX)
                mapper.receive(data, trio.current_time(), self._random01())
        now = len(mapper.mappings(trio.current_time()))
        if now != before:
            log.info("router_ports_changed", mapped=now)
