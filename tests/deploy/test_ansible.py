"""The role is as ansible-lint wants it, makes a server that would start, and changes nothing when it runs again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from room_server.config import load_config
from room_server.setup import load_identity

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "ansible"
TOOLS = f"{ROOT}/.deploy-tools/bin:{os.environ['PATH']}"
PLAY_S_MAX = 120


def run(program: str, *words: str, home: Path) -> str:
    """What a tool says; the test is skipped where the tool is missing."""
    path = shutil.which(program, path=TOOLS)
    if path is None:
        pytest.skip(f"{program} is not installed: .ci/run does it, or pip install ansible-core ansible-lint")
    environment = {**os.environ, "PATH": f"{Path(path).parent}:{TOOLS}", "HOME": str(home), "ANSIBLE_NOCOLOR": "1"}
    environment |= {"ANSIBLE_PIPELINING": "1", "ANSIBLE_GATHERING": "explicit"}  # A second less for each task.
    done = subprocess.run(
        [path, *words], cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=PLAY_S_MAX, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def play(folder: Path) -> tuple[int, int]:
    """Run the role on this machine without privileges, below a folder: how many tasks were right, and how many changed something."""
    program = folder / "samtala"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m samtala "$@"\n')
    program.chmod(0o755)
    (folder / "units").mkdir(exist_ok=True)
    here = {
        "samtala_install": "false", "samtala_manage_service": "false", "samtala_program": str(program),
        "samtala_name": "a", "samtala_advertise": "a.example:7610", "samtala_user": str(os.getuid()),
        "samtala_group": str(os.getgid()), "samtala_data": f"{folder}/data", "samtala_units": f"{folder}/units",
        "samtala_backup_folder": f"{folder}/copies", "ansible_become": "false", "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }  # fmt: skip
    words = [word for name, value in here.items() for word in ("-e", f"{name}={value}")]
    inventory = folder / "inventory.yml"
    inventory.write_text("samtala: {hosts: {a.example: {}}}\n")
    said = run("ansible-playbook", "-i", str(inventory), "site.yml", *words, home=folder)
    counts = re.search(r"ok=(\d+)\s+changed=(\d+)", said)
    assert counts is not None, said
    return int(counts[1]), int(counts[2])


def test_lint_finds_nothing(tmp_path: Path) -> None:
    run("ansible-playbook", "-i", "inventory.example.yml", "site.yml", "--syntax-check", home=tmp_path)
    run("ansible-lint", "--offline", "--nocolor", "--strict", home=tmp_path)


def test_role_makes_a_server_that_would_start_and_then_leaves_it_alone(tmp_path: Path) -> None:
    first = play(tmp_path)
    config = load_config(tmp_path / "data" / "node.toml", overrides={}, environ={})
    key = load_identity(config).public

    assert first[1] > 0
    assert (config.name, config.advertise, config.data) == ("a", "a.example:7610", str(tmp_path / "data"))
    assert config.replica_id
    assert {path.name for path in (tmp_path / "units").iterdir()} == {
        "samtala.service", "samtala-backup.service", "samtala-backup.timer",
    }  # fmt: skip
    assert play(tmp_path)[1] == 0
    assert load_identity(config).public == key
