from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from samtala.cli import main
from samtala.cli.completion import SHELLS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_is_told_how_to_ask(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_SAMTALA_COMPLETE=" in capsys.readouterr().out


def test_shell_that_asks_is_answered_with_commands() -> None:
    environment = {**os.environ, "_SAMTALA_COMPLETE": "bash_complete", "COMP_WORDS": "samtala do", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'samtala'; from samtala.cli import main; main()"],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.stdout == "plain,doctor\n", done.stderr
