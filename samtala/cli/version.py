"""`samtala version`."""

from __future__ import annotations

import importlib.metadata
import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def version(*, as_json: bool) -> None:
    """Print the version."""
    installed = importlib.metadata.version("samtala")
    click.echo(json.dumps({"version": installed}) if as_json else f"samtala {installed}")
