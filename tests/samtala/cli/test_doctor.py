from __future__ import annotations

import json
import tarfile
from pathlib import Path

import msgspec
import pytest

from samtala.cli import main
from tests.samtala.cli.admin_double import serving_answers
from tests.samtala.operate.reports import node_report, rooms


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "d"
    assert main(["node", "init", "--data", str(folder), "--name", "a", "--listen", "127.0.0.1:0"]) == 0
    path = folder / "node.toml"
    path.write_text(path.read_text() + f'\n[admin]\nsocket = "{tmp_path / "s"}"\n')
    return path


def test_silent_node_is_broken(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(config)]) == 2
    out = capsys.readouterr().out
    assert out.splitlines()[-2 * out.count("▸")].startswith("critical: no node answers")
    assert "▸ systemctl start samtala" in out


def test_bundle_has_what_the_node_tells(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        "/status": msgspec.json.encode(node_report(rooms=rooms(undecidable=1))),
        "/rooms": b"[]",
        "/metrics": b"samtala_x 1\n",
    }
    capsys.readouterr()
    with serving_answers(tmp_path / "s", answers):
        code = main(["doctor", "--config", str(config), "--json", "--bundle", str(tmp_path / "b.tar.gz")])
        assert main(["doctor", "--config", str(config), "--bundle", str(tmp_path / "b.tar.gz")]) == 2, "it exists"

    out, err = capsys.readouterr()
    assert code == 2
    assert "rooms-undecidable" in {finding["name"] for finding in json.loads(out.splitlines()[0])["findings"]}
    with tarfile.open(tmp_path / "b.tar.gz") as bundle:
        files = {Path(name).name for name in bundle.getnames()}
    assert {"findings.json", "config.json", "machine.json", "report.json", "metrics.txt", "tasks.txt.missing"} <= files
    assert "redacted" in err
