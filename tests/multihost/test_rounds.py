"""Short runs on hosts of their own, where the machine permits it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from samtala.demo.story import Report
from tests.multihost.network import why_not

pytestmark = [pytest.mark.multihost, pytest.mark.process]
SKIP_REASON = why_not()
RUN_S_MAX = 280
"""On a machine that does other things too; alone it takes a tenth of that."""


def run(folder: Path, *arguments: str) -> str:
    """Standard output of a run that kept every promise."""
    command = [sys.executable, "-m", "tests.multihost", "--servers", "3", "--hold", "1", "--keep", str(folder)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(bool(SKIP_REASON), reason=SKIP_REASON)
def test_promises_hold_while_hosts_die_fall_silent_and_stand_still(tmp_path: Path) -> None:
    kinds = "kill_primary,silent_primary,stop_primary,part_minority,kill_majority,client"

    account = json.loads(run(tmp_path, "--rounds", "4", "--seed", "5", "--kinds", kinds))["account"]

    assert account["acked"] > 0
    assert not any(account[figure] for figure in ("lost", "duplicated", "reordered", "overtaken", "undead"))


@pytest.mark.skipif(bool(SKIP_REASON), reason=SKIP_REASON)
def test_two_people_can_read_everything_that_was_said_meanwhile(tmp_path: Path) -> None:
    output = run(tmp_path, "--people", "--rounds", "2", "--seed", "5", "--kinds", "kill_primary,silent_primary")

    report = msgspec.convert(json.loads(output)["story"], Report)
    assert report.acked > 0
    assert (report.lost, report.undecryptable, report.plaintext_hits) == (0, 0, 0)


@pytest.mark.skipif(bool(SKIP_REASON), reason=SKIP_REASON)
def test_room_goes_from_three_servers_to_five_and_to_three_others_while_people_write(tmp_path: Path) -> None:
    kinds = ("--kinds", "grow,move,shrink", "--seed", "21")

    told = json.loads(run(tmp_path, "--servers", "6", "--rounds", "3", *kinds, "--hold", "0.2"))

    assert set(told["gaps"]) == {"grow", "shrink", "move"}
    assert told["account"]["acked"] > 0
    assert not any(told["account"][figure] for figure in ("lost", "duplicated", "reordered", "overtaken", "undead"))
    assert told["account"]["unknown"] == 0
