"""What storage may raise. Bad bytes on disk are never an assertion: they are reported, or one of these.

```
StorageError
├── StoragePoisoned      a write or sync failed once: nothing may be acknowledged any more, end the process
├── RecordTooLarge       one record does not fit a segment (a caller's bound is wrong)
├── FolderInUse          another process holds this data folder
├── FolderEmpty          an empty folder under an identity that must not start empty (lost disk: replace the node)
├── WrongFolder          the folder belongs to another identity
├── WrongFormat          another version of this program wrote the folder
└── HistoryUnusable      the history database cannot be opened, read or written
```
"""

from __future__ import annotations

# ruff: noqa: N818 - these names read as what happened (`except StoragePoisoned`)
from vr.errors import VRError


class StorageError(VRError):
    """Base of everything storage raises."""


class StoragePoisoned(StorageError):
    """A write or sync failed. What the disk holds is unknown, so this process must not acknowledge anything again.

    Trying once more would lie: the kernel marks pages clean after a failed sync (Rebello et al., ATC 2020).
    """


class RecordTooLarge(StorageError):
    """One record is larger than a whole segment; nothing was written."""


class FolderInUse(StorageError):
    """Another process holds the lock of this data folder."""


class FolderEmpty(StorageError):
    """The folder is empty but its identity is known to others; starting would forget promises."""


class WrongFolder(StorageError):
    """The folder holds another replica's identity than the expected one, or an unreadable one."""


class WrongFormat(StorageError):
    """The folder's bytes have another format than this program's: reading them would misread promises."""


class HistoryUnusable(StorageError):
    """SQLite could not open, read or write the history database."""
