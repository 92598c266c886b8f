"""The tutorials' commands are run as they stand, and print what the page says they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from samtala.demo.cluster import free_port

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
MARK = "=== end of a command ==="
TUTORIAL_S_MAX = 120
pytestmark = pytest.mark.process


def steps(page: str) -> list[tuple[str, list[str]]]:
    """Each command with the lines that should follow it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def write_programs(page: str, folder: Path) -> None:
    """Save each block of Python whose first line names a file, as the reader is told to."""
    for name, text in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(text)


def script_of(commands: list[str]) -> str:
    """One shell for all, as for a reader; it stops at the first failure, and ends what it started."""
    lines = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for command in commands:
        lines += [command, f"echo '{MARK}'"]
    return "\n".join(lines)


def run(folder: Path, script: str) -> str:
    program = folder / "bin" / "samtala"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m samtala "$@"\n')
    program.chmod(0o755)
    python = program.with_name("python3")
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=TUTORIAL_S_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda path: str(path.stem))
def test_reader_who_types_what_the_page_says_sees_what_it_says(page: Path, tmp_path: Path) -> None:
    found = steps(page.read_text())
    script = script_of([command for command, _ in found])
    ports = {port: str(free_port()) for port in set(re.findall(r"\b76[12]\d\b", script))}
    script = re.sub(r"\b76[12]\d\b", lambda port: ports[port[0]], script)

    write_programs(page.read_text(), tmp_path)
    outputs = run(tmp_path, script).split(MARK)

    assert len(outputs) == len(found) + 1
    for (command, expected), output in zip(found, outputs, strict=False):
        for line in expected:
            shown = re.sub(r"\b76[12]\d\b", lambda port: ports.get(port[0], port[0]), line)
            pattern = ".*".join(re.escape(part) for part in shown.split("…"))
            assert re.search(pattern, output), f"$ {command}\n{output}\n--- lacks ---\n{shown}"
