from __future__ import annotations

import json
from pathlib import Path

import pytest

from room_server.config import load_config
from samtala.cli import main
from wire.identity import NodeIdentity, ServerAddress

ADDRESS = str(ServerAddress("b.example", 7610, NodeIdentity.generate().public))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(
        f'name = "a"\ndata = "/srv/a"\n[log]\nlevel = "debug"\n[[peers]]\nname = "b \\"x\\""\naddress = "{ADDRESS}"\n'
    )
    return path


def test_good_configuration_is_called_good(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--config", str(config)]) == 0
    assert "good. 4 settings, 1 peer." in capsys.readouterr().err


def test_mistake_is_named_with_what_was_meant(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("level", "levle"))

    assert main(["config", "check", "--config", str(config)]) == 2
    assert "did you mean 'log.level'" in capsys.readouterr().err


def test_what_is_shown_can_be_read_back(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--config", str(config), "--set", "limits.rooms=7", "--origin"]) == 0

    shown = capsys.readouterr().out
    config.with_name("copy.toml").write_text(shown)
    assert load_config(config.with_name("copy.toml")) == load_config(config, overrides={"limits.rooms": 7})


def test_origin_of_each_setting_is_shown(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMTALA_DHT__ENABLED", "false")
    assert main(["config", "show", "--config", str(config), "--set", "limits.rooms=7", "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert shown["log.level"] == {"value": "debug", "origin": str(config)}
    assert shown["dht.enabled"] == {"value": False, "origin": "SAMTALA_DHT__ENABLED"}
    assert shown["limits.rooms"] == {"value": 7, "origin": "flag"}
    assert shown["metrics.listen"]["origin"] == "default"


def test_schema_is_json_and_the_table_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert "NodeConfig" in json.loads(capsys.readouterr().out)["$defs"]
    assert main(["config", "schema", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| key | kind |")
