"""`samtala completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from samtala.cli.show import put

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_SAMTALA_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and options.

    samtala completion bash > ~/.local/share/bash-completion/completions/samtala
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    put(kind(context.find_root().command, {}, "samtala", _VARIABLE).source())
