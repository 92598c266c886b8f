"""How commands print: JSON for programs, plain lines for people."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeVar

import click
import trio

Result = TypeVar("Result")


def emit(fields: Mapping[str, object], *, as_json: bool, text: str) -> None:
    """One line of data on standard output."""
    click.echo(json.dumps(fields, ensure_ascii=False) if as_json else text)


def clock_time(timestamp_us: int) -> str:
    """Unix microseconds as a local time of day."""
    return datetime.fromtimestamp(timestamp_us / 1e6).astimezone().strftime("%H:%M:%S")


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run a command's work under trio. Ctrl-C ends it with 130."""
    return trio.run(work)
