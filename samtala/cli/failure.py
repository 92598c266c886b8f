"""Failures become one sentence on standard error and the documented exit code. Our own bugs keep their traceback."""

from __future__ import annotations

import click

from client.errors import SamtalaError

INTERRUPTED = 130


def exit_code_of(error: BaseException) -> int:
    """Say what went wrong and give the exit code.

    Raises:
        BaseException: `error` itself when it is none that the world can cause.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SamtalaError):
        click.echo(f"samtala: {error}", err=True)
        return error.exit_code
    raise error
