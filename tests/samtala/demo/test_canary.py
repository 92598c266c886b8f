"""A search that cannot find is worse than none: each form is planted and found."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from samtala.demo.canary import SCAN_BYTES, hits_in, hits_in_folder, needles

CANARY = "canary-7f3a9c21d4"
RAW = CANARY.encode()


@pytest.mark.parametrize(
    "planted",
    [
        RAW,
        b'{"text": "' + RAW + b'"}',
        RAW.hex().encode(),
        RAW.hex().upper().encode(),
        base64.b64encode(b"" + RAW + b" and more"),
        base64.b64encode(b"x" + RAW + b" and more"),
        base64.b64encode(b"xy" + RAW + b" and more"),
        base64.urlsafe_b64encode(b"xy\xff\xff" + RAW),
    ],
)
def test_every_planted_form_is_found(planted: bytes) -> None:
    assert hits_in(planted, needles(CANARY)) >= 1


def test_other_words_are_no_hit() -> None:
    assert hits_in(b"canary-0000000000" + bytes(1000), needles(CANARY)) == 0


def test_files_below_a_folder_are_searched_across_pieces(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log").write_bytes(bytes(SCAN_BYTES - 5) + RAW + bytes(10))
    (tmp_path / "clean").write_bytes(bytes(100))

    assert hits_in_folder(tmp_path, needles(CANARY)) == 1
