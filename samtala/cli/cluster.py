"""`samtala cluster`: servers of a community that know each other without a configuration file.

A$ samtala cluster create "Malmö makers"     a token, for one other server
B$ samtala cluster join sam1-join-…          waits, and shows three words
A$ samtala cluster approve                   shows the same three words; y
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import click
import msgspec

from client.errors import NotFoundError, PreconditionError, RefusedError, UnavailableError
from room_server.cluster_report import ClusterNodeReport, ClusterReport, ClusterView, Invited, WaitingReport
from samtala.cli.lazy import LazyGroup
from samtala.cli.node_client import ask, tell
from samtala.cli.node_settings import socket_of, with_socket
from samtala.cli.run import explained, with_json
from samtala.cli.show import drawn, put, put_json, say
from samtala.operate.cluster import headline, judge_upgrade, rooms_of, state_of
from samtala.operate.units import counted, milliseconds, span

_T = TypeVar("_T")
_POLL_S = 0.2
_LINKS_S = 3.0
_NO_CLUSTER = "this server belongs to no cluster: `samtala cluster create NAME`, or `samtala cluster join TOKEN`"
_COLUMNS = ("NODE", "VERSION", "STATE", "LEADS", "REPLICAS", "LAG", "RTT", "DISK-FREE", "BACKUP", "ROSTER")
_with_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "approve": ("samtala.cli.cluster:approve", "Let in a server that asks to join."),
        "create": ("samtala.cli.cluster:create", "Begin a cluster with this server."),
        "deny": ("samtala.cli.cluster:deny", "Turn away a server that asks to join."),
        "forget": ("samtala.cli.cluster:forget", "Leave a cluster whose roster nobody keeps any more."),
        "invite": ("samtala.cli.cluster:invite", "Make a token for one more server."),
        "join": ("samtala.cli.cluster:join", "Join a cluster with a token."),
        "policy": ("samtala.cli.cluster:policy", "Show or change what holds for the cluster's rooms."),
        "rebalance": ("samtala.cli.rebalance:rebalance", "Spread rooms evenly over the cluster's servers."),
        "remove": ("samtala.cli.cluster:remove", "Take a server off the roster."),
        "status": ("samtala.cli.cluster:status", "All servers of the cluster on one screen."),
        "upgrade-check": ("samtala.cli.cluster:upgrade_check", "May each server be stopped now?"),
    },
)
def cluster() -> None:
    """Servers that know each other: who belongs, who may come."""


@click.command()
@click.argument("name")
@with_socket
@with_json
def create(name: str, *, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """Begin a cluster called NAME with the server on this machine; prints a token for one other server.

    samtala cluster create "Malmö makers"
    """
    with explained():
        _show_token(_do(socket_of(config, socket), "create", Invited, name=name), as_json=as_json)


@click.command()
@click.option("--hours", type=click.IntRange(1, 168), default=24, show_default=True, help="How long it holds.")
@with_socket
@with_json
def invite(*, hours: int, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """Print a token for one more server. Whoever has it may ask to join; you approve."""
    with explained():
        invited = _do(socket_of(config, socket), "invite", Invited, valid_s=str(hours * 3600))
        _show_token(invited, as_json=as_json)


def _show_token(invited: Invited, *, as_json: bool) -> None:
    if as_json:
        put_json({"token": invited.token, "valid_s": invited.valid_s})
        return
    put(invited.token)
    say(f"For one server, within {counted(invited.valid_s // 3600, 'hour')}. On that machine:\n")
    say(f"  samtala cluster join {invited.token}\n\nThen here: samtala cluster approve")
    if sys.stderr.isatty():
        say(drawn(invited.token.upper()))


@click.command()
@click.argument("token")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=86400.0,
              help="Seconds to wait for an answer; a day unless said. The server goes on asking when this command ends.")  # fmt: skip
@with_socket
@with_json
def join(token: str, *, timeout_s: float, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """Make the server on this machine ask the cluster of TOKEN, and wait until somebody there has approved it.

    Compare the three words with whoever approves: they see the same ones, if nobody has taken the token away.
    """
    path = socket_of(config, socket)
    deadline = time.monotonic() + timeout_s
    shown = ""
    with explained():
        _do(path, "join", object, token=token)
        while True:
            view = ask(path, "/cluster", ClusterView)
            if view.cluster is not None:
                view = _linked(path, view)
                break
            shown = _show_joining(view, shown)
            if time.monotonic() > deadline:
                raise UnavailableError(f"no answer after {timeout_s:g} s; the server goes on asking")
            time.sleep(_POLL_S)
    assert view.cluster is not None, "nothing leaves a cluster that fast"
    if as_json:
        put_json({"cluster": view.cluster.name, "id": view.cluster.id, "words": shown})
        return
    others = [node for node in view.cluster.nodes if not node.here]
    put(
        f"This server belongs to {view.cluster.name!r} now; {sum(node.up for node in others)} of {len(others)} others linked."
    )


def _linked(path: Path, view: ClusterView) -> ClusterView:
    """The view once all servers are linked, or after a few seconds: one may be down."""
    deadline = time.monotonic() + _LINKS_S
    while view.cluster is not None and not all(node.up for node in view.cluster.nodes):
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
        view = ask(path, "/cluster", ClusterView)
    return view


def _show_joining(view: ClusterView, shown: str) -> str:
    """Tell what is new; returns the words that were shown, or the trouble."""
    joining = view.joining
    if joining is None:
        return shown
    if not joining.is_under_way:
        raise RefusedError(f"not joined: {joining.trouble}")
    news = joining.trouble or joining.words
    if news and news != shown:
        say(
            f"{joining.trouble}; trying again"
            if joining.trouble
            else f"Asked {joining.cluster!r}. Words: {joining.words}. Waiting for somebody there: samtala cluster approve"
        )
    return news or shown


@click.command()
@click.argument("node", required=False)
@_with_yes
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS",
              help="Wait so long for a server to ask.")  # fmt: skip
@with_socket
@with_json
def approve(
    node: str | None, *, yes: bool, wait_s: float, config: Path | None, socket: Path | None, as_json: bool
) -> None:
    """Let in NODE, or the only server that asks to join, after you have compared the words."""
    path = socket_of(config, socket)
    with explained():
        waiting = _waiting(path, node, wait_s)
        say(f"{waiting.name} ({waiting.address}, {waiting.version}) wants in. Words: {waiting.words}")
        if not yes and not click.confirm("Does it show the same words?", err=True):
            raise RefusedError(f"not approved; `samtala cluster deny {waiting.name}` turns it away")
        _do(path, "approve", object, node=waiting.name)
    _done(
        {"approved": waiting.name, "words": waiting.words},
        f"{waiting.name} belongs to the cluster now.",
        as_json=as_json,
    )


@click.command()
@click.argument("node")
@with_socket
@with_json
def deny(node: str, *, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """Turn away NODE, which asks to join; its token is worth nothing then."""
    with explained():
        _do(socket_of(config, socket), "deny", object, node=node)
    _done({"denied": node}, f"{node} was turned away.", as_json=as_json)


@click.command()
@click.argument("node")
@_with_yes
@with_socket
@with_json
def remove(node: str, *, yes: bool, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """Take NODE off the roster. Rooms that it serves it goes on serving: move them first (cluster rebalance --without NODE)."""
    path = socket_of(config, socket)
    if not yes and not click.confirm(f"Take {node} off the roster?", err=True):
        raise click.Abort
    with explained():
        _do(path, "remove", object, node=node)
    _done({"removed": node}, f"{node} is off the roster.", as_json=as_json)


@click.command()
@_with_yes
@with_socket
@with_json
def forget(*, yes: bool, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """Make this server belong to no cluster, without asking the others: so many are gone that they cannot decide any more.

    Its rooms stay, and so do its links to servers of theirs. Do it on every server that is left, then make a new cluster of them.
    While the roster can still be changed, use `samtala cluster remove NODE` on another server.
    """
    path = socket_of(config, socket)
    if not yes and not click.confirm("Forget the cluster, on this server?", err=True):
        raise click.Abort
    with explained():
        _do(path, "forget", object)
    _done({"forgotten": True}, "This server belongs to no cluster now; its rooms are as they were.", as_json=as_json)


@click.command()
@click.option("--rooms", type=click.Choice(["everybody", "nobody"]), help="Who may make rooms on these servers.")
@click.option("--replicas", type=click.IntRange(1, 7), help="Servers of a new room.")
@click.option(
    "--room-rate", type=click.IntRange(min=0), metavar="N", help="Blocks a second of one room at one server; 0: any."
)
@click.option("--room-mb", type=click.IntRange(min=0), metavar="N", help="MiB that one room may store; 0: any.")
@with_socket
@with_json
def policy(
    *, rooms: str | None, replicas: int | None, room_rate: int | None, room_mb: int | None,
    config: Path | None, socket: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Show what holds for the cluster's rooms, or change it.

    A room that has had its rate waits; one that is full takes no messages until it gets more space or other servers.
    """
    path = socket_of(config, socket)
    said = {"makers": rooms, "replicas": replicas, "blocks_per_s": room_rate, "mb": room_mb}
    wanted = {key: str(value) for key, value in said.items() if value is not None}
    with explained():
        if wanted:
            _do(path, "policy", object, **wanted)
        report = _report(path)
    rate, size = report.room_blocks_per_s, report.room_mb
    facts = {"rooms": report.room_makers, "replicas": report.room_replicas, "room_rate": rate, "room_mb": size}
    text = f"{report.room_makers} may make rooms; a new room has {counted(report.room_replicas, 'server')}"
    text += f"; a room may store {size} MiB" if size else ""
    text += f"; a room may write {counted(rate, 'block')} a second at each server" if rate else ""
    if as_json:
        put_json(facts)
    else:
        put(text)


