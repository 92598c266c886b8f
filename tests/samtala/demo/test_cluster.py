"""Three real servers come up, tell the truth about themselves, and go down when told."""

from __future__ import annotations

from pathlib import Path

import pytest

from samtala.demo.cluster import free_port, get, open_cluster


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
