"""The command line: `samtala NOUN VERB`. Data goes to standard output, talk to standard error; `--json` everywhere.

    main ─▶ click, lazy groups ─▶ samtala.cli.{node,room,talk}, imported only when their command runs
      └─▶ every error becomes one message (what, why, what next) and an exit code; never a traceback for the world's fault

| exit | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong link, name, flag or configuration |
| 3 | no such room, member or message |
| 4 | refused |
| 5 | nobody reachable; certainly not done |
| 6 | outcome unknown; the text names the id that makes a retry safe |
| 7 | not safe now (profile in use, data folder of another node) |
| 8 | damaged store, or histories that contradict each other |
| 130 | interrupted |
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from samtala.cli.lazy import LazyGroup
from samtala.cli.settings import Settings

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_COMMANDS = {
    "backup": ("samtala.cli.backup:backup", "Copies of the rooms of the server on this machine."),
    "chat": ("samtala.cli.talk:chat", "Talk in a room, line by line."),
    "check": ("samtala.cli.check:check", "One line and an exit code for monitoring systems."),
    "cluster": ("samtala.cli.cluster:cluster", "Servers that know each other: who belongs, who may come."),
    "completion": ("samtala.cli.completion:completion", "Make a shell complete commands and options."),
    "config": ("samtala.cli.config:config", "What a server is told: check it, show it, list all options."),
    "demo": ("samtala.demo.command:demo", "Three servers, one room, two people: kill a server and watch."),
    "device": ("samtala.cli.device:device", "Your devices: look at them, add another, shut out one that was lost."),
    "doctor": ("samtala.cli.doctor:doctor", "What is wrong with the server on this machine, and what mends it."),
    "join": ("samtala.cli.talk:join", "Join a room by its link."),
    "leave": ("samtala.cli.talk:leave", "Leave a room and delete it from this profile."),
    "me": ("samtala.cli.account:me", "Who you are, and the number to compare with somebody."),
    "node": ("samtala.cli.node:node", "Run a server."),
    "probe": ("samtala.cli.probe:probe", "Measure how long a message takes from one member to another."),
    "recovery": ("samtala.cli.account:recovery", "Come back after losing everything."),
    "room": ("samtala.cli.room:room", "Make rooms and look at them."),
    "rooms": ("samtala.cli.room:rooms", "List this profile's rooms."),
    "send": ("samtala.cli.talk:send", "Send one message."),
    "status": ("samtala.cli.status:status", "How the server on this machine is, on one screen."),
    "tail": ("samtala.cli.talk:tail", "Print messages as they come."),
    "top": ("samtala.cli.top:top", "The busiest rooms of the server on this machine, live."),
    "version": ("samtala.cli.version:version", "Print the version."),
}


@click.group(
    cls=LazyGroup,
    lazy_commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with `samtala demo`, or with a link: samtala join SAMTALA:…",
)
@click.option(
    "--profile",
    envvar="SAMTALA_PROFILE",
    metavar="NAME|FOLDER",
    help="Whose keys and rooms: a name, or a folder. Default: default.",
)
@click.option(
    "--passphrase-file",
    envvar="SAMTALA_PASSPHRASE_FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File whose first line opens the profile, instead of the key beside it.",
)
@click.option(
    "--descriptor",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that tells where a room is, as `samtala room publish` writes it: for when nothing else finds it.",
)
@click.option(
    "--web-host",
    "web_hosts",
    multiple=True,
    envvar="SAMTALA_WEB_HOSTS",
    metavar="HOST[:PORT]",
    help="Web server that may know where rooms are; it need not be trusted.",
)
@click.option(
    "--public-dht",
    multiple=True,
    envvar="SAMTALA_PUBLIC_DHT",
    metavar="default|HOST:PORT",
    help="Look in the public BitTorrent DHT as well, beginning there; strangers learn that you look for something.",
)
@click.pass_context
def cli(
    context: click.Context,
    *,
    profile: str | None,
    passphrase_file: Path | None,
    descriptor: Path | None,
    web_hosts: tuple[str, ...],
    public_dht: tuple[str, ...],
) -> None:
    """Chat rooms that belong to their community."""
    context.obj = Settings(profile, passphrase_file, descriptor=descriptor, web_hosts=web_hosts, public_dht=public_dht)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if not __debug__:
        click.echo("samtala: do not run Python with -O: its checks guard your data", err=True)
        return 1
    try:
        code = cli.main(None if arguments is None else list(arguments), prog_name="samtala", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0
