"""A short run on hosts of their own, where the machine permits it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.multihost.network import why_not

pytestmark = [pytest.mark.multihost, pytest.mark.process]
SKIP_REASON = why_not()
RUN_S_MAX = 200
"""On a machine that does other things too; alone it takes a tenth of that."""


@pytest.mark.skipif(bool(SKIP_REASON), reason=SKIP_REASON)
def test_promises_hold_while_hosts_die_fall_silent_and_stand_still(tmp_path: Path) -> None:
    kinds = "kill_primary,silent_primary,stop_primary,part_minority,kill_majority,client"
    command = [sys.executable, "-m", "tests.multihost", "--rounds", "5", "--seed", "5", "--servers", "3", "--hold", "1"]

    done = subprocess.run(
        [*command, "--kinds", kinds, "--keep", str(tmp_path)],
        capture_output=True, text=True, timeout=RUN_S_MAX, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout)["account"]
    assert account["acked"] > 0
    assert not any(account[figure] for figure in ("lost", "duplicated", "reordered", "overtaken", "undead"))
