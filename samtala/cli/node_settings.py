"""Which node a command is about: its node.toml, found as `node serve` finds it, and its admin socket."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import platformdirs

from room_server.config import NodeConfig, admin_socket, load_config
from room_server.errors import ConfigError, NodeError

CONFIG_NAME = "node.toml"
EXIT_FAILED, EXIT_USAGE = 1, 2
SYSTEM_CONFIG = Path("/etc/samtala") / CONFIG_NAME
_SYSTEM_DATA = Path("/var/lib/samtala")
_Command = TypeVar("_Command", bound=Callable[..., Any])

with_config = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Default: {SYSTEM_CONFIG}, or of the default data folder.",
)
with_settings = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a setting, as in --set log.level=debug."
)


def with_socket(command: _Command) -> _Command:
    """Options that say which running node is asked: `config` and `socket`."""
    socket = click.option(
        "--socket",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The node's admin socket; by default as its configuration says.",
    )
    return with_config(socket(command))


def socket_of(config: Path | None, socket: Path | None) -> Path:
    """Where the node listens for its operator; ends the command if the configuration is wrong."""
    if socket is not None:
        return socket
    return admin_socket(read_config(config))


def read_config(config: Path | None, settings: Sequence[str] = ()) -> NodeConfig:
    """The configuration as `node serve` would have it; ends the command if it is wrong."""
    try:
        return load_settings(config, settings)
    except ConfigError as error:
        fail(error)


def load_settings(config: Path | None, settings: Sequence[str] = ()) -> NodeConfig:
    """The configuration as `node serve` has it.

    Raises:
        ConfigError: it is wrong.
    """
    return load_config(config or default_config(), overrides=overrides(settings), environ=os.environ)


def default_data() -> Path:
    """Where a node of this machine keeps its data unless told otherwise."""
    if os.access(_SYSTEM_DATA, os.W_OK) or os.geteuid() == 0:
        return _SYSTEM_DATA
    return platformdirs.user_data_path("samtala") / "node"


def default_config() -> Path:
    """Where a node of this machine is configured unless told otherwise."""
    return SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else default_data() / CONFIG_NAME


def overrides(settings: Sequence[str]) -> dict[str, object]:
    """What `--set` says, by dotted key."""
    said: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting!r}: KEY=VALUE is needed, as in --set log.level=debug")
        said[key] = _value(value)
    return said


def _value(text: str) -> object:
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if text.isascii() and text.isdigit() else text


def fail(error: NodeError) -> NoReturn:
    """End the command with what is wrong."""
    click.echo(f"samtala: {error}", err=True)
    raise click.exceptions.Exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED) from error
