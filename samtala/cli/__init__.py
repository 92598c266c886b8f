"""The command line: nouns and verbs, loaded when they are used, so that `samtala version` answers at once.

Data goes to standard output, talk to standard error. `--json` gives one JSON object per line. Exit codes: 0 ok, 1 failed,
2 usage, 3 not found, 4 refused, 5 unavailable, 6 outcome unknown, 7 unsafe, 8 corruption or fork, 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path

import click

from client.errors import SamtalaError
from samtala.cli.failure import INTERRUPTED, exit_code_of

COMMANDS = {
    "chat": ("samtala.cli.talk", "Talk in a room, line by line."),
    "demo": ("samtala.cli.demo", "Three servers, one room, two people: kill a server and watch."),
    "join": ("samtala.cli.talk", "Join a room by its link."),
    "node": ("samtala.cli.node", "Run a server."),
    "room": ("samtala.cli.room", "Make rooms and look at them."),
    "rooms": ("samtala.cli.room", "List the rooms of this profile."),
    "send": ("samtala.cli.talk", "Send one message."),
    "tail": ("samtala.cli.talk", "Print messages as they come."),
    "version": ("samtala.cli.version", "Print the version."),
}


class Lazy(click.Group):
    """A group whose commands are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean `samtala {near[0]}`?" if near else " `samtala --help` lists all."
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(COMMANDS.items())])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--profile", type=click.Path(path_type=Path), help="Folder with your keys and messages.")
@click.pass_context
def cli(ctx: click.Context, profile: Path | None) -> None:
    r"""Chat rooms that belong to their community.

    \b
    samtala demo                          see it work
    samtala join SAMTALA:…                join a room
    samtala chat lobby --plain            talk
    echo hej | samtala send lobby         from a script
    """
    ctx.obj = profile


def main() -> None:
    """Entry point of the `samtala` command."""
    sys.exit(run_command())


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command line and give its exit code; world's faults are one sentence on standard error."""
    try:
        result: object = cli.main(args=arguments, prog_name="samtala", standalone_mode=False)
    except click.exceptions.Exit as request:
        return request.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (SamtalaError, BaseExceptionGroup) as error:
        return exit_code_of(error)
    return result if isinstance(result, int) else 0
