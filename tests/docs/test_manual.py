"""The manual builds without a warning, and names only commands, options and files that exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import samtala
from samtala.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [path for path in PAGES if path.parent.name not in {"adr", "reference"}]


def test_it_builds_and_a_warning_is_an_error(tmp_path: Path) -> None:
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("sphinx is not installed: make docs")
    # A copy, because reference pages are written beside their sources and other tests read those.
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "SECURITY.md", tmp_path)
    words = ["-m", "sphinx", "--quiet", "--fail-on-warning", "-b", "html", "docs", "html"]
    run = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    assert (tmp_path / "html" / "reference" / "cli.html").exists()


def command_of(words: list[str]) -> click.Command | None:
    """The command that words name, as far as they are names of commands."""
    command: click.Command | None = cli
    for word in words:
        if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z][a-z-]+", word):
            return command
        command = command.get_command(click.Context(command), word)
        if command is None:
            return None
    return command


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_flags_that_a_page_names_exist(page: Path) -> None:
    for line in re.findall(r"`(samtala [a-z][^`]*)`|^\$ (?:.*\()?(samtala [^)\n]*)", page.read_text(), re.MULTILINE):
        words = re.sub(r"--profile \S+ ", "", line[0] or line[1]).split()
        command = command_of(words[1:])
        assert command is not None, line
        known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= known | {"--help"}, line


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    for name in re.findall(r"`((?:deploy|docs|tests|vr|wire|room_server)/[\w./-]+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def python_blocks() -> list[tuple[str, str]]:
    return [
        (path.name, block)
        for path in WRITTEN
        for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    ]


@pytest.mark.parametrize(("page", "block"), python_blocks(), ids=lambda value: value if value.endswith(".md") else "")
def test_python_compiles_and_asks_for_names_that_exist(page: str, block: str) -> None:
    tree = compile(block, page, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    owners = {
        "samtala": samtala, "me": samtala.Client, "room": samtala.Room, "message": samtala.Message,
        "event": samtala.Notice, "member": samtala.RoomMember, "pending": samtala.PendingMessage,
    }  # fmt: skip

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners:
            owner = owners[node.value.id]
            known = {*dir(owner), *getattr(owner, "__struct_fields__", ()), "message_id"}
            assert node.attr in known, f"{page}: {node.value.id}.{node.attr}"
