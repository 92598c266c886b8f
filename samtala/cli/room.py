"""`samtala room create|info|members`, `samtala rooms`."""

from __future__ import annotations

import base64
import functools
import sys
from collections.abc import Sequence

import click
import trio

from client.client import Client
from client.discovery import Discovery
from client.errors import NotFoundError, SamtalaError, UnavailableError, UsageError
from client.evidence import ForkFinding, check_evidence
from client.moving import MovePlan
from client.publicity import descriptor_warning, plan_warning
from client.room import Room
from client.typed import parse_history
from samtala.cli.history import explained
from samtala.cli.lazy import LazyGroup
from samtala.cli.run import caught_up_in_time, open_in_time, opened, run, with_json, with_timeout
from samtala.cli.settings import Settings
from samtala.cli.show import (
    attempt_json,
    drawn,
    fork_json,
    fork_line,
    margin,
    put,
    put_json,
    say,
    state_line,
    status_json,
    warn,
)
from samtala.operate.units import view_name
from wire.errors import DecodeError
from wire.identity import key_text

MOVE_S = 600.0
"""Seconds for moving a room: new servers fetch all its history first."""


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "approve": ("samtala.cli.knocks:approve", "Let people in who knocked at a room by approval."),
        "create": ("samtala.cli.room:create", "Make a room on the servers of a cluster."),
        "deny": ("samtala.cli.knocks:deny", "Turn away people who knocked."),
        "history": ("samtala.cli.history:history", "What newcomers may read of what was before them."),
        "info": ("samtala.cli.room:info", "How a room is and where its servers are."),
        "inspect": ("samtala.cli.inspect:inspect", "How a room's replication is, for those who run its server."),
        "knocks": ("samtala.cli.knocks:knocks", "Who knocked and waits to be let in."),
        "members": ("samtala.cli.room:members", "Who is in a room."),
        "move": ("samtala.cli.room:move", "Give a room other servers, while people write."),
        "publish": ("samtala.cli.publish:publish", "Write where a room is as a file for a web server, or to hand on."),
        "recover": ("samtala.cli.recover:recover", "Go on by force on a server that is left; for those who run it."),
        "verify": ("samtala.cli.verify:verify", "Ask all servers of a room whether they hold what you have read."),
        "vouch": ("samtala.cli.recover:vouch", "Say that a room of yours was recovered on one server that is left."),
        "rescue": ("samtala.cli.room:rescue", "Take back a change of members after which nobody can write."),
        "evidence": ("samtala.cli.room:evidence", "What proves that servers lied about a room's history."),
        "link": ("samtala.cli.room:link", "The link that lets others in; or a new one in its place."),
        "remove": ("samtala.cli.room:remove", "Remove a member's device from a room."),
    },
)
def room() -> None:
    """Make rooms and look at them."""


