"""`samtala cluster rebalance`: rooms spread over the cluster's servers, while people write.

samtala cluster rebalance                        what would be done
samtala cluster rebalance --apply                do it, and wait until it is done
samtala cluster rebalance --without c --apply    empty a server that shall go, or is dead
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlencode

import click
import msgspec

from client.errors import PreconditionError, UnavailableError
from room_server.cluster_report import RebalanceReport, RoomChangeReport, ServerLoad
from samtala.cli.node_client import tell
from samtala.cli.node_settings import socket_of, with_socket
from samtala.cli.run import explained, with_json
from samtala.cli.show import put, say
from samtala.operate.units import counted

_POLL_S = 0.3
_SHOWN = 20
_HELD_S = 10.0
_TRIES_MAX = 2


@click.command()
@click.option(
    "--without", multiple=True, metavar="NODE", help="A server that shall have no rooms; may be dead. Repeatable."
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without this, only tell what would be done.")
@click.option("--stop", is_flag=True, help="Let rooms that are on their way stay where they are.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=3600.0, show_default=True,
              help="Seconds to wait; the servers go on with what is under way.")  # fmt: skip
@with_socket
@with_json
def rebalance(
    *, without: Sequence[str], is_applied: bool, stop: bool, timeout_s: float,
    config: Path | None, socket: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Spread rooms evenly over the cluster's servers, and give each as many servers as the policy wants.

    A room comes to a new server in two steps: the server gets everything first, and has a vote then. No room survives less for
    it. Rooms made with --pinned stay: their owners move them (samtala room move). Exit code 7: a room had to stay on a
    server named by --without.
    """
    path = socket_of(config, socket)
    with explained():
        if stop:
            _show(_ask(path, "stop", ()), as_json=as_json)
            return
        report = _ask(path, "plan", without)
        if not is_applied:
            _show(report, as_json=as_json)
            return
        if not as_json:
            put("\n".join(_changes(report)))
        report = _carry_out(path, without, timeout_s)
        _show(report, as_json=as_json)
        if without and (report.held or report.pinned):
            raise PreconditionError(_left(report, without))


def _carry_out(path: Path, without: Sequence[str], timeout_s: float) -> RebalanceReport:
    """Begin, wait, and begin again, until nothing is left; the last report.

    Raises:
        UnavailableError: not in time, or a room does not get there.
    """
    deadline = time.monotonic() + timeout_s
    tried: Counter[str] = Counter()
    told, idle_at = -1, 0.0
    while True:
        report = _ask(path, "begin", without)
        tried.update(report.placed)
        vain = [room for room, times in tried.items() if times > _TRIES_MAX]
        if vain:
            _ask(path, "stop", ())
            raise UnavailableError(
                f"room {vain[0]} does not get where it is wanted; the log of the server that leads it says why"
            )
        if not report.under_way and not report.changes and not report.leaderless:
            # A server that was not ready may be in a moment, and there are rooms that wait for one.
            idle_at = idle_at or time.monotonic()
            if not report.held or time.monotonic() - idle_at > _HELD_S:
                return report
        else:
            idle_at = 0.0
        left = len(report.under_way) + report.changes_in_all - len(report.placed)
        if left != told:
            say(f"{counted(left, 'room')} to go")
            told = left
        if time.monotonic() > deadline:
            raise UnavailableError(f"not done within {timeout_s:g} s; the servers go on, and so does the same command")
        time.sleep(_POLL_S)


def _show(report: RebalanceReport, *, as_json: bool) -> None:
    if as_json:
        put(msgspec.json.encode(report).decode())
        return
    lines = [*_loads(report.servers), *(_changes(report) if report.changes else ["Nothing is to be done."])]
    if report.under_way:
        lines.append(f"{counted(len(report.under_way), 'room')} on their way: {_some(report.under_way)}")
    lines += [f"without a leader now: {_some(report.leaderless)}"] if report.leaderless else []
    lines += [f"held: {_some(report.held)}: there is no other server for them"] if report.held else []
    lines += [f"pinned: {_some(report.pinned)}: their owners move them (samtala room move)"] if report.pinned else []
    put("\n".join(lines))
    if report.changes:
        say("Nothing is changed yet; add --apply to do it.")


def _loads(servers: Iterable[ServerLoad]) -> list[str]:
    return [f"{server.name:<12} {counted(server.now, 'room')}{_then(server)}" for server in servers]


def _then(server: ServerLoad) -> str:
    if server.then is None:
        return f", and gets none: {server.why_none}" if server.why_none else ", and shall have none"
    return "" if server.then == server.now else f", then {server.then}"


def _changes(report: RebalanceReport) -> list[str]:
    shown = [_change(change) for change in report.changes[:_SHOWN]]
    more = report.changes_in_all - len(shown)
    return [*shown, f"… and {counted(more, 'room')} more"] if more else shown


def _change(change: RoomChangeReport) -> str:
    return f"{change.room}  {','.join(change.now)} -> {','.join(change.then)}"


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_SHOWN]) + (", …" if len(labels) > _SHOWN else "")


def _left(report: RebalanceReport, without: Sequence[str]) -> str:
    count = len(report.held) + len(report.pinned)
    return f"{counted(count, 'room')} had to stay on {', '.join(without)}: the lines above say which and why"


def _ask(path: Path, act: str, without: Sequence[str]) -> RebalanceReport:
    query = urlencode([("do", act), *(("without", name) for name in without)])
    return tell(path, f"/cluster/rebalance?{query}", RebalanceReport)
