"""For the local network: multicast DNS tells which room records are here, so that a link opens without any internet.

    <random>._samtala._udp.local  SRV: our UDP port   TXT: t0 = target, t1 = target, …      20 bytes each, names nobody

Only targets are told, which whoever has no link cannot connect to a room (wire.descriptor), under an instance name that is
new at each start. A target is no answer: clients ask the DHT at that port, as they ask a hint of a link.

The library runs a thread of its own with another event loop. All calls to it are made here, in worker threads, one at a
time; what it does wrong costs the announcement and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import structlog
import trio

from room_server import limits
from wire.lan import SERVICE_TYPE, lan_properties

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_INSTANCE_BYTES = 8


class _Voice:
    """The library's objects. Every method blocks."""

    def __init__(self, hosts: Sequence[str], port: int) -> None:
        import zeroconf

        self._zeroconf = zeroconf.Zeroconf(interfaces=list(hosts))
        self._instance = secrets.token_hex(_INSTANCE_BYTES)
        self._hosts = hosts
        self._port = port
        self._is_registered = False

    def tell(self, targets: Sequence[bytes]) -> None:
        """Announce these targets instead of those before."""
        from zeroconf import ServiceInfo

        info = ServiceInfo(
            SERVICE_TYPE,
            f"{self._instance}.{SERVICE_TYPE}",
            port=self._port,
            properties=lan_properties(targets),
            server=f"samtala-{self._instance}.local.",
            parsed_addresses=list(self._hosts),
        )
        if self._is_registered:
            self._zeroconf.update_service(info)
        else:
            self._zeroconf.register_service(info)
            self._is_registered = True

    def close(self) -> None:
        """Say goodbye."""
        self._zeroconf.close()


async def announce_on_lan(targets: Callable[[], Sequence[bytes]], *, listen_host: str, port: int) -> None:
    """Announce targets, and their changes, until cancelled; the first `limits.LAN_TARGETS_MAX` of them.

    Args:
        targets: those of now.
        listen_host: where the DHT listens; a wildcard means every IPv4 address of this machine but loopback.
        port: its UDP port.
    """
    try:
        hosts = await trio.to_thread.run_sync(_addresses, listen_host)
        voice = await trio.to_thread.run_sync(_Voice, hosts, port)
    except (OSError, ImportError, RuntimeError) as error:
        log.warning("lan_announcement_off", reason=str(error))
        return
    try:
        await _keep_told(voice, targets)
    finally:
        with trio.move_on_after(limits.LAN_GOODBYE_S_MAX, shield=True):
            await trio.to_thread.run_sync(voice.close, abandon_on_cancel=True)


async def _keep_told(voice: _Voice, targets: Callable[[], Sequence[bytes]]) -> None:
    told: list[bytes] = []
    while True:
        now = sorted(targets())
        if len(now) > limits.LAN_TARGETS_MAX:
            log.warning("lan_announcement_incomplete", rooms=len(now), told=limits.LAN_TARGETS_MAX)
            now = now[: limits.LAN_TARGETS_MAX]
        if now != told:
            try:
                await trio.to_thread.run_sync(voice.tell, now)
                told = now
            except (OSError, RuntimeError) as error:
                log.warning("lan_announcement_failed", reason=str(error))
        await trio.sleep(limits.LAN_LOOK_S)


def _addresses(listen_host: str) -> list[str]:
    """The IPv4 addresses to announce.

    Raises:
        OSError: there is none.
    """
    import zeroconf

    if listen_host not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return [listen_host]
    everywhere: list[str] = zeroconf.get_all_addresses()  # type: ignore[attr-defined]  # public, but not in its __all__
    outside = [host for host in everywhere if not host.startswith("127.")]
    if not outside:
        raise OSError("this machine has no IPv4 address but loopback")
    return outside[: limits.LAN_ADDRESSES_MAX]
