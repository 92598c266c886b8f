"""The probe against real servers and clients in one program."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from client.client import open_client
from client.errors import SamtalaError
from samtala.operate.probe import Outcome, ProbeMetrics, open_pair
from tests.room_server.cluster import Cluster, cluster_of

PATIENCE_S = 30.0


async def room_link(cluster: Cluster, folder: Path) -> str:
    async with open_client(folder / "alice", name="alice") as alice:
        room = await alice.create_room("probes", nodes=[str(cluster.nodes[0].address)])
        await room.caught_up()
        return room.link


async def test_probe_measures_what_arrives_and_fails_when_nothing_does(tmp_path: Path) -> None:
    profiles = (tmp_path / "probe", tmp_path / "probe-reader")
    async with cluster_of(tmp_path, dht=True) as cluster:
        link = await room_link(cluster, tmp_path)
        async with open_pair(profiles, link, PATIENCE_S) as pair:
            first, second = await pair.measure(PATIENCE_S), await pair.measure(PATIENCE_S)
            assert (first.success, second.success, second.reason) == (True, True, "")
            assert 0 < second.duration_s < PATIENCE_S

            async with open_client(tmp_path / "alice") as alice:
                await (await alice.room("probes")).send("not the word that the probe waits for")
            for node in cluster.nodes[:2]:
                await cluster.kill(node)
            failed = await pair.measure(0.3)
            assert (failed.success, failed.reason) == (False, "not read within 0.3 s")
            assert failed.duration_s >= 0.3

            for node in cluster.nodes[:2]:
                await cluster.start(node)
            with trio.fail_after(PATIENCE_S):
                while not (await pair.measure(PATIENCE_S)).success:
                    pass

        async with open_pair(profiles, link, PATIENCE_S) as pair:
            assert (await pair.measure(PATIENCE_S)).success, "the second time they are members already"
            assert not pair.is_over


def test_metrics_tell_of_the_last_round_and_count_all() -> None:
    metrics = ProbeMetrics()
    metrics.note(Outcome(success=False, duration_s=10.0, reason="x"))
    metrics.note(Outcome(success=True, duration_s=0.25))

    lines = metrics.render().decode().splitlines()
    for line in (
        "samtala_probe_success 1.0",
        "samtala_probe_duration_seconds 0.25",
        'samtala_probe_rounds_total{result="ok"} 1.0',
        'samtala_probe_rounds_total{result="failed"} 1.0',
    ):
        assert line in lines


async def test_nobody_to_measure_is_an_error_in_time(tmp_path: Path) -> None:
    link = "SAMTALA:AG4YT2CMATVPLB4ZIFMALUNEXM43N5EMTHEOLFFO5GAITOFRS6RH7AKLIDG2A7GKPM43HV24WFMYE2YBP4AAAAKEZIAX6AAAAFCMWYQL"
    with pytest.raises(SamtalaError):
        async with open_pair((tmp_path / "a", tmp_path / "b"), link, 0.2):
            raise AssertionError
