"""`samtala node init` and `samtala node serve`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from room_server.config import load_config
from room_server.errors import ConfigError, NodeError
from room_server.node import main as run_node_program
from room_server.setup import init_node


@click.group()
def node() -> None:
    r"""Run a server.

    \b
    samtala node init --data /var/lib/samtala --name a --listen 0.0.0.0:7610 --advertise a.example:7610
    samtala node serve --config /var/lib/samtala/node.toml
    """


@node.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder for the node's key and log.")
@click.option("--name", required=True, help="What to call the node.")
@click.option("--listen", default="0.0.0.0:7610", show_default=True, help="HOST:PORT for clients, peers and the DHT.")
@click.option("--advertise", default="", help="HOST:PORT that others dial; by default the same as --listen.")
@click.option("--config", type=click.Path(path_type=Path), help="File to write; by default node.toml in the folder.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def init(*, data: Path, name: str, listen: str, advertise: str, config: Path | None, as_json: bool) -> None:
    """Make a node: its key, its data folder, its node.toml. Prints the address to give to the other nodes."""
    path = config or data / "node.toml"
    try:
        made = init_node(path, name=name, data=data, listen=listen, advertise=advertise or listen)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except NodeError as error:
        raise click.ClickException(str(error)) from error
    address = str(made.address)
    if as_json:
        click.echo(json.dumps({"config": str(path), "address": address, "replica_id": made.replica_id.hex()}))
        return
    click.echo(address)
    click.echo(f"Wrote {path}. Add to the node.toml of each other node:\n", err=True)
    click.echo(f'  [[peers]]\n  name = "{name}"\n  address = "{address}"\n', err=True)
    click.echo(f"Then: samtala node serve --config {path}", err=True)


@node.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The node's node.toml.")
@click.option("--log-level", help="debug, info, warning or error; overrides the file.")
def serve(*, config: Path, log_level: str | None) -> int:
    """Serve until SIGTERM; then drain and end. Exit 1 if the disk fails: nothing is acknowledged that is not safe."""
    overrides: dict[str, object] = {} if log_level is None else {"log.level": log_level}
    try:
        loaded = load_config(config, overrides=overrides, environ=os.environ)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    return run_node_program(loaded)
