"""What a node's data folder remembers of its copies: when the newest was made, and the newest that was found whole.

`samtala backup create|verify` write it whether the node runs or not, whoever asks it reads it anew: nothing has to reach the
other, and a restart forgets nothing. A copy knows nothing of this file, so a server that is brought back begins without.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from room_server.errors import BackupError

STATE_NAME: Final = "backup.json"
_READABLE: Final = 0o644
"""Who may enter the data folder may read it: backups may run as another user than the node."""


class BackupState(msgspec.Struct, frozen=True, kw_only=True):
    """Unix microseconds, 0: never. `verified_us`: when the newest copy that was found whole was made, not looked at."""

    made_us: int = 0
    verified_us: int = 0


def read_backup_state(data: str) -> BackupState:
    """What is remembered; nothing if the file is missing or damaged: the next copy writes it again."""
    try:
        return msgspec.json.decode((Path(data) / STATE_NAME).read_bytes(), type=BackupState)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return BackupState()


def note_backup(data: str, *, made_us: int, is_verified: bool = False) -> None:
    """Remember a copy, if it is newer than what is remembered.

    Raises:
        BackupError: the data folder cannot be written; it remembers what it did.
    """
    before = read_backup_state(data)
    state = BackupState(
        made_us=max(before.made_us, made_us),
        verified_us=max(before.verified_us, made_us if is_verified else 0),
    )
    path = Path(data) / STATE_NAME
    draft = path.with_name(f"{STATE_NAME}.{os.getpid()}.new")
    try:
        draft.write_bytes(msgspec.json.encode(state))
        draft.chmod(_READABLE)
        draft.replace(path)
    except OSError as error:
        raise BackupError(f"{data} cannot remember the copy: {error.strerror}") from error
