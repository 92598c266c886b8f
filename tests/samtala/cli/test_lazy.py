from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from samtala.cli.lazy import LazyGroup

HEAVY = ("trio", "nacl", "apsw", "room_server", "client", "vr", "mls")


@click.group(
    cls=LazyGroup,
    lazy_commands={
        "version": ("samtala.cli.version:version", "Print the version."),
        "future": ("samtala.not_written_yet:future", "Not there."),
    },
)
def group() -> None:
    """A group."""


def test_commands_are_listed_without_importing_them() -> None:
    done = CliRunner().invoke(group, ["--help"])

    assert "version  Print the version." in done.stdout
    assert "future" not in done.stdout


def test_a_command_runs() -> None:
    assert CliRunner().invoke(group, ["version"]).stdout.startswith("samtala ")


@pytest.mark.parametrize(
    ("wrong", "said"), [("vresion", "did you mean 'version'?"), ("zzz", "there are: version"), ("future", "no command")]
)
def test_a_wrong_command_names_the_nearest(wrong: str, said: str) -> None:
    done = CliRunner().invoke(group, [wrong])

    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["nonsense"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom samtala.cli import main\n"
        f"main({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.process
def test_finding_a_room_imports_nothing_that_only_some_searches_and_answers_need() -> None:
    script = (
        "import sys\nimport samtala.cli.room\n"
        "print([name for name in ('segno', 'h11', 'zeroconf', 'urwid', 'urllib.request') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert done.stdout == "[]\n"
