"""`samtala check`: one line for monitoring systems, after the Nagios plugin API; exit codes 0 to 3.

SAMTALA WARNING - no link to c at c.example:7610 | rooms=42 margin=0 free_bytes=…;…
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from client.errors import SamtalaError
from room_server.report import NodeReport
from samtala.cli.node_client import ask
from samtala.cli.node_settings import socket_of, with_socket
from samtala.cli.show import put, put_json
from samtala.operate.verdict import Finding, Severity, judge, worst


@click.command()
@with_socket
@click.option("--format", "form", type=click.Choice(["nagios", "json"]), default="nagios", show_default=True,
              help="One line, or one object.")  # fmt: skip
def check(*, config: Path | None, socket: Path | None, form: str) -> None:
    """Say in one line how the server on this machine is, for Nagios, Icinga and cron.

    samtala check --format json

    Exit code 0: OK; 1: WARNING; 2: CRITICAL, a server that does not answer included; 3: UNKNOWN.
    """
    report, findings = None, []
    try:
        path = socket_of(config, socket)
        report = ask(path, "/status", NodeReport)
        findings = judge(report)
    except click.exceptions.Exit:
        _end(Severity.UNKNOWN, form, [_unasked("the configuration cannot be read", "samtala config check")], None)
    except SamtalaError as error:
        findings = [_unanswered(error)]
    _end(worst(findings), form, findings, report)


def _unasked(why: str, fix: str) -> Finding:
    return Finding(severity=Severity.UNKNOWN, name="unasked", why=why, fix=fix)


def _unanswered(error: SamtalaError) -> Finding:
    fix = "systemctl status samtala; samtala doctor"
    return Finding(severity=Severity.CRITICAL, name="node-down", why=str(error).partition(". ")[0], fix=fix)


def _end(severity: Severity, form: str, findings: list[Finding], report: NodeReport | None) -> NoReturn:
    if form == "json":
        found = [
            {"severity": finding.severity.name.lower(), "name": finding.name, "why": finding.why, "fix": finding.fix}
            for finding in findings
        ]
        put_json({"status": severity.name.lower(), "findings": found})
    else:
        put(nagios_line(severity, findings, report))
    raise click.exceptions.Exit(int(severity))


def nagios_line(severity: Severity, findings: list[Finding], report: NodeReport | None) -> str:
    """Status, reasons and performance data on one line."""
    text = "; ".join(finding.why for finding in findings)
    if report is None:
        return f"SAMTALA {severity.name} - {text}"
    rooms, disk = report.rooms, report.disk
    figures = {
        "rooms": rooms.hosted,
        "rooms_led": rooms.led,
        "peers_up": sum(peer.up for peer in report.peers),
        "connections": report.clients.connections,
        "free_bytes": f"{disk.free_bytes}B",
    }
    if rooms.margin is not None:
        figures["margin"] = rooms.margin
    text = text or f"{report.name} is ready, {rooms.hosted} rooms"
    return f"SAMTALA {severity.name} - {text} | " + " ".join(f"{name}={value}" for name, value in figures.items())
