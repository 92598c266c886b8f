"""A disk that is really full: a small tmpfs in a mount namespace of the test's own (skipped where that is not allowed)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = "24m"


def test_a_full_disk_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs mount namespaces")
    mount = f'mount -t tmpfs -o size={SIZE} tmpfs "$1"'
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*namespace, mount, "sh", tmp_path], check=False, capture_output=True).returncode != 0:
        pytest.skip("may not mount a tmpfs in a namespace of its own")
    child = f'{mount} && exec "$2" -m tests.vr.host.full_disk "$1"'
    done = subprocess.run(
        [*namespace, child, "sh", tmp_path, sys.executable], check=False, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "full disk survived" in done.stdout