@click.command()
@click.argument("name")
@click.option("--node", "nodes", multiple=True, required=True, metavar="HOST:PORT#KEY", help="A server of the cluster.")
@click.option("--my-name", help="What to be called there.")
@click.option("--approval", is_flag=True, help="Whoever has the link may knock, and you let them in.")
@click.option("--pinned", is_flag=True, help="Only you move it: its servers' operators cannot (cluster rebalance).")
@click.option(
    "--history", default="none", show_default=True, metavar="none|full|DAYS", help="What newcomers read from before."
)
@with_timeout
@with_json
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    *,
    nodes: Sequence[str],
    my_name: str | None,
    approval: bool,
    pinned: bool,
    history: str,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Make room NAME; one server's address is enough to find the others. Prints the link that lets people in.

    The address is what `samtala node init` printed on the server.
    """

    async def command() -> None:
        policy = parse_history(history)
        async with opened(settings, name=my_name) as client:
            opening = functools.partial(
                client.create_room, name, nodes=nodes, my_name=my_name, by_approval=approval, history=policy,
                by_quorum=not pinned,
            )  # fmt: skip
            made = await open_in_time(client, timeout_s, opening)
            await caught_up_in_time(made, timeout_s)
            status = await made.status()
            found = None if client.last_search is None else client.last_search.best
            warn(None if found is None else descriptor_warning(found.descriptor))
            if as_json:
                put_json({"room": name, "id": made.room_id.hex(), "link": made.link, **status_json(status)})
                return
            put(made.link)
            if sys.stdout.isatty():
                say(drawn(made.link))
            say(f"Room {name!r} is on {len(status.replicas)} servers; it {margin(status)}.")
            if approval:
                say(f"Whoever has the link can knock: samtala join LINK. You let them in: samtala room knocks {name}")
            else:
                say("Whoever has the link can join: samtala join LINK")
            say(explained(policy))

    run(command)


@click.command()
@click.argument("which", metavar="ROOM|LINK")
@click.option("--trace", is_flag=True, help="Show what was asked to find the servers, and how fast it answered.")
@with_timeout
@with_json
@click.pass_obj
def info(settings: Settings, which: str, *, trace: bool, timeout_s: float, as_json: bool) -> None:
    """Tell how ROOM is and where its servers are; a LINK may be of a room that you are not in."""

    async def command() -> None:
        async with opened(settings) as client:
            found, search = await _look(client, which, timeout_s)
            facts: dict[str, object] = {}
            lines: list[str] = []
            if found is not None:
                await _describe_room(found, facts, lines, timeout_s)
            if search is not None:
                _describe_search(search, facts, lines)
                if trace:
                    facts["trace"] = [attempt_json(attempt, search.elapsed_s) for attempt in search.trace]
                    lines += ["searched:", *(f"  {line}" for line in search.lines())]
            if as_json:
                put_json(facts)
            else:
                put("\n".join(lines))
            if found is None and search is not None and search.best is None:
                raise search.nobody()

    run(command)


async def _look(client: Client, which: str, timeout_s: float) -> tuple[Room | None, Discovery | None]:
    try:
        found = await open_in_time(client, timeout_s, functools.partial(client.room, which))
    except NotFoundError:
        if ":" not in which:
            raise
        found = None
    with trio.move_on_after(timeout_s):
        return found, await client.locate(which if found is None else found.link)
    return found, client.last_search


async def _describe_room(found: Room, facts: dict[str, object], lines: list[str], timeout_s: float) -> None:
    await caught_up_in_time(found, timeout_s)
    members = await found.members()
    forks = [check_evidence(evidence) for evidence in await found.evidence()]
    facts |= {"forks": [fork_json(fork) for fork in forks]}
    facts |= {
        "room": found.name, "id": found.room_id.hex(), "epoch": found.epoch, "sequence": found.sequence,
        "code": found.code, "members": len(members), "undecryptable": found.undecryptable, "alarms": found.alarms,
        "connection": found.connection.state.value, "waiting": len(found.knocks()), "history": str(found.history),
    }  # fmt: skip
    lines += [
        f"{found.name}   id {found.room_id.hex()[:8]}   {len(members)} devices   code {found.code}",
        f"read through {found.sequence}; {found.undecryptable} undecryptable, {found.alarms} alarms",
        f"history for newcomers: {found.history}",
        state_line(found.connection),
        *(fork_line(fork) for fork in forks),
    ]
    if found.knocks():
        lines.append(f"{len(found.knocks())} knocked and wait: samtala room knocks {found.room_id.hex()[:8]}")
    if forks:
        lines.append(f"   to show it to others: samtala room evidence {found.room_id.hex()[:8]}")
    try:
        status = await found.status()
    except SamtalaError as error:
        lines.append(f"servers: {error}")
        return
    facts |= status_json(status)
    lines.append(f"servers: view {view_name(status.view)}, {status.status}; {margin(status)}")
    for replica in status.replicas:
        marks = " (leads)" if replica.node_key == status.primary else ""
        lag = f", {replica.lag_ops} behind" if replica.lag_ops > 0 else ""
        lines.append(
            f"  {replica.name:<12} {'up' if replica.up else 'DOWN'}{lag}{marks}   {key_text(replica.node_key)}"
        )


def _describe_search(search: Discovery, facts: dict[str, object], lines: list[str]) -> None:
    if search.best is None:
        facts["found"] = False
        return
    facts["found"] = True
    facts["addresses"] = [str(server) for server in search.best.servers]
    lines.append(f"addresses, from {search.best.source}:")
    lines += [f"  {server}" for server in search.best.servers]


@click.command()
@click.argument("which", metavar="ROOM")
@with_timeout
@with_json
@click.pass_obj
def members(settings: Settings, which: str, *, timeout_s: float, as_json: bool) -> None:
    """Tell who is in ROOM, one device a line."""

    async def command() -> None:
        async with opened(settings) as client:
            found = await open_in_time(client, timeout_s, functools.partial(client.room, which))
            await caught_up_in_time(found, timeout_s)
            for member in await found.members():
                if as_json:
                    put_json({
                        "name": member.name, "key": member.key.hex(), "fingerprint": member.fingerprint,
                        "device": member.device_label, "verified": member.is_verified, "me": member.is_me,
                    })  # fmt: skip
                else:
                    doubt = "" if member.is_verified else "   UNVERIFIED"
                    you = "   (you)" if member.is_me else ""
                    put(f"{member.name:<24} {member.fingerprint}   {member.device_label}{doubt}{you}")

    run(command)


@click.command()
@click.argument("which", metavar="ROOM")
@click.argument("who", metavar="NAME|FINGERPRINT")
@with_timeout
@with_json
@click.pass_obj
def remove(settings: Settings, which: str, who: str, *, timeout_s: float, as_json: bool) -> None:
    """Remove a member's devices from ROOM: from then on they can neither read nor write."""

    async def command() -> None:
        async with opened(settings) as client:
            found = await open_in_time(client, timeout_s, functools.partial(client.room, which))
            await caught_up_in_time(found, timeout_s)
            wanted = [
                member
                for member in await found.members()
                if who in {member.name, member.fingerprint} and not member.is_me
            ]
            if not wanted:
                raise NotFoundError(f"nobody else in {found.name!r} is {who!r}; see: samtala room members {which}")
            if len({member.key for member in wanted}) > 1:
                prints = ", ".join(member.fingerprint for member in wanted)
                raise NotFoundError(f"several people are called {who!r}; give a fingerprint: {prints}")
            with trio.move_on_after(timeout_s):
                for member in wanted:
                    sequence = await found.remove(member)
                    if as_json:
                        put_json({"removed": member.name, "fingerprint": member.fingerprint, "sequence": sequence})
                    else:
                        put(str(sequence))
                        say(f"{member.name!r} is out: nothing after {sequence} can be read or written by that device.")
                return
            raise UnavailableError(f"not done within {timeout_s:g} s; look at: samtala room members {which}")

    run(command)


