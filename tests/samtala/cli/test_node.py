from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import msgspec
import pytest

from room_server.config import load_config
from samtala.cli import main
from tests.samtala.cli.admin_double import serving_answers
from tests.samtala.operate.reports import node_report
from wire.identity import parse_node_address


def init(folder: Path, *arguments: str) -> int:
    return main(["node", "init", "--data", str(folder), "--name", "a", *arguments])


def test_init_prints_the_address_and_writes_what_serve_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path, "--listen", "127.0.0.1:7610", "--metrics", "127.0.0.1:7620") == 0

    out, err = capsys.readouterr()
    address = parse_node_address(out.strip())
    config = load_config(tmp_path / "node.toml")
    assert (address.host, address.port) == ("127.0.0.1", 7610)
    assert config.metrics.listen == "127.0.0.1:7620"
    assert config.data == str(tmp_path)
    assert "node serve --config" in err


def test_init_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "--listen", "a.example:7610", "--json") == 0

    value = json.loads(capsys.readouterr().out)
    assert value["address"].startswith("a.example:7610#")
    assert tomllib.loads(Path(value["config"]).read_text())["replica_id"] == value["replica_id"]


def test_listening_everywhere_needs_an_address_to_dial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path) == 2
    assert "--advertise" in capsys.readouterr().err

    assert init(tmp_path, "--advertise", "a.example:7610") == 0
    assert capsys.readouterr().out.startswith("a.example:7610#")


@pytest.mark.parametrize("listen", ["localhost", "127.0.0.1:99999", ":7610x"])
def test_a_wrong_endpoint_is_a_usage_error(tmp_path: Path, listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "--listen", listen) == 2
    assert "HOST:PORT" in capsys.readouterr().err
    assert not (tmp_path / "node.toml").exists()


def test_a_second_init_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path, "--listen", "127.0.0.1:7610")
    before = (tmp_path / "node.toml").read_text()

    assert init(tmp_path, "--listen", "127.0.0.1:7611") == 1

    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "node.toml").read_text() == before


def test_a_wrong_flag_names_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "init", "--lisen", "x"]) == 2
    assert "--listen" in capsys.readouterr().err


def test_serve_explains_a_missing_or_wrong_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "serve", "--config", str(tmp_path / "node.toml")]) == 2
    assert "node init" in capsys.readouterr().err

    (tmp_path / "node.toml").write_text('name = "a"\ndata = "/tmp/x"\nlisten_on = "127.0.0.1:1"\n')
    assert main(["node", "serve", "--config", str(tmp_path / "node.toml")]) == 2
    assert "did you mean 'listen'" in capsys.readouterr().err

    init(tmp_path / "b", "--listen", "127.0.0.1:7610")
    config = str(tmp_path / "b" / "node.toml")
    assert main(["node", "serve", "--config", config, "--set", "log.levle=debug"]) == 2
    assert "log.level" in capsys.readouterr().err
    assert main(["node", "serve", "--config", config, "--set", "nonsense"]) == 2


def test_defaults_are_the_services_for_root_and_the_persons_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    from samtala.cli.node_settings import default_config, default_data

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data() == Path("/var/lib/samtala")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert default_data().parts[-2:] == ("samtala", "node")
    assert default_config().name == "node.toml"


@pytest.mark.parametrize(("reason", "code"), [(None, 0), ("catching up: 3 rooms", 5)])
def test_waiting_for_a_server_ends_when_it_is_ready_or_in_time(
    tmp_path: Path, reason: str | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"/status": msgspec.json.encode(node_report(not_ready_because=reason))}
    with serving_answers(tmp_path / "s", answers) as path:
        assert main(["node", "wait-ready", "--socket", str(path), "--timeout", "0.2"]) == code

    assert (reason or "") in capsys.readouterr().err
    assert main(["node", "wait-ready", "--socket", str(tmp_path / "nobody"), "--timeout", "0.2"]) == 5
    assert "no node answers" in capsys.readouterr().err
