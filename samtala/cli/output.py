"""How commands print: JSON for programs, plain lines for people."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import click
import trio
from rich.console import Console
from rich.table import Table

Result = TypeVar("Result")


def emit(fields: Mapping[str, object], *, as_json: bool, text: str) -> None:
    """One line of data on standard output."""
    click.echo(json.dumps(fields, ensure_ascii=False) if as_json else text)


def clock_time(timestamp_us: int) -> str:
    """Unix microseconds as a local time of day."""
    return datetime.fromtimestamp(timestamp_us / 1e6).astimezone().strftime("%H:%M:%S")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for people, as wide as it needs to be, without colours."""
    drawn = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*row)
    console = Console(width=200, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run a command's work under trio. Ctrl-C ends it with 130."""
    return trio.run(work)
