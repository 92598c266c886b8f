from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from room_server.service_manager import ServiceManager


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        yield str(tmp_path / "notify"), manager


def heard(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(1000).decode())
        except BlockingIOError:
            return found


def test_stages_of_life_are_told(listening: tuple[str, socket.socket]) -> None:
    address, manager = listening
    service = ServiceManager({"NOTIFY_SOCKET": address})
    service.ready()
    service.reloading()
    service.stopping()

    ready, reloading, stopping = heard(manager)
    assert (ready, stopping) == ("READY=1", "STOPPING=1")
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_abstract_sockets_are_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0samtala-test-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@samtala-test-{os.getpid()}"}).ready()
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_or_with_a_dead_one_nothing_happens(tmp_path: Path) -> None:
    ServiceManager({}).ready()
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).stopping()


async def test_signs_of_life_come_at_half_the_period(
    listening: tuple[str, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    address, manager = listening
    service = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000"})
    with trio.move_on_after(100):
        await service.keep_alive()

    assert heard(manager) == ["WATCHDOG=1"] * 4


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "60000000"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"},
    ],
)
async def test_who_is_not_watched_gives_no_signs(environ: dict[str, str]) -> None:
    service = ServiceManager(environ)

    assert service.watchdog_s is None
    await service.keep_alive()
