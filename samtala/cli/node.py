"""`samtala node init|serve`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
import platformdirs

from room_server.config import load_config, parse_endpoint
from room_server.errors import ConfigError, NodeError
from room_server.node import main as serve_node
from room_server.setup import init_node
from samtala.cli.lazy import LazyGroup
from samtala.cli.run import with_json
from samtala.cli.show import put, put_json, say

CONFIG_NAME = "node.toml"
EXIT_FAILED, EXIT_USAGE = 1, 2
_DEFAULT_METRICS = '[metrics]\nlisten = "127.0.0.1:7612"'
_SYSTEM_CONFIG = Path("/etc/samtala") / CONFIG_NAME
_SYSTEM_DATA = Path("/var/lib/samtala")
_WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - refused, not bound


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "init": ("samtala.cli.node:init", "Make a server's key, data folder and configuration."),
        "serve": ("samtala.cli.node:serve", "Run the server."),
    },
)
def node() -> None:
    """Run a server."""


@click.command()
@click.option("--name", required=True, help="What operators call this server; short.")
@click.option(
    "--listen",
    default="0.0.0.0:7610",
    show_default=True,
    metavar="HOST:PORT",
    help="TCP; the DHT uses the same UDP port.",
)
@click.option("--advertise", metavar="HOST:PORT", help="What others dial; by default as --listen.")
@click.option("--metrics", metavar="HOST:PORT", help="Where Prometheus asks; default 127.0.0.1:7612.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data folder.")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help=f"Default: {CONFIG_NAME} in the data folder."
)
@with_json
def init(
    *,
    name: str,
    listen: str,
    advertise: str | None,
    metrics: str | None,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Make a server's key, data folder and node.toml; prints the address that goes to the other servers.

    samtala node init --name a --listen a.example:7610
    """
    folder = (data or _default_data()).absolute()
    config_path = config or folder / CONFIG_NAME
    try:
        if metrics is not None:
            parse_endpoint(metrics)
        made = init_node(config_path, name=name, data=folder, listen=listen, advertise=advertise or _advertised(listen))
    except NodeError as error:
        _fail(error)
    if metrics is not None:
        text = config_path.read_text(encoding="utf-8")
        changed = text.replace(_DEFAULT_METRICS, f'[metrics]\nlisten = "{metrics}"')
        assert changed != text or metrics == "127.0.0.1:7612", "the default configuration has such a section"
        config_path.write_text(changed, encoding="utf-8")
    if as_json:
        put_json({"address": str(made.address), "config": str(config_path), "replica_id": made.replica_id.hex()})
        return
    put(str(made.address))
    say(
        f"That is this server's address. Put it into {CONFIG_NAME} of the other servers, and theirs into {config_path}:"
    )
    say(f'\n  [[peers]]\n  name = "…"\n  address = "HOST:PORT#KEY"\n\nThen: samtala node serve --config {config_path}')


@click.command()
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Default: {_SYSTEM_CONFIG}, or of the default data folder.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a setting, as in --set log.level=debug."
)
def serve(*, config: Path | None, settings: Sequence[str]) -> None:
    """Run the server until SIGTERM or Ctrl-C; both let it finish what it has begun."""
    try:
        loaded = load_config(config or _default_config(), overrides=_overrides(settings), environ=os.environ)
    except ConfigError as error:
        _fail(error)
    raise click.exceptions.Exit(serve_node(loaded))


def _overrides(settings: Sequence[str]) -> dict[str, object]:
    overrides: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting!r}: KEY=VALUE is needed, as in --set log.level=debug")
        overrides[key] = _value(value)
    return overrides


def _value(text: str) -> object:
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if text.isascii() and text.isdigit() else text


def _advertised(listen: str) -> str:
    if parse_endpoint(listen).host in _WILDCARDS:
        raise ConfigError(
            f"{listen!r} listens everywhere, but others need one address to dial: add --advertise HOST:PORT"
        )
    return listen


def _default_data() -> Path:
    if os.access(_SYSTEM_DATA, os.W_OK) or os.geteuid() == 0:
        return _SYSTEM_DATA
    return platformdirs.user_data_path("samtala") / "node"


def _default_config() -> Path:
    return _SYSTEM_CONFIG if _SYSTEM_CONFIG.exists() else _default_data() / CONFIG_NAME


def _fail(error: NodeError) -> NoReturn:
    click.echo(f"samtala: {error}", err=True)
    raise click.exceptions.Exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED) from error
