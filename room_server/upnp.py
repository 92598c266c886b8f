"""Asking a home router to forward our port by UPnP (Internet Gateway Device), where it speaks nothing better.

    miniupnpc, if installed (`pip install 'samtala[upnp]'`) ─ SSDP ─▶ which gateway? ─ SOAP ─▶ AddPortMapping, TCP and UDP

The library blocks, so each call runs in a thread that is left behind if it hangs; one at a time. UPnP trusts the home network:
whoever is in it can change such rules. PCP and NAT-PMP, which check who asks, come first (`room_server.port_mapper`).
"""

from __future__ import annotations

import importlib.util
from typing import Final

import msgspec
import trio

from room_server import limits

_DESCRIPTION: Final = "samtala"
_PROTOCOLS: Final = ("TCP", "UDP")
_ONE_AT_A_TIME: Final = trio.CapacityLimiter(1)


class UpnpError(Exception):
    """No gateway, or it says no; the text says which."""


class UpnpGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What the router forwards to us: our port, for both protocols. `external_host` is empty where it does not say."""

    port: int
    external_host: str


def is_installed() -> bool:
    """Tell whether the library is there."""
    return importlib.util.find_spec("miniupnpc") is not None


async def open_port(port: int, interface: str = "") -> UpnpGrant:
    """Have our port forwarded. Asking again renews it.

    Args:
        port: ours, and the one outside.
        interface: name or address of the network interface to ask on; empty: the system's choice.

    Raises:
        UpnpError: nobody answers within UPNP_S_MAX, or the router refuses.
    """
    with trio.move_on_after(limits.UPNP_S_MAX):
        return await trio.to_thread.run_sync(_open, port, interface, abandon_on_cancel=True, limiter=_ONE_AT_A_TIME)
    raise UpnpError("the router does not answer by UPnP")


async def close_port(port: int, interface: str = "") -> None:
    """Give it back; a router that is gone forgets by itself."""
    with trio.move_on_after(limits.UPNP_S_MAX):
        await trio.to_thread.run_sync(_close, port, interface, abandon_on_cancel=True, limiter=_ONE_AT_A_TIME)


def _gateway(interface: str):  # type: ignore[no-untyped-def]  # the library has no types
    import miniupnpc

    gateway = miniupnpc.UPnP()
    gateway.discoverdelay = int(limits.UPNP_DISCOVER_S * 1000)
    if interface:
        gateway.multicastif = interface
    try:
        gateway.discover()
        gateway.selectigd()
    except Exception as error:
        raise UpnpError(f"no UPnP router: {error}") from error
    return gateway


def _open(port: int, interface: str) -> UpnpGrant:
    gateway = _gateway(interface)
    try:
        for protocol in _PROTOCOLS:
            gateway.addportmapping(port, protocol, gateway.lanaddr, port, _DESCRIPTION, "", limits.MAP_LIFETIME_S)
        return UpnpGrant(port=port, external_host=str(gateway.externalipaddress() or ""))
    except Exception as error:
        raise UpnpError(f"the UPnP router refuses: {error}") from error


def _close(port: int, interface: str) -> None:
    try:
        gateway = _gateway(interface)
        for protocol in _PROTOCOLS:
            gateway.deleteportmapping(port, protocol)
    except Exception:  # noqa: BLE001, S110 - as above, and nothing can be done about it
        pass
