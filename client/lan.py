"""Servers on the local network that have a room's record: multicast DNS, asked in a thread of the library's own.

    ServiceBrowser's thread ── address of a server that told our target ──▶ trio, through a bounded channel

What is heard is a place to ask, never an answer: anybody on the network may say anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from client import limits
from client.errors import UnavailableError
from wire.lan import SERVICE_TYPE, lan_targets

if TYPE_CHECKING:
    import zeroconf

Place = tuple[str, int]


class _Ear:
    """The library's objects. Its handlers run in its thread; `close` blocks."""

    def __init__(self, target: bytes, sender: trio.MemorySendChannel[Place], token: trio.lowlevel.TrioToken) -> None:
        import zeroconf

        self._target = target
        self._sender = sender
        self._token = token
        self._heard = 0
        self._zeroconf = zeroconf.Zeroconf()
        zeroconf.ServiceBrowser(self._zeroconf, SERVICE_TYPE, handlers=[self._hear])

    def _hear(
        self, zeroconf: zeroconf.Zeroconf, service_type: str, name: str, state_change: zeroconf.ServiceStateChange
    ) -> None:
        """Somebody announces something, or stops (which is asked once more in vain). The library names the arguments."""
        del state_change
        self._heard += 1
        if self._heard > limits.LAN_SERVICES_MAX:
            return
        info = zeroconf.get_service_info(service_type, name, timeout=int(limits.LAN_S_MAX * 1000))
        if info is None or self._target not in lan_targets(info.properties) or not info.port:
            return
        for host in info.parsed_addresses()[: limits.LAN_ADDRESSES_MAX]:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(partial(self._give, (host, info.port)))

    def _give(self, place: Place) -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self._sender.send_nowait(place)

    def close(self) -> None:
        """End both threads."""
        self._zeroconf.close()


@asynccontextmanager
async def listen_on_lan(target: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Place]]:
    """Give the addresses of servers nearby that have a record, as they are heard, while the block runs.

    Raises:
        UnavailableError: this machine cannot listen to multicast.
    """
    sender, receiver = trio.open_memory_channel[Place](limits.LAN_SERVICES_MAX)
    token = trio.lowlevel.current_trio_token()
    try:
        ear = await trio.to_thread.run_sync(_Ear, target, sender, token)
    except (OSError, ImportError, RuntimeError) as error:
        raise UnavailableError(f"multicast does not work here: {error}") from error
    try:
        with receiver:
            yield receiver
    finally:
        with trio.move_on_after(limits.LAN_GOODBYE_S_MAX, shield=True):
            await trio.to_thread.run_sync(ear.close, abandon_on_cancel=True)
