"""`samtala demo`."""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from pathlib import Path

import click
import msgspec
import trio

from samtala.demo.cluster import ServerFailedError
from samtala.demo.story import Report, run_headless


@click.command()
@click.option("--headless", is_flag=True, help="No screen: real traffic, the primary killed once, then the account.")
@click.option("--seconds", type=click.FloatRange(2, 3600), default=20.0, show_default=True, help="How long, headless.")
@click.option("--json", "as_json", is_flag=True, help="The account as one JSON object.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep all data in this folder.")
def demo(*, headless: bool, seconds: float, as_json: bool, keep: Path | None) -> int:
    """Three servers, a private DHT, one room, two people, all on this machine. Exit 0 only if every promise was kept."""
    with tempfile.TemporaryDirectory(prefix="samtala-demo-") as temporary:
        folder = keep or Path(temporary)
        try:
            if headless or not sys.stdout.isatty():
                report = trio.run(run_headless, folder, seconds)
            else:
                from samtala.demo.panes import run_panes  # urwid only where there is a screen

                report = trio.run(functools.partial(run_panes, folder))
        except ServerFailedError as error:
            raise click.ClickException(str(error)) from error
    click.echo(json.dumps(msgspec.to_builtins(report)) if as_json else summary(report))
    return 0 if report.is_clean else 1


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def summary(report: Report) -> str:
    """The account in sentences."""
    verdict = "Every promise was kept." if report.is_clean else "A PROMISE WAS BROKEN; please report this."
    return (
        f"{report.clients} people sent {report.sent} messages; {report.acked} were acknowledged,"
        f" {report.delivered} shown.\n"
        f"Servers killed: {report.kills}. Another one took the lead {_times(report.view_changes)};"
        f" the longest wait was {report.longest_gap_s} s.\n"
        f"lost {report.lost}, doubled {report.duplicated}, reordered {report.reordered},"
        f" unreadable {report.undecryptable}, readable on servers {report.plaintext_hits}.\n"
        f"{verdict} Next: README.md, «A room on three machines»."
    )