@click.command()
@click.argument("which", metavar="ROOM", required=False)
@click.option("--check", metavar="TEXT", help="Check evidence that somebody shows you; needs no room.")
@with_timeout
@with_json
@click.pass_obj
def evidence(settings: Settings, which: str | None, *, check: str | None, timeout_s: float, as_json: bool) -> None:
    """Print what proves to anybody that members of ROOM were shown different histories, one piece a line.

    Each piece contains the text of one message.
    """

    async def command() -> None:
        if check is not None:
            _put_fork(_parse_evidence(check), as_json=as_json)
            return
        if which is None:
            raise UsageError("give a room, or evidence to check: samtala room evidence --check TEXT")
        async with opened(settings) as client:
            found = await open_in_time(client, timeout_s, functools.partial(client.room, which))
            for data in await found.evidence():
                put(base64.urlsafe_b64encode(data).decode())

    run(command)


def _parse_evidence(text: str) -> ForkFinding:
    try:
        return check_evidence(base64.urlsafe_b64decode(text.strip()))
    except (DecodeError, ValueError) as error:
        raise UsageError(f"that proves nothing: {error}") from error


def _put_fork(fork: ForkFinding, *, as_json: bool) -> None:
    if as_json:
        put_json(fork_json(fork))
    else:
        put(fork_line(fork))


@click.command()
@click.argument("which", metavar="ROOM")
@click.option("--rotate", is_flag=True, help="Replace the link: the old one opens nothing any more. Members stay.")
@with_timeout
@with_json
@click.pass_obj
def link(settings: Settings, which: str, *, rotate: bool, timeout_s: float, as_json: bool) -> None:
    """Print the link of ROOM. Whoever has it can join."""

    async def command() -> None:
        async with opened(settings) as client:
            found = await open_in_time(client, timeout_s, functools.partial(client.room, which))
            await caught_up_in_time(found, timeout_s)
            text = found.link
            if rotate:
                with trio.move_on_after(timeout_s) as scope:
                    text = await found.rotate_link()
                if scope.cancelled_caught:
                    raise UnavailableError(f"not done within {timeout_s:g} s; look at: samtala room link {which}")
            if as_json:
                put_json({"room": found.name, "link": text, "rotated": rotate})
                return
            put(text)
            if sys.stdout.isatty():
                say(drawn(text))

    run(command)


