from __future__ import annotations

from pathlib import Path

import pytest
import trio

from client.errors import NotFoundError, OutcomeUnknownError, SamtalaError, UnavailableError
from samtala.cli import main
from samtala.cli.run import run


def failing(error: BaseException) -> int:
    """The exit code of a command that raises this deep inside trio."""
    import click

    async def command() -> None:
        async with trio.open_nursery() as nursery:

            async def deep() -> None:
                raise error

            nursery.start_soon(deep)

    try:
        run(command)
    except click.exceptions.Exit as done:
        return done.exit_code
    return 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SamtalaError("x"), 1),
        (NotFoundError("x"), 3),
        (UnavailableError("x", ("tried a", "tried b")), 5),
        (OutcomeUnknownError("x", "ab12"), 6),
    ],
)
def test_errors_become_one_message_and_a_code(
    error: SamtalaError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == code

    said = capsys.readouterr().err
    assert said.startswith("samtala: ")
    assert "Traceback" not in said


def test_an_interrupt_is_no_error_message() -> None:
    with pytest.raises(KeyboardInterrupt):
        failing(KeyboardInterrupt())


def test_our_own_bugs_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_a_passphrase_file_is_read_and_its_faults_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, empty = tmp_path / "good", tmp_path / "empty"
    good.write_text("secret\n")
    empty.write_text("\n")
    profile = ["--profile", str(tmp_path / "me")]

    assert main([*profile, "--passphrase-file", str(good), "rooms"]) == 0
    assert main([*profile, "rooms"]) == 2
    assert main([*profile, "--passphrase-file", str(empty), "rooms"]) == 2
    assert main([*profile, "--passphrase-file", str(tmp_path / "missing"), "rooms"]) == 2
    said = capsys.readouterr().err
    assert "has a passphrase" in said
    assert "is empty" in said
    assert "cannot be read" in said
