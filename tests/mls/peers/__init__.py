"""Independent MLS implementations as members of our groups: ts-mls, and OpenMLS inside Wire's core-crypto.

Both come from npm, for these tests only (core-crypto is GPL-3.0: never shipped, never linked). A small script of ours per
implementation reads requests as JSON lines and answers them; one process holds all devices of that kind.
"""

from pathlib import Path
from typing import Final

PEERS: Final = {name: Path(__file__).parent / name for name in ("ts_mls", "core_crypto")}
"""Folders of the peers, by name (see `tests.npm_peers`)."""