@click.command()
@click.argument("which", metavar="ROOM")
@with_timeout
@with_json
@click.pass_obj
def rescue(settings: Settings, which: str, *, timeout_s: float, as_json: bool) -> None:
    """Send ROOM, which you made, back to the members and keys that this device knows.

    For a room in which nobody can write, or where somebody removed came back. Members see an alarm; those who were led
    further join again with the link.
    """

    async def command() -> None:
        async with opened(settings) as client:
            with trio.move_on_after(timeout_s):
                sequence = await client.rescue(which)
                if as_json:
                    put_json({"sequence": sequence})
                else:
                    put(str(sequence))
                    say("The room is back. Who cannot write joins again: samtala join LINK")
                return
            raise UnavailableError(f"no answer within {timeout_s:g} s; doing it again is harmless")

    run(command)


@click.command()
@click.argument("which", metavar="ROOM")
@click.option(
    "--to", "nodes", multiple=True, required=True, metavar="NODE", help="A server that it shall have; repeat it."
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without this, only tell what would be done.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=MOVE_S,
    show_default=True,
    help="Seconds for all of it; going on later is harmless.",
)
@with_json
@click.pass_obj
def move(
    settings: Settings, which: str, *, nodes: Sequence[str], is_applied: bool, timeout_s: float, as_json: bool
) -> None:
    """Give ROOM, which you made, these servers and no others. People go on writing, and their programs follow.

    A NODE is a name that the room's servers know, or HOST:PORT#KEY. Servers that are new get everything first, then the
    vote goes to all that are named, at once.
    """

    async def command() -> None:
        async with opened(settings) as client:
            with trio.move_on_after(timeout_s):
                plan, mover = await client.plan_move(which, nodes, say)
                _show_plan(plan, as_json=as_json)
                warn(plan_warning(plan))
                if not is_applied:
                    if not plan.is_done:
                        say("Nothing is changed yet; add --apply to do it.")
                    return
                if not plan.is_done:
                    status = await mover.run()
                    if as_json:
                        put_json({"done": True, "group_epoch": status.group_epoch, **status_json(status)})
                    say(f"Done: the room {margin(status)}. Those that it left go on telling where it is.")
                return
            raise UnavailableError(f"not done within {timeout_s:g} s; the same command goes on where it stopped")

    run(command)


def _show_plan(plan: MovePlan, *, as_json: bool) -> None:
    now, wanted, newcomers = (
        [plan.name_of(server) for server in servers] for servers in (plan.now, plan.wanted, plan.newcomers)
    )
    if as_json:
        put_json(
            {
                "now": now, "wanted": wanted, "newcomers": newcomers, "margin_before": plan.margin_before,
                "margin_after": plan.margin_after, "is_done": plan.is_done,
            }
        )  # fmt: skip
        return
    put(f"now:   {', '.join(now)}: can lose {plan.margin_before}")
    put(f"then:  {', '.join(wanted)}: can lose {plan.margin_after}")
    steps = [f"{', '.join(newcomers)} get everything, without a vote"] if newcomers else []
    steps += [] if plan.is_done else [f"the vote goes to {', '.join(wanted)}, at once"]
    steps += [f"{', '.join(gone)} tell where the room is, and forget it"] if (gone := _gone(plan)) else []
    put("\n".join(f"  {number}. {step}" for number, step in enumerate(steps, 1)) or "Nothing is left to do.")


def _gone(plan: MovePlan) -> list[str]:
    wanted = {server.node_key for server in plan.wanted}
    return [plan.name_of(server) for server in plan.now if server.node_key not in wanted]


@click.command()
@with_json
@click.pass_obj
def rooms(settings: Settings, *, as_json: bool) -> None:
    """List this profile's rooms, without connecting."""

    async def command() -> None:
        async with opened(settings) as client:
            summaries = await client.rooms()
            for summary in summaries:
                phase = summary.phase.name.lower()
                if as_json:
                    put_json({
                        "room": summary.name, "id": summary.room_id.hex(), "phase": phase,
                        "sequence": summary.sequence, "owner": summary.is_owner,
                    })  # fmt: skip
                else:
                    owner = "   owner" if summary.is_owner else ""
                    put(f"{summary.name:<24} {summary.room_id.hex()[:8]}   {phase}{owner}")
            if not summaries and not as_json:
                say("No rooms yet. Join one: samtala join LINK")

    run(command)
