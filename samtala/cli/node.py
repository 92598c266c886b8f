"""`samtala node init|serve`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from client.errors import UnavailableError
from room_server.config import parse_endpoint
from room_server.errors import ConfigError, NodeError
from room_server.report import NodeReport
from room_server.setup import init_node
from samtala.cli.lazy import LazyGroup
from samtala.cli.node_client import ask
from samtala.cli.node_settings import (
    CONFIG_NAME,
    default_data,
    fail,
    load_settings,
    read_config,
    socket_of,
    with_config,
    with_settings,
    with_socket,
)
from samtala.cli.run import explained, with_json
from samtala.cli.show import put, put_json, say

_POLL_S = 0.1
_DEFAULT_METRICS = '[metrics]\nlisten = "127.0.0.1:7612"'
_WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - refused, not bound


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "drain": ("samtala.cli.drain:drain", "Have a server lead no room any more, before it is stopped."),
        "health": ("samtala.cli.drain:health", "Tell in one line whether a server is ready."),
        "init": ("samtala.cli.node:init", "Make a server's key, data folder and configuration."),
        "replace": (
            "samtala.cli.replace:replace",
            "Put another server in the place of one, in all rooms that are yours.",
        ),
        "serve": ("samtala.cli.node:serve", "Run the server."),
        "wait-ready": ("samtala.cli.node:wait_ready", "Wait until a server has joined the others and caught up."),
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
    """Make a server's key, data folder and node.toml; prints its address.

    samtala node init --name a --listen a.example:7610
    """
    folder = (data or default_data()).absolute()
    config_path = config or folder / CONFIG_NAME
    try:
        if metrics is not None:
            parse_endpoint(metrics)
        made = init_node(config_path, name=name, data=folder, listen=listen, advertise=advertise or _advertised(listen))
    except NodeError as error:
        fail(error)
    if metrics is not None:
        text = config_path.read_text(encoding="utf-8")
        changed = text.replace(_DEFAULT_METRICS, f'[metrics]\nlisten = "{metrics}"')
        assert changed != text or metrics == "127.0.0.1:7612", "the default configuration has such a section"
        config_path.write_text(changed, encoding="utf-8")
    if as_json:
        put_json({"address": str(made.address), "config": str(config_path), "replica_id": made.replica_id.hex()})
        return
    put(str(made.address))
    say(f"That is this server's address, for who makes a room. Start it: samtala node serve --config {config_path}")
    say(
        "Then, for several servers: samtala cluster create NAME on the first, samtala cluster join TOKEN on each other one"
    )


@click.command()
@with_config
@with_settings
def serve(*, config: Path | None, settings: Sequence[str]) -> None:
    """Run the server until SIGTERM or Ctrl-C; both let it finish what it has begun."""
    from room_server.process import main as serve_node  # the other commands need no server's imports

    read_config(config, settings)
    raise click.exceptions.Exit(serve_node(partial(load_settings, config, settings)))


@click.command("wait-ready")
@with_socket
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds to wait at most.")  # fmt: skip
def wait_ready(*, config: Path | None, socket: Path | None, timeout_s: float) -> None:
    """Wait until the server on this machine has joined the others and caught up; exit code 5 if it does not.

    systemctl restart samtala && samtala node wait-ready

    Then the next server may be restarted: no room is without a majority meanwhile.
    """
    path = socket_of(config, socket)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            reason = ask(path, "/status", NodeReport).not_ready_because
        except UnavailableError as error:
            reason = str(error).partition(". ")[0]
        if reason is None:
            return
        if time.monotonic() > deadline:
            with explained():
                raise UnavailableError(f"not ready after {timeout_s:g} s: {reason}")
        time.sleep(_POLL_S)


def _advertised(listen: str) -> str:
    if parse_endpoint(listen).host in _WILDCARDS:
        raise ConfigError(
            f"{listen!r} listens everywhere, but others need one address to dial: add --advertise HOST:PORT"
        )
    return listen
