"""What is on disk is promised to be read again: a change of its bytes must be a decision, not an accident."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from tests.vr.storage.memory_file_system import MemoryFileSystem
from vr import log
from vr.configuration import Configuration, Member
from vr.log import EntryKind, Request
from vr.messages import DoViewChange
from vr.ready import DurableState
from vr.sessions import Session
from vr.snapshot import Checkpoint
from vr.storage import frame, history
from vr.storage.errors import WrongFormat
from vr.storage.folder import Folder
from vr.storage.limits import FORMAT

STORED = (Configuration, Member, Request, DurableState, DoViewChange, Checkpoint, Session)
FINGERPRINTS = {2: "50a8b01727bb3e68", 3: "2f920875df0792ad"}
"""Of each format. A format that no release has written may still change; after that, raise FORMAT and add a line."""


def fingerprint() -> str:
    """Everything that says how bytes on disk are laid out."""
    lines = [
        f"{kind.__name__} {[(part.name, str(part.type)) for part in msgspec.structs.fields(kind)]}" for kind in STORED
    ]
    lines += [entry_kind.name for entry_kind in EntryKind] + [record_kind.name for record_kind in frame.RecordKind]
    lines += [log._HEAD.format, frame._FIELDS.format, frame._RECORD.format, frame._CRC.format, history._SCHEMA]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_what_is_stored_changes_only_together_with_its_format() -> None:
    assert fingerprint() == FINGERPRINTS[FORMAT], "the bytes on disk have changed: see FINGERPRINTS"


@pytest.mark.parametrize("line", ["", "format 1\n", f"format {FORMAT + 1}\n", "format x\n"])
def test_a_folder_of_another_format_is_refused_and_left_alone(line: str) -> None:
    files = MemoryFileSystem()
    content = f"{bytes(16).hex()}\n{line}".encode()
    files.open("data/replica_id", create=True).write_at(0, content)

    with pytest.raises(WrongFormat, match="Run the version that wrote it"):
        Folder.open(files, "data")

    file = files.open("data/replica_id")
    assert file.read_at(0, file.size()) == content
