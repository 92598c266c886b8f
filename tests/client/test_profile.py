from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from client.errors import PreconditionError, UsageError
from client.profile import open_profile, profile_folder
from client.store import StoreDamagedError

ROOT = Path(__file__).parent.parent.parent


def test_a_word_names_a_folder_of_the_person_and_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert profile_folder("work").name == "work"
    assert profile_folder("work").parent == profile_folder().parent
    assert profile_folder().name == "default"
    assert profile_folder(tmp_path) == tmp_path
    assert profile_folder("some/where") == Path("some/where")
    assert profile_folder(".") == Path()


def test_a_profile_is_made_private_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "me"
    with open_profile(folder) as store:
        store.put("x", b"1")

    with open_profile(folder) as store:
        assert store.get("x") == b"1"

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "store.key").stat().st_mode & 0o777 == 0o600
    assert not list(folder.glob("*.new"))


def test_a_passphrase_opens_what_it_closed(tmp_path: Path) -> None:
    with open_profile(tmp_path, passphrase="correct horse") as store:
        store.put("x", b"1")

    with open_profile(tmp_path, passphrase="correct horse") as store:
        assert store.get("x") == b"1"
    with (
        pytest.raises(StoreDamagedError, match="another key or passphrase"),
        open_profile(tmp_path, passphrase="wrong"),
    ):
        pass
    with pytest.raises(UsageError, match="has a passphrase"), open_profile(tmp_path):
        pass
    assert not (tmp_path / "store.key").exists()


def test_a_passphrase_for_a_profile_without_one_is_refused(tmp_path: Path) -> None:
    with open_profile(tmp_path):
        pass

    with pytest.raises(UsageError, match="has no passphrase"), open_profile(tmp_path, passphrase="x"):
        pass


def test_a_key_that_others_can_read_is_refused_with_the_mending_command(tmp_path: Path) -> None:
    with open_profile(tmp_path):
        pass
    (tmp_path / "store.key").chmod(0o644)

    with pytest.raises(PreconditionError, match="chmod 600"), open_profile(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "abcd", "not hex at all", "ab" * 31])
def test_a_damaged_key_is_said_to_be_so(tmp_path: Path, content: str) -> None:
    with open_profile(tmp_path):
        pass
    (tmp_path / "store.key").write_text(content)

    with pytest.raises(StoreDamagedError), open_profile(tmp_path):
        pass


def test_a_lost_key_is_said_to_be_so_and_no_new_one_is_made(tmp_path: Path) -> None:
    with open_profile(tmp_path):
        pass
    (tmp_path / "store.key").unlink()

    with pytest.raises(StoreDamagedError, match="missing"), open_profile(tmp_path):
        pass
    assert not (tmp_path / "store.key").exists()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(PreconditionError, match="cannot be used"), open_profile(tmp_path / "file" / "me"):
        pass


@pytest.mark.process
def test_another_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with open_profile(tmp_path):
        script = "import sys, pathlib\nfrom client.profile import open_profile\nopen_profile(pathlib.Path(sys.argv[1])).__enter__()"
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], check=False, cwd=ROOT, capture_output=True, text=True
        )

        assert f"in use by process {os.getpid()}" in done.stderr
