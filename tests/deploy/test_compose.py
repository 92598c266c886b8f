"""Compose takes the file, and the image has all that the program is made of."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def validate(path: Path) -> int:
    words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run([sys.executable, *words], capture_output=True, timeout=60, check=False).returncode


def test_file_is_as_the_schema_says(tmp_path: Path) -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed: make lint")
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((FOLDER / "compose.yaml").read_text().replace("healthcheck:", "healthchekc:"))

    assert validate(FOLDER / "compose.yaml") == 0
    assert validate(wrong) != 0


def test_image_has_every_package_and_nothing_that_is_not_there() -> None:
    copied = re.findall(r"^COPY ([^-].*) \S+$", DOCKERFILE, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert set(packages["packages"]) <= set(names)
    assert all((ROOT / name).exists() for name in names)


def test_health_is_a_loop_that_turns_and_the_end_is_a_drain() -> None:
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["samtala"]

    assert "/livez" in " ".join(service["healthcheck"]["test"])
    assert service["stop_grace_period"] == "60s"
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE
    assert re.search(r"^USER 65532$", DOCKERFILE, re.MULTILINE)
    assert (ROOT / service["build"]["dockerfile"]).exists()
