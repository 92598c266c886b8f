"""Does anything that people wrote lie readable on the servers?

A canary is a random word that every message of the demo contains. The search looks for it raw, in hexadecimal and in
base64 (all three alignments), in whatever the servers keep or tell: memory, data folders, logs, metrics.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

SCAN_BYTES = 1 << 20
"""Files are read in pieces of this size, overlapping by the longest needle."""


def needles(canary: str | bytes) -> list[bytes]:
    """Every form in which `canary` is searched for. Base64 forms leave out the characters that neighbours change."""
    raw = canary.encode() if isinstance(canary, str) else canary
    forms = {raw, raw.hex().encode(), raw.hex().upper().encode(), raw[::-1]}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        forms.add(encoded[(0, 2, 3)[shift] : -4])
        forms.add(base64.urlsafe_b64encode(b"\0" * shift + raw)[(0, 2, 3)[shift] : -4])
    return sorted(form for form in forms if len(form) >= 8)


def hits_in(data: bytes, forms: Iterable[bytes]) -> int:
    """Occurrences of any form in `data`."""
    return sum(data.count(form) for form in forms)


def hits_in_memory(pid: int, forms: list[bytes]) -> int:
    """Occurrences of any form in all readable memory of a process (Linux): a core dump without the file.

    Raises:
        OSError: it is gone, or not ours to look at.
    """
    overlap = max(len(form) for form in forms) - 1
    hits = 0
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            place, rights, *_ = line.split()
            if rights.startswith("r") and not line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                start, end = (int(edge, 16) for edge in place.split("-"))
                hits += _hits_in_region(memory, start, end, forms=forms, overlap=overlap)
    return hits


def _hits_in_region(memory: FileIO, start: int, end: int, *, forms: list[bytes], overlap: int) -> int:
    hits, tail = 0, b""
    memory.seek(start)
    while start < end:
        try:
            piece = memory.read(min(SCAN_BYTES, end - start))
        except OSError:
            break  # Unmapped meanwhile, or a device.
        if not piece:
            break
        hits += hits_in(tail + piece, forms) - hits_in(tail, forms)
        tail = (tail + piece)[-overlap:]
        start += len(piece)
    return hits


def hits_in_folder(folder: Path, forms: list[bytes]) -> int:
    """Occurrences of any form in all files below `folder`, sizes bounded by reading in pieces."""
    overlap = max(len(form) for form in forms) - 1
    hits = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        with path.open("rb") as file:
            tail = b""
            while piece := file.read(SCAN_BYTES):
                hits += hits_in(tail + piece, forms) - hits_in(tail, forms)
                tail = (tail + piece)[-overlap:]
    return hits