@click.command()
@with_socket
@with_json
def status(*, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """All servers of the cluster, as seen from the one on this machine.

    LEADS and REPLICAS: rooms; LAG: operations that the slowest server of a room led there lacks; ROSTER: whether it decides on
    the roster, stands by, or is told.
    """
    with explained():
        view = ask(socket_of(config, socket), "/cluster", ClusterView)
        if as_json:
            put(msgspec.json.encode(view).decode())
            return
        if view.cluster is None:
            raise NotFoundError(_NO_CLUSTER)
    put("\n".join(status_lines(view.cluster)))


@click.command("upgrade-check")
@with_socket
@with_json
def upgrade_check(*, config: Path | None, socket: Path | None, as_json: bool) -> None:
    """Whether each server may be stopped now, to upgrade it. Exit code 7: one may not; the line says why.

    Then, server after server: stop, upgrade, start, `samtala node wait-ready`, and this check again.
    """
    with explained():
        verdict = judge_upgrade(_report(socket_of(config, socket)))
    if as_json:
        put(msgspec.json.encode(verdict).decode())
    else:
        put(f"versions  {', '.join(verdict.versions)}")
        put(f"formats   {verdict.formats}")
        for stop in verdict.nodes:
            put(f"{stop.node}  {stop.version}  {f'not now: {stop.why_not}' if stop.why_not else 'may be stopped'}")
        for problem in verdict.problems:
            put(f"problem: {problem}")
    if not verdict.is_good:
        raise click.exceptions.Exit(PreconditionError.exit_code)


def status_lines(report: ClusterReport) -> list[str]:
    """The screen."""
    facts = f"{counted(len(report.nodes), 'node')}, {counted(rooms_of(report), 'room')}"
    rows = [_COLUMNS, *(_row(node, report) for node in report.nodes)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    asking = [f"{waiting.name} ({waiting.address}) asks to join: samtala cluster approve" for waiting in report.waiting]
    moving = [f"{counted(report.under_way, 'room')} on the way to other servers: samtala cluster rebalance"]
    return [f"{report.name}   {facts}   {headline(report)}", *table, *asking, *(moving if report.under_way else [])]


def _row(node: ClusterNodeReport, report: ClusterReport) -> tuple[str, ...]:
    vitals = node.vitals if node.up else None
    name = f"{node.name}*" if node.name == report.leader else node.name
    common = (name, node.version, state_of(node))
    rtt = "-" if node.here else milliseconds(node.rtt_ms)
    if vitals is None:
        return (*common, "", "", "", rtt, "", "", node.role.value)
    counts = (str(vitals.led), str(vitals.hosted), str(vitals.lag_ops))
    copy = "never" if vitals.backup_age_s is None else f"{span(vitals.backup_age_s)} ago"
    return (*common, *counts, rtt, f"{vitals.disk_free:.0%}", copy, node.role.value)


def _waiting(path: Path, node: str | None, wait_s: float) -> WaitingReport:
    """Who asks to join.

    Raises:
        NotFoundError: nobody, or not that one, or several and none was named.
    """
    deadline = time.monotonic() + wait_s
    while True:
        asking = _report(path).waiting
        chosen = [one for one in asking if node in {None, one.name}]
        if len(chosen) == 1:
            return chosen[0]
        if len(chosen) > 1:
            raise NotFoundError(f"several servers ask: say which one: {', '.join(one.name for one in chosen)}")
        if time.monotonic() >= deadline:
            raise NotFoundError("nobody asks to join" if node is None else f"no server {node!r} asks to join")
        time.sleep(_POLL_S)


def _report(path: Path) -> ClusterReport:
    view = ask(path, "/cluster", ClusterView)
    if view.cluster is None:
        raise NotFoundError(_NO_CLUSTER)
    return view.cluster


def _done(facts: Mapping[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        put_json(facts)
    else:
        put(text)


def _do(path: Path, verb: str, kind: type[_T], **said: str) -> _T:
    return tell(path, f"/cluster/{verb}?{urlencode(said)}", kind)
