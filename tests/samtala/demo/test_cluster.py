"""Three real servers come up, tell the truth about themselves, and go down when told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from samtala.demo.cluster import HOST, PORTS, ServerFailedError, free_port, get, open_cluster


@pytest.mark.process
async def test_three_servers_come_up_die_and_come_back(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        victim = cluster.servers[1]
        assert all("samtala_" in text for text in await cluster.metrics())

        victim.kill()
        assert not victim.is_running
        victim.start()
        await victim.ready()

        assert await victim.stop() == 0


@pytest.mark.process
async def test_a_second_process_on_one_data_folder_is_refused(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        twin = type(cluster.servers[0])(cluster.servers[0].place)
        twin.start()

        assert await twin.ended() == 1
        assert "another process" in twin.log_tail() or "in use" in twin.log_tail()
        assert cluster.servers[0].is_running


async def test_nobody_there_is_an_empty_answer() -> None:
    assert await get(free_port(), "/readyz") == ""


def test_a_free_port_is_none_that_connections_are_given() -> None:
    ports = [free_port() for _ in range(50)]

    assert all(PORTS[0] <= port < PORTS[1] for port in ports)
    assert PORTS[1] < 32_768


def test_a_port_in_use_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((HOST, taken))
        monkeypatch.setattr("samtala.demo.cluster.PORTS", (taken, taken + 1))

        with pytest.raises(ServerFailedError, match="no free port"):
            free_port()
    assert free_port() == taken
