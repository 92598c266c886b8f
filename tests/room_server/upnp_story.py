"""A port is forwarded by UPnP: run by test_upnp.py in a network of its own.

python -m tests.room_server.upnp_story HOST granted|refused      HOST is this machine's address there
"""

from __future__ import annotations

import json
import subprocess
import sys

import trio

from room_server import limits
from room_server.router_port import RouterPort
from room_server.upnp import UpnpError, open_port

PORT = 7610
SECONDS_MAX = 30.0


async def story(host: str, how: str) -> None:
    """See `how`."""
    limits.UPNP_AFTER_S = limits.UPNP_DISCOVER_S = 0.2  # type: ignore[misc]  # real routers are given longer
    command = [sys.executable, "-m", "tests.room_server.upnp_router", host, "5000", how]
    router = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert router.stdout is not None
    try:
        while b"ready" not in await router.stdout.receive_some():
            continue
        if how == "refused":
            await refused("refuses")
            return
        await granted()
        router.terminate()
        asked = [json.loads(line) for line in b"".join([part async for part in router.stdout]).splitlines()]
        actions = [(one["action"], one.get("NewProtocol")) for one in asked if one["action"].endswith("PortMapping")]
        assert actions == [
            ("AddPortMapping", "TCP"), ("AddPortMapping", "UDP"), ("DeletePortMapping", "TCP"), ("DeletePortMapping", "UDP"),
        ], actions  # fmt: skip
        assert all(one["NewInternalClient"] == host for one in asked if one["action"] == "AddPortMapping")
    finally:
        router.kill()
        with trio.move_on_after(SECONDS_MAX, shield=True):
            await router.wait()


async def granted() -> None:
    """Forwarded while it runs."""
    port = RouterPort(PORT, nonce=bytes(12), random01=lambda: 0.5, gateway=lambda: None, has_upnp=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.run)
        while port.report().trouble:  # noqa: ASYNC110 - another task's state, in a process that drives real ones
            await trio.sleep(0.05)
        report = port.report()
        assert (report.ports, report.host) == (("TCP 7610", "UDP 7610"), "198.41.0.4"), report
        nursery.cancel_scope.cancel()


async def refused(words: str) -> None:
    """Told in words."""
    try:
        await open_port(PORT)
    except UpnpError as error:
        assert words in str(error), error  # noqa: PT017 - no test of its own
    else:
        raise AssertionError("it was granted")


async def in_time(host: str, how: str) -> None:
    """All of it, or an error."""
    with trio.fail_after(SECONDS_MAX):
        await story(host, how)


if __name__ == "__main__":
    trio.run(in_time, *sys.argv[1:3])
