from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import trio
import trio.testing

from client.errors import UsageError
from samtala.cli import main
from samtala.cli.probe import _listen, _Prober, _replace
from samtala.cli.settings import Settings
from samtala.demo.cluster import get
from tests.room_server.cluster import cluster_of
from tests.samtala.operate.test_probe import room_link


async def test_probe_goes_on_and_tells_prometheus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with cluster_of(tmp_path, dht=True) as cluster:
        link = await room_link(cluster, tmp_path)
        textfile = tmp_path / "probe.prom"
        prober = _Prober(Settings(str(tmp_path / "p")), link, timeout_s=20.0, textfile=textfile, as_json=True)
        await prober.once()
        assert "samtala_probe_success 1.0" in textfile.read_text()
        listener = await _listen("127.0.0.1:0")
        port = listener.socket.getsockname()[1]
        await listener.aclose()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prober.forever, 0.05, f"127.0.0.1:{port}")
            with trio.fail_after(30):
                while re.search(r'result="ok"} ([3-9]|\d\d)', textfile.read_text()) is None:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            answer = await get(port, "/metrics")
            nursery.cancel_scope.cancel()

    assert "samtala_probe_success 1.0" in answer
    outcomes = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert all(outcome["success"] for outcome in outcomes)
    assert len(outcomes) >= 3


def test_metrics_of_a_single_probe_make_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "SAMTALA:X", "--metrics", "127.0.0.1:0"]) == 2
    assert "--every" in capsys.readouterr().err


def test_what_is_no_link_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", str(tmp_path / "p"), "probe", "nonsense"]) == 2


def test_link_comes_from_a_file_or_the_line_and_not_from_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").write_text("nonsense\n")

    assert main(["--profile", str(tmp_path / "p"), "probe", "--link-file", str(tmp_path / "link")]) == 2
    assert "that is no link" in capsys.readouterr().err
    assert main(["probe"]) == main(["probe", "x", "--link-file", str(tmp_path / "link")]) == 2
    assert "a LINK is needed" in capsys.readouterr().err
    assert main(["probe", "--link-file", str(tmp_path / "missing")]) == 2


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    _replace(tmp_path / "x.prom", b"1\n")
    _replace(tmp_path / "x.prom", b"2\n")

    assert [path.name for path in tmp_path.iterdir()] == ["x.prom"]
    with pytest.raises(UsageError):
        _replace(tmp_path / "missing" / "x.prom", b"")


async def test_port_that_cannot_be_used_is_said() -> None:
    with pytest.raises(UsageError, match="--metrics"):
        await _listen("nonsense")
