"""Two members of one room, and a server that puts into its log whatever it likes."""

from __future__ import annotations

from tests.client.builders import (
    Device,
    found_room,
    join,
    settle,
)


def pair() -> tuple[Device, Device]:
    alice = found_room("alice")
    bob = join("bob", alice.log)
    settle(alice, bob)
    return alice, bob


def deliver(device: Device, data: bytes, *, session: int = 99) -> None:
    """A server puts this block into the log, whoever made it."""
    device.log.append(session, len(device.log.deliveries) + 1, data)
    device.read()
    device.work()
