"""`samtala node drain|health`: before a server is stopped, and for whoever watches it from outside."""

from __future__ import annotations

import time
from pathlib import Path

import click

from client.errors import PreconditionError, UnavailableError
from room_server.draining import DrainReport
from room_server.report import NodeReport
from samtala.cli.node_client import ask, tell
from samtala.cli.node_settings import socket_of, with_socket
from samtala.cli.run import explained, with_json
from samtala.cli.show import put, put_json, say

_POLL_S = 0.1
DRAIN_S = 30.0
"""Seconds that `drain` waits until nothing is led from here."""


@click.command()
@with_socket
@click.option("--undo", is_flag=True, help="Be as before: the server is not stopped after all.")
@click.option("--force", is_flag=True, help="Even if rooms would stand still without this server.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=DRAIN_S, show_default=True,
              help="Seconds to wait at most.")  # fmt: skip
@with_json
def drain(
    *, config: Path | None, socket: Path | None, undo: bool, force: bool, timeout_s: float, as_json: bool
) -> None:
    """Have the server on this machine lead no room any more, so that stopping it is not noticed; it serves on until then.

    samtala node drain && systemctl restart samtala && samtala node wait-ready

    Refuses, with exit code 7, if rooms would stand still without it. Stopping a server drains it as well, without asking.
    """
    path = socket_of(config, socket)
    with explained():
        if undo:
            _tell(tell(path, "/undrain", DrainReport), as_json=as_json)
            return
        if not force:
            _check_margin(ask(path, "/status", NodeReport))
        report = tell(path, "/drain", DrainReport)
        deadline = time.monotonic() + timeout_s
        while report.led:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{report.led} rooms are led from here still after {timeout_s:g} s: samtala top")
            time.sleep(_POLL_S)
            report = ask(path, "/drain", DrainReport)
        _tell(report, as_json=as_json)


def _check_margin(report: NodeReport) -> None:
    margin = report.rooms.margin
    if margin is not None and margin <= 0:
        raise PreconditionError(
            f"{report.rooms.at_margin} of {report.rooms.hosted} rooms would stand still without this server: bring back those"
            " that are down first (samtala status), or add --force"
        )


def _tell(report: DrainReport, *, as_json: bool) -> None:
    if as_json:
        put_json({"draining": report.is_draining, "led": report.led})
    elif report.is_draining:
        say("Nothing is led from here. Stop it now; or: samtala node drain --undo")
    else:
        say("As before: rooms may be led from here again.")


@click.command()
@with_socket
@with_json
def health(*, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """One line on the server of this machine: exit code 0 if it is ready, 1 if it runs and is not, 5 if it does not run."""
    with explained():
        report = ask(socket_of(config, socket), "/status", NodeReport)
    if as_json:
        put_json({"name": report.name, "ready": report.not_ready_because is None, "reason": report.not_ready_because})
    else:
        put(f"{report.name} is {'ready' if report.not_ready_because is None else report.not_ready_because}")
    if report.not_ready_because is not None:
        raise click.exceptions.Exit(1)
