"""`samtala status`: one screen about the server on this machine.

Exit code 0: all is well; 1: something is not, the last lines say what; 5: no server answers.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from room_server.report import BackupReport, NodeReport, Reachability, ReachReport, RoomsReport
from samtala.cli.node_client import ask
from samtala.cli.node_settings import socket_of, with_socket
from samtala.cli.run import explained, with_json
from samtala.cli.show import put
from samtala.operate.units import counted, milliseconds, size, span
from samtala.operate.verdict import Finding, Severity, judge

EXIT_UNWELL = 1
_LABEL_COLUMNS = 10
_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.UNKNOWN: "magenta"}


@click.command()
@with_socket
@with_json
@click.option("--watch", "period_s", type=click.FloatRange(min=0.2), is_flag=False, flag_value=2.0, metavar="[SECONDS]",
              help="Again and again, every two seconds or as said; until Ctrl-C.")  # fmt: skip
def status(*, config: Path | None, socket: Path | None, as_json: bool, period_s: float | None) -> None:
    """How the server on this machine is, on one screen.

    samtala status --watch

    Exit code 0: all is well; 1: something is wrong, the last lines say what; 5: no server answers.
    """
    path = socket_of(config, socket)
    while True:
        with explained():
            report = ask(path, "/status", NodeReport)
        findings = judge(report)
        if period_s is not None and not as_json:
            click.clear()
        put(msgspec.json.encode(report).decode() if as_json else "\n".join(status_lines(report, findings)))
        if period_s is None:
            raise click.exceptions.Exit(EXIT_UNWELL if findings else 0)
        time.sleep(period_s)


def status_lines(report: NodeReport, findings: list[Finding]) -> list[str]:
    """The screen."""
    state = click.style("ready", fg="green") if report.not_ready_because is None else _bad(report.not_ready_because)
    facts = (f"up {span(report.uptime_s)}", f"samtala {report.version}", f"protocol {report.protocol}", report.address)
    lines = [f"{click.style(report.name, bold=True)}  {state} · {' · '.join(facts)}", ""]
    lines += _section("rooms", [_rooms(report.rooms)])
    lines += _section("margin", [_margin(report.rooms)])
    lines += _section("peers", _peers(report))
    lines += _section("disk", [_disk(report)])
    lines += _section("backup", [backup_text(report.backup)] if report.backup is not None else ["unknown"])
    waiting = f", {size(report.clients.waiting_bytes)} waiting for them" if report.clients.waiting_bytes else ""
    lines += _section("clients", [counted(report.clients.connections, "connection") + waiting])
    lines += _section("dht", [_dht(report)])
    if report.reach is not None:
        lines += _section("reached", [_reached(report.reach)])
    if findings:
        lines.append("")
    return lines + [line for finding in findings for line in finding_lines(finding)]


def finding_lines(finding: Finding) -> list[str]:
    """What is wrong, and what to do about it."""
    mark = click.style(finding.severity.name.lower(), fg=_COLOURS.get(finding.severity), bold=True)
    return [f"{mark}: {finding.why}", f"  ▸ {finding.fix}"]


def _section(label: str, lines: list[str]) -> list[str]:
    first, *rest = lines or ["none"]
    dimmed = click.style(label.ljust(_LABEL_COLUMNS), dim=True)
    return [dimmed + first, *(" " * _LABEL_COLUMNS + line for line in rest)]


def _rooms(rooms: RoomsReport) -> str:
    states = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in rooms.states.items())
    cold = f" · {rooms.cold} cold" if rooms.cold else ""
    return f"{rooms.hosted} hosted, {rooms.led} led here" + (f" · {states}" if states else "") + cold


def margin_text(rooms: RoomsReport) -> str:
    """How many failures the rooms survive, in words."""
    if rooms.margin is None:
        return "no room yet"
    every = rooms.at_margin == rooms.hosted
    some = f"{rooms.at_margin} of {counted(rooms.hosted, 'room')}"
    if rooms.margin < 0:
        return f"{'no room has' if every else f'{some} without'} a majority: read-only"
    if rooms.margin == 0:
        return "no room survives another failure" if every else f"{some} would not survive another failure"
    return (
        f"every room survives {rooms.margin} more" if every else f"{some} survive {rooms.margin} more, the others more"
    )


def _margin(rooms: RoomsReport) -> str:
    text = margin_text(rooms)
    if rooms.margin is None or rooms.margin > 0:
        return text
    return click.style(text, fg="yellow") if rooms.margin == 0 else _bad(text)


def _peers(report: NodeReport) -> list[str]:
    names = max((len(peer.name) for peer in report.peers), default=0)
    return [
        f"{peer.name.ljust(names)}  {'up  ' if peer.up else _bad('DOWN')}  lag {peer.lag_ops:<6}"
        f" {milliseconds(peer.rtt_ms):>8}  {peer.address}"
        for peer in report.peers
    ]


def _disk(report: NodeReport) -> str:
    disk = report.disk
    share = disk.free_bytes / disk.total_bytes if disk.total_bytes else 0.0
    text = f"{share:.0%} free, {size(disk.free_bytes)} of {size(disk.total_bytes)}"
    return f"{_bad(text) if disk.full else text} · log {size(disk.log_bytes)}, history {size(disk.history_bytes)}"


def backup_text(backup: BackupReport) -> str:
    """How old the newest copy is, in words."""
    if backup.age_s is None:
        return "none yet"
    if backup.verified_age_s is None:
        return f"last {span(backup.age_s)} ago, never verified"
    is_newest = backup.verified_age_s <= backup.age_s
    whole = "found whole" if is_newest else f"the newest found whole is {span(backup.verified_age_s)} old"
    return f"last {span(backup.age_s)} ago, {whole}"


def _dht(report: NodeReport) -> str:
    if report.dht is None:
        return "off"
    age = f" · oldest record {span(report.dht.oldest_record_age_s)}" if report.rooms.hosted else ""
    return counted(report.dht.nodes, "node") + age


def _reached(reach: ReachReport) -> str:
    ago = "" if reach.age_s is None else f", {span(reach.age_s)} ago"
    if reach.state is Reachability.NO:
        return f"{_bad('NO')}: {reach.why}{ago}"
    return f"{reach.state}: {reach.why}{ago}"


def _bad(text: str) -> str:
    return click.style(text, fg="red", bold=True)
