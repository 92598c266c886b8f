"""A search that cannot find is worse than none: each form is planted and found."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from samtala.demo.canary import SCAN_BYTES, hits_in, hits_in_folder, hits_in_memory, needles

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


_HOLDER = """
import sys
secret = bytes(5_000_000) + bytes.fromhex(sys.argv[1]) + bytes(5_000_000) if len(sys.argv) > 1 else b""
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory of other processes is read through /proc")
@pytest.mark.parametrize("holds_it", [True, False])
def test_memory_of_another_process_is_searched(holds_it: bool) -> None:
    canary = b"\xf0raw bytes, of a key\x01"
    # Reversed on the way, so that the argument itself is no hit.
    code = _HOLDER.replace("bytes.fromhex(sys.argv[1])", "bytes.fromhex(sys.argv[1][::-1])")
    arguments = [canary.hex()[::-1]] if holds_it else []
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()

        hits = hits_in_memory(process.pid, needles(canary))

        process.stdin.close()
    assert (hits > 0) == holds_it
