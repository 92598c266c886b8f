"""What a service manager is told, in the protocol of sd_notify(3): ready, reloading, stopping, alive.

A datagram of `NAME=VALUE` lines goes to the socket that NOTIFY_SOCKET names; without it nothing is sent. The watchdog's sign of
life comes from a task of the loop, at half the period that WATCHDOG_USEC demands: a loop that hangs falls silent, and is
restarted. Nobody's answer is awaited, and a manager that is gone is none of our business.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

import trio


class ServiceManager:
    """Speaks to whoever started this process.

    Args:
        environ: its environment; NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID count.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ) if self._address else None
        """Seconds within which a sign of life is demanded; None: nobody watches."""

    def ready(self) -> None:
        """The node listens, or has taken its new configuration over."""
        self._say("READY=1")

    def reloading(self) -> None:
        """The configuration is being read; `ready` follows."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The drain has begun."""
        self._say("STOPPING=1")

    async def keep_alive(self) -> None:
        """Give signs of life until cancelled; returns at once if nobody watches."""
        if self.watchdog_s is None:
            return
        while True:
            self._say("WATCHDOG=1")
            await trio.sleep(self.watchdog_s / 2)

    def _say(self, text: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in Linux's abstract space, where the first byte is 0.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(text.encode(), address)
            except OSError:
                return


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """What WATCHDOG_USEC demands of this very process."""
    period, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    if not period.isascii() or not period.isdigit() or int(period) == 0 or pid != str(os.getpid()):
        return None
    return int(period) / 1e6
