"""Units are such that systemd takes them, and give their programs no more than they need."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
EXPOSURE_TENTHS_MAX = "15"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
@pytest.mark.parametrize(
    "words",
    [["verify"], ["security", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}"]],
    ids=["verify", "security"],
)
def test_systemd_finds_nothing(words: list[str], unit: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed: apt install systemd")

    run = subprocess.run([analyze, *words, str(unit)], capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
