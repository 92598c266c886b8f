"""Official vectors of the MLS working group: where they lie, and which suites we can compute (see the README beside them)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "vectors" / "mls"

OUR_SUITE = frozenset({3})
SHA256_SUITES = frozenset({1, 3})
"""Suites 1 and 3 share SHA-256, X25519 and Ed25519; only AEAD differs."""


def load(name: str, suites: frozenset[int] | None = None) -> list[dict[str, Any]]:
    """Entries of one file, restricted to some cipher suites."""
    entries: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())
    return [entry for entry in entries if suites is None or entry["cipher_suite"] in suites]


def hex_bytes(value: str) -> bytes:
    """Bytes of a hexadecimal string."""
    return bytes.fromhex(value)
