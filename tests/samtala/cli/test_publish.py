from __future__ import annotations

from pathlib import Path

import pytest

from samtala.cli import main
from tests.client.test_discovery import ROOT, SECRET, item
from wire.link import Link

LINK = Link(root_public=ROOT.public, secret=SECRET).to_text()


def test_a_record_is_handed_on_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "given"
    given.write_bytes(item(1).to_bytes())
    person = ["--profile", str(tmp_path / "me")]

    assert main([*person, "--descriptor", str(given), "room", "publish", LINK, str(tmp_path / "www")]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "www" / ".well-known" / "samtala" / item(1).target.hex()
    assert path.read_bytes() == given.read_bytes()
    assert main([*person, "--descriptor", str(path), "room", "info", LINK, "--trace"]) == 0
    assert "pasted (a descriptor file): found, version 0.1" in capsys.readouterr().out


def test_what_cannot_be_found_is_not_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", str(tmp_path / "me"), "room", "publish", LINK, str(tmp_path / "www")]) == 5
    assert "no address" in capsys.readouterr().err
    assert not (tmp_path / "www").exists()


def test_files_and_hosts_that_are_none_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person = ["--profile", str(tmp_path / "me")]

    assert main([*person, "--descriptor", str(tmp_path / "missing"), "room", "info", LINK]) == 2
    assert "missing" in capsys.readouterr().err
    assert main([*person, "--web-host", "https://x/", "room", "info", LINK]) == 2
    assert "HOST:PORT" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "given"
    given.write_bytes(item(1).to_bytes())

    arguments = ["--profile", str(tmp_path / "me"), "--descriptor", str(given), "room", "publish", LINK, str(given)]
    assert main(arguments) in {2, 7}
    assert "given" in capsys.readouterr().err
