from __future__ import annotations

from pathlib import Path

import click
import pytest

from samtala.cli.node_settings import overrides, read_config, socket_of


def test_socket_is_where_the_configuration_says(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text('name = "a"\ndata = "/srv/a"\n')
    assert socket_of(config, None) == Path("/srv/a/admin.sock")
    config.write_text('name = "a"\ndata = "/srv/a"\n[admin]\nsocket = "/run/samtala/admin.sock"\n')
    assert socket_of(config, None) == Path("/run/samtala/admin.sock")
    assert socket_of(None, Path("/elsewhere")) == Path("/elsewhere")


def test_flags_become_values_of_their_kind() -> None:
    assert overrides(["log.level=debug", "limits.rooms=5", "dht.enabled=false"]) == {
        "log.level": "debug",
        "limits.rooms": 5,
        "dht.enabled": False,
    }
    with pytest.raises(click.UsageError, match="KEY=VALUE"):
        overrides(["log.level"])


def test_wrong_configuration_ends_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "node.toml"
    config.write_text('nmae = "a"\n')

    with pytest.raises(click.exceptions.Exit) as caught:
        read_config(config)

    assert caught.value.exit_code == 2
    assert "did you mean 'name'" in capsys.readouterr().err
