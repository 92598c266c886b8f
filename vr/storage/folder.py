"""The data folder: who owns it, and which replica it is.

```
 data/ lock        held by the running process
       replica_id  32 hexadecimal digits, made once; never reused: a lost disk means a new member (vr.md 1);
                   then a line `format N`: which bytes everything else here is made of
       wal/        the write-ahead log
       history.db  committed history
```
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable

from vr.storage.errors import FolderEmpty, WrongFolder, WrongFormat
from vr.storage.file_system import FileSystem, Lock
from vr.storage.limits import FORMAT, REPLICA_ID_BYTES
from vr.types import ReplicaId

LOCK_NAME = "lock"
REPLICA_ID_NAME = "replica_id"
LOG_NAME = "wal"
HISTORY_NAME = "history.db"
_FORMAT_LINE = f"format {FORMAT}"


class Folder:
    """A locked data folder. Make it with `open`; `close` gives the lock back."""

    def __init__(self, path: str, lock: Lock, replica_id: ReplicaId) -> None:
        self.path = path
        self.replica_id = replica_id
        self._lock = lock

    @classmethod
    def open(
        cls,
        file_system: FileSystem,
        path: str,
        *,
        expected: ReplicaId | None = None,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> Folder:
        """Lock the folder and read or make its identity; `expected` is what others know this node by.

        Raises:
            FolderInUse: another process runs on it.
            FolderEmpty: no identity here, though one is expected: the disk was lost, or this is the wrong path.
            WrongFolder: another identity, or an unreadable one.
            WrongFormat: another version of this program wrote it.
            OSError: the disk refused.
        """
        file_system.make_directory(path)
        lock = file_system.lock(f"{path}/{LOCK_NAME}")
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            replica_id = read_replica_id(file_system, path)
            if replica_id is None and expected is not None:
                raise FolderEmpty(
                    f"{path} is empty, but others know this node as {expected.hex()}; starting it would forget what it"
                    " promised. If the disk was lost, replace the node: it joins under a new identity"
                )
            if replica_id is None:
                replica_id = _make_replica_id(file_system, path, entropy)
            elif expected not in (None, replica_id):
                raise WrongFolder(f"{path} belongs to replica {replica_id.hex()}, not to the expected one")
            undo.pop_all()
        return cls(path, lock, replica_id)

    @property
    def log_path(self) -> str:
        """Folder of the write-ahead log."""
        return f"{self.path}/{LOG_NAME}"

    @property
    def history_path(self) -> str:
        """File of the history database."""
        return f"{self.path}/{HISTORY_NAME}"

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.release()


def read_replica_id(file_system: FileSystem, path: str) -> ReplicaId | None:
    """Whose folder it is; None if nobody's yet. Looks only: neither locks nor makes anything.

    Raises:
        WrongFolder: an unreadable identity, or a log without one.
        WrongFormat: another version of this program wrote it.
        OSError: the disk refused.
    """
    names = file_system.list(path)
    if REPLICA_ID_NAME not in names:
        if LOG_NAME in names and file_system.list(f"{path}/{LOG_NAME}"):
            raise WrongFolder(f"{path} holds a log but no {REPLICA_ID_NAME} file; restore it from the node's output")
        return None
    file = file_system.open(f"{path}/{REPLICA_ID_NAME}")
    text = file.read_at(0, file.size())
    file.close()
    lines = text.decode("ascii", errors="replace").splitlines()
    try:
        replica_id = bytes.fromhex(lines[0].strip())
    except (ValueError, IndexError) as error:
        raise WrongFolder(f"{path}/{REPLICA_ID_NAME} is unreadable; it should be 32 hexadecimal digits") from error
    if len(replica_id) != REPLICA_ID_BYTES:
        raise WrongFolder(f"{path}/{REPLICA_ID_NAME} is unreadable; it should be 32 hexadecimal digits")
    written_in = lines[1] if len(lines) > 1 else "format 1"
    if written_in != _FORMAT_LINE:
        raise WrongFormat(
            f"{path} is in {written_in!r}, and this program reads {_FORMAT_LINE!r}. Run the version that wrote it, or replace"
            " the node: it joins under a new identity and fetches what the others hold"
        )
    return ReplicaId(replica_id)


def _make_replica_id(file_system: FileSystem, path: str, entropy: Callable[[int], bytes]) -> ReplicaId:
    """Durable before anybody hears it."""
    replica_id = ReplicaId(entropy(REPLICA_ID_BYTES))
    temporary = f"{path}/{REPLICA_ID_NAME}.tmp"
    file = file_system.open(temporary, create=True)
    file.write_at(0, f"{replica_id.hex()}\n{_FORMAT_LINE}\n".encode("ascii"))
    file.sync()
    file.close()
    file_system.rename(temporary, f"{path}/{REPLICA_ID_NAME}")
    file_system.sync_directory(path)
    return replica_id
