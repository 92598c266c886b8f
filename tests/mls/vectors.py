"""Official vectors of the MLS working group: where they lie, and which suites we can compute (see the README beside them).

`python -m tests.mls.vectors` runs all tests that take a vector, and counts by file. A vector passes if all its tests do.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "vectors" / "mls"

OUR_SUITE = frozenset({3})
SHA256_SUITES = frozenset({1, 3})
"""Suites 1 and 3 share SHA-256, X25519 and Ed25519; only AEAD differs."""


class Vector(dict[str, Any]):
    """One entry of a file; it remembers where it stood."""

    file: str
    number: int


def load(name: str, suites: frozenset[int] | None = None) -> list[dict[str, Any]]:
    """Entries of one file, restricted to some cipher suites."""
    found: list[dict[str, Any]] = []
    for number, entry in enumerate(json.loads((FOLDER / f"{name}.json").read_text())):
        vector = Vector(entry)
        vector.file, vector.number = name, number
        if suites is None or entry["cipher_suite"] in suites:
            found.append(vector)
    return found


def hex_bytes(value: str) -> bytes:
    """Bytes of a hexadecimal string."""
    return bytes.fromhex(value)


class Tally:
    """A pytest plugin: which vectors were tried, and which failed."""

    def __init__(self) -> None:
        self.vector_of: dict[str, tuple[str, int]] = {}
        self.tried: dict[str, set[int]] = defaultdict(set)
        self.failed: dict[str, set[int]] = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that take a vector."""
        for item in items:
            for value in item.callspec.params.values() if hasattr(item, "callspec") else ():
                if type(value).__name__ == Vector.__name__:
                    self.vector_of[item.nodeid] = (value.file, value.number)
        items[:] = [item for item in items if item.nodeid in self.vector_of]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one test."""
        if report.when == "call" or report.failed:
            file, number = self.vector_of[report.nodeid]
            self.tried[file].add(number)
            if not report.passed:
                self.failed[file].add(number)


def main() -> int:
    """Run, print the table; 1 if a vector of our suite failed or was not tried."""
    tally = Tally()
    with contextlib.redirect_stdout(io.StringIO()):
        status = pytest.main(["-q", "-p", "no:cacheprovider", str(Path(__file__).parent)], plugins=[tally])
    missing = 0
    print(f"{'file':36}{'in file':>9}{'for us':>9}{'passed':>9}")
    for path in sorted(FOLDER.glob("*.json")):
        entries = json.loads(path.read_text())
        ours = {at for at, entry in enumerate(entries) if entry.get("cipher_suite", 3) in OUR_SUITE}
        ours |= tally.tried[path.stem]
        passed = tally.tried[path.stem] - tally.failed[path.stem]
        missing += len(ours - passed)
        print(f"{path.stem:36}{len(entries):9}{len(ours):9}{len(passed):9}")
    print("for us: of suite 3, of no suite, and those of suite 1 that need no AES")
    return 1 if missing or status else 0


if __name__ == "__main__":
    sys.exit(main())
