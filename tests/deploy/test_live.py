"""Prometheus itself scrapes a running cluster, and every alert and panel finds its series."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from room_server.health import EXPOSITION
from room_server.http import Answer, serve_http
from samtala.demo.cluster import HOST, Cluster, free_port, get, open_cluster
from samtala.operate.probe import Outcome, ProbeMetrics
from tests.deploy.test_grafana import GRAPHS
from tests.deploy.test_prometheus import alerts

SCRAPES_S_MAX = 30.0
CONDITION = re.compile(r"\s(?:>|<|==)\s")


def expressions() -> dict[str, str]:
    """What to ask for, by name; of an alert the value that it watches, because a healthy cluster fires none."""
    asked = {alert["alert"]: CONDITION.split(alert["expr"])[0] for alert in alerts()}
    for graph in GRAPHS:
        for target in graph["targets"]:
            expression = target["expr"].replace("$__rate_interval", "10s").replace("$node", ".*")
            asked[f"{graph['title']} {target['refId']}"] = expression
    return asked


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The process, with its log beside its data."""
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "prometheus.log").open("wb") as log:
        return subprocess.Popen([*command, f"--web.listen-address={HOST}:{port}"], stdout=log, stderr=log)


@asynccontextmanager
async def open_probe() -> AsyncIterator[int]:
    """What a probe that has measured once tells, at the port given."""
    metrics = ProbeMetrics()
    metrics.note(Outcome(success=True, duration_s=0.02))

    async def tell(_query: bytes) -> Answer:
        return Answer(metrics.render(), EXPOSITION)

    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, listener, {b"/metrics": tell})
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_prometheus(folder: Path, cluster: Cluster, probe_port: int) -> AsyncIterator[int]:
    """Its port, once it has scraped every server twice."""
    port = free_port()
    targets = ", ".join(f'"{HOST}:{server.place.metrics_port}"' for server in cluster.servers)
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: samtala, static_configs: [{{targets: [{targets}]}}]}}, "
        f"{{job_name: probe, static_configs: [{{targets: ['{HOST}:{probe_port}']}}]}}]\n"
    )
    process = start(folder, port)
    try:
        with trio.fail_after(SCRAPES_S_MAX):
            while await series(port, 'count_over_time(up{job="samtala"}[1m]) >= 2') < len(cluster.servers):  # noqa: ASYNC110  # another process has to get there
                await trio.sleep(0.2)
        yield port
    finally:
        process.kill()
        process.wait()


async def series(port: int, expression: str) -> int:
    """How many series an expression has now."""
    answer = await get(port, f"/api/v1/query?query={urllib.parse.quote(expression)}")
    body = answer.partition("\r\n\r\n")[2]
    return len(json.loads(body)["data"]["result"]) if '"success"' in body else 0


@pytest.mark.process
async def test_every_alert_and_panel_has_series(tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: apt install prometheus")
    async with (
        open_cluster(tmp_path, has_gates=False) as cluster,
        open_probe() as probe_port,
        open_prometheus(tmp_path, cluster, probe_port) as port,
    ):
        missing = [name for name, expression in expressions().items() if not await series(port, expression)]

    assert missing == []
