"""`samtala doctor`: what is wrong with the server on this machine, the worst first, each with what mends it."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import trio

from client.errors import SamtalaError, UsageError
from room_server.config import NodeConfig, admin_socket
from room_server.report import NodeReport
from samtala.cli.node_client import ask, fetch
from samtala.cli.node_settings import read_config, with_config
from samtala.cli.run import explained, with_json
from samtala.cli.show import put, put_json, say
from samtala.cli.status import finding_lines
from samtala.operate.bundle import Redactor, machine_facts, write_bundle
from samtala.operate.examination import Subject, examine
from samtala.operate.units import counted
from samtala.operate.verdict import Finding, worst

_PAGES = {"report.json": "/status", "rooms.json": "/rooms?top=200", "metrics.txt": "/metrics", "tasks.txt": "/tasks"}


@click.command()
@with_config
@click.option("--bundle", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.tar.gz",
              help="Also write what helpers need to know, without keys, addresses and names of hosts.")  # fmt: skip
@with_json
def doctor(*, config: Path | None, bundle: Path | None, as_json: bool) -> None:
    """Say what is wrong with the server on this machine, the worst first, and what mends it.

    sudo -u samtala samtala doctor

    Works with the server up or down. Exit code 0: nothing is wrong; 1: warnings; 2: something is broken, or the
    configuration is.
    """
    loaded = read_config(config)
    subject = _subject(loaded)
    findings = trio.run(examine, subject)
    if as_json:
        put_json({"findings": [_plain(finding) for finding in findings]})
    else:
        _show(subject, findings)
    if bundle is not None:
        with explained():
            _write(bundle, subject, findings)
    raise click.exceptions.Exit(int(worst(findings)))


def _subject(config: NodeConfig) -> Subject:
    try:
        report = ask(admin_socket(config), "/status", NodeReport)
    except SamtalaError as error:
        return Subject(config=config, report=None, silence=str(error).partition(". ")[0])
    return Subject(config=config, report=report)


def _plain(finding: Finding) -> dict[str, object]:
    return {**msgspec.to_builtins(finding), "severity": finding.severity.name.lower()}


def _show(subject: Subject, findings: list[Finding]) -> None:
    for finding in findings:
        for line in finding_lines(finding):
            put(line)
    if findings:
        say(f"\n{counted(len(findings), 'finding')} about {subject.config.name}.")
    else:
        put(f"{subject.config.name} is well: the node, its disk, clock, ports, limits and peers.")


def _write(path: Path, subject: Subject, findings: list[Finding]) -> None:
    """Everything at hand; what a silent node does not tell is left out."""
    contents: dict[str, object] = {
        "findings.json": [_plain(finding) for finding in findings],
        "config.json": msgspec.to_builtins(subject.config),
        "machine.json": machine_facts(Path(subject.config.data)),
    }
    for name, target in _PAGES.items():
        try:
            contents[name] = fetch(admin_socket(subject.config), target).decode()
        except SamtalaError as error:
            contents[f"{name}.missing"] = str(error)
    try:
        write_bundle(path, contents, Redactor(subject.config))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; name a new file") from error
    say(f"{path} has {counted(len(contents), 'file')}, redacted. Look at it before you send it: tar -tzf {path}")
