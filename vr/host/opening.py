"""Opening and closing what the host keeps on disk; runs in a worker thread."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from vr.configuration import Configuration
from vr.errors import DecodeError
from vr.host.embedder import HostOptions
from vr.host.errors import GroupDamaged
from vr.host.restore import restore_group
from vr.replica import Restored
from vr.storage.file_system import FileSystem
from vr.storage.folder import Folder
from vr.storage.history import History, StoredGroup
from vr.storage.recovery import Recovery
from vr.storage.write_ahead_log import WriteAheadLog, WriteAheadLogOptions
from vr.types import GroupId


class OpenStorage(msgspec.Struct, kw_only=True):
    """An open data folder and what it holds. `damaged` groups cannot run; the reason says why."""

    folder: Folder
    log: WriteAheadLog
    history: History
    restored: Sequence[tuple[StoredGroup, Restored]]
    damaged: dict[GroupId, str]
    notes: dict[GroupId, list[bytes]]
    report: list[str]

    def close(self) -> None:
        """Give everything back, the lock last. The log belongs to the writer, once there is one."""
        with contextlib.ExitStack() as closing:
            closing.callback(self.folder.close)
            closing.callback(self.history.close)
            closing.callback(self.log.close)


def open_storage(file_system: FileSystem, path: str, *, options: HostOptions) -> OpenStorage:
    """Lock the folder, recover the log, open history, put every group together.

    Raises:
        FolderInUse, FolderEmpty, WrongFolder, StoragePoisoned, HistoryUnusable, OSError
    """
    with contextlib.ExitStack() as undo:
        folder = Folder.open(file_system, path, expected=options.expected_replica_id)
        undo.callback(folder.close)
        log_options = WriteAheadLogOptions(segment_bytes=options.segment_bytes)
        log, recovery = WriteAheadLog.open(file_system, folder.log_path, options=log_options)
        undo.callback(log.close)
        history = History.open(folder.history_path)
        undo.callback(history.close)
        restored: list[tuple[StoredGroup, Restored]] = []
        damaged: dict[GroupId, str] = {}
        for stored in history.groups():
            try:
                _check_configuration(stored, folder)
                restored.append((stored, restore_group(stored, recovery.groups.get(stored.group), history)))
            except GroupDamaged as error:
                damaged[stored.group] = str(error)
        known = {stored.group for stored in history.groups()} | history.forgotten_groups()
        damaged |= _forgotten(recovery, known=known)
        notes = history.notes()
        undo.pop_all()
    return OpenStorage(
        folder=folder,
        log=log,
        history=history,
        restored=restored,
        damaged=damaged,
        notes=notes,
        report=[*recovery.report, *damaged.values()],
    )


def _forgotten(recovery: Recovery, *, known: set[GroupId]) -> dict[GroupId, str]:
    """Groups that promised something, of which history knows no configuration.

    Creating one anew would forget the promises. One that was born and whose creation was not finished may be created.
    """
    return {
        group: f"the log holds promises of group {group.hex()} but history does not know it: was history.db lost?"
        for group, recovered in recovery.groups.items()
        if group not in known and (recovered.meta is not None or recovered.meta_faulty or recovered.entries)
    }


def _check_configuration(stored: StoredGroup, folder: Folder) -> None:
    try:
        configuration = Configuration.from_bytes(stored.configuration)
    except DecodeError as error:
        raise GroupDamaged(f"the configuration of group {stored.group.hex()} has rotted") from error
    if configuration.index_of(folder.replica_id) is None:
        raise GroupDamaged(f"group {stored.group.hex()} does not name this replica: is history.db another node's?")
