"""The Debian package has the program, its units and nothing that is not meant; libraries come from the tests' own Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "debian"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without libraries: to fetch them takes too long for every run."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed: this is not Debian")
    folder = tmp_path_factory.mktemp("package")
    (folder / "none").mkdir()
    environment = {**os.environ, "LIBRARIES": f"{folder}/none"}
    subprocess.run([str(FOLDER / "build"), str(folder)], env=environment, capture_output=True, timeout=60, check=True)
    [found] = folder.glob("*.deb")
    return found


def test_program_runs_from_where_it_is_unpacked(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", str(package), str(tmp_path)], timeout=60, check=True)
    script = f"import runpy, sys; sys.path.append({sysconfig.get_path('purelib')!r}); runpy.run_path('usr/bin/samtala', run_name='__main__')"

    said = subprocess.run(
        [sys.executable, "-I", "-v", "-c", script, "version"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert said.stdout.startswith("samtala ")
    assert f"{tmp_path}/usr/lib/samtala/samtala/cli/version.py" in said.stderr


def test_contents_are_meant(package: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    files = {line.split()[-1]: line.split()[:2] for line in listed.splitlines()}

    assert {f"./lib/systemd/system/{unit.name}" for unit in (ROOT / "deploy/systemd").iterdir()} <= set(files)
    assert {tuple(about[1:]) for about in files.values()} == {("root/root",)}
    assert not [name for name in files if "__pycache__" in name or "/tests/" in name]
    assert files["./usr/bin/samtala"][0] == "-rwxr-xr-x"


def test_maintainer_scripts_are_good_shell() -> None:
    for name in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", str(FOLDER / name)], timeout=60, check=True)
