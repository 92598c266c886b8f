from __future__ import annotations

from pathlib import Path

import pytest

from samtala.cli import main
from samtala.cli.settings import Settings


def test_settings_hold_what_was_given() -> None:
    settings = Settings("work", Path("secret"))

    assert (settings.profile, settings.passphrase_file) == ("work", Path("secret"))


def test_the_environment_may_name_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMTALA_PROFILE", str(tmp_path / "from-environment"))

    assert main(["rooms"]) == 0

    assert (tmp_path / "from-environment" / "store.db").exists()
    assert "No rooms yet" in capsys.readouterr().err
