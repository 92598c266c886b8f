"""The unit is one that systemd takes, and that gives the node no more than it needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "samtala.service"
EXPOSURE_TENTHS_MAX = "15"


@pytest.mark.parametrize(
    "words",
    [["verify"], ["security", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}"]],
    ids=["verify", "security"],
)
def test_systemd_finds_nothing(words: list[str]) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed: apt install systemd")

    run = subprocess.run([analyze, *words, str(UNIT)], capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
