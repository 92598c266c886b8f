"""`samtala version`."""

from __future__ import annotations

import importlib.metadata
import json
import platform

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version(*, as_json: bool) -> None:
    """Print the version."""
    try:
        number = importlib.metadata.version("samtala")
    except importlib.metadata.PackageNotFoundError:
        number = "unknown"
    if as_json:
        click.echo(json.dumps({"version": number, "python": platform.python_version()}))
    else:
        click.echo(f"samtala {number}")
