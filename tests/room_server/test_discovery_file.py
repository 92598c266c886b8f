from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dht.items import sign_item_with_seed
from room_server import limits
from room_server.discovery_file import DiscoveryFile, Remembered

RECORD = sign_item_with_seed(b"o" * 32, seq=3, value=b"where the room is")
REMEMBERED = Remembered(nodes=(("192.0.2.1", 7610), ("2001:db8::1", 7611)), records=(RECORD.to_bytes(),))


def test_what_was_saved_is_loaded_and_replaced(tmp_path: Path) -> None:
    file = DiscoveryFile(tmp_path)

    assert file.load() == Remembered()
    file.save(REMEMBERED)
    assert file.load() == REMEMBERED
    file.save(Remembered())
    assert file.load() == Remembered()
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name]


@pytest.mark.parametrize("place", [0, 5, -1])
def test_a_damaged_file_is_ignored_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    file = DiscoveryFile(tmp_path)
    file.save(REMEMBERED)
    data = bytearray(file.path.read_bytes())
    data[place] ^= 1
    file.path.write_bytes(data)

    assert file.load() == Remembered()
    assert "discovery_file_ignored" in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"abc", b"\0" * (limits.DISCOVERY_FILE_BYTES_MAX + 1)])
def test_a_file_that_was_cut_or_is_something_else_is_ignored(tmp_path: Path, data: bytes) -> None:
    file = DiscoveryFile(tmp_path)
    file.path.write_bytes(data)

    assert file.load() == Remembered()


def test_a_folder_that_cannot_be_written_costs_the_memory_only(tmp_path: Path) -> None:
    file = DiscoveryFile(tmp_path / "missing")

    file.save(REMEMBERED)

    assert file.load() == Remembered()


def test_a_record_that_is_not_signed_is_left_out() -> None:
    forged = msgspec.structs.replace(RECORD, seq=9)

    assert Remembered(records=(RECORD.to_bytes(), forged.to_bytes(), b"garbage")).items() == {RECORD.target: RECORD}
