"""Committed history in SQLite: what the log no longer has to hold, and what operators may look into with their own tools.

```
 groups       number, group, configuration, genesis         without a configuration: it was hosted here once
 entries      group number, op, mark, entry, results        every committed operation, once, ascending
 checkpoints  group number, op, checkpoint, hash            the newest two of each group
 notes        group number, note, data                      an embedder's own, kept when the group is forgotten
 parts        group number, number, offer, data             chunks of one snapshot on its way here
```

Written from one worker thread at a time. Appends are not synced by themselves; `create_group` and `save_checkpoint` are,
and with them everything appended before (the journal is one file), so a checkpoint on the platter implies the history up
to it: only then may the log be released. Entries carry their own hashes; checkpoints get one here, since SQLite's pages
have none. Losing unsynced history is harmless: the log still holds it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence

import msgspec

from vr.configuration import Configuration
from vr.ready import CommittedOp, EpochEnd, SnapshotPart
from vr.replica import Checkpoint
from vr.storage.errors import HistoryUnusable
from vr.storage.limits import HISTORY_READ_BYTES_MAX
from vr.types import Checksum, GroupId, OpNumber

_SCHEMA = """
CREATE TABLE IF NOT EXISTS groups (
    number INTEGER PRIMARY KEY, group_id BLOB NOT NULL UNIQUE, configuration BLOB NOT NULL, genesis BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS beginnings (
    group_number INTEGER PRIMARY KEY, op INTEGER NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    group_number INTEGER NOT NULL, op INTEGER NOT NULL, mark INTEGER NOT NULL, entry BLOB NOT NULL, results BLOB NOT NULL,
    PRIMARY KEY (group_number, op)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entries_by_mark ON entries (group_number, mark);
CREATE TABLE IF NOT EXISTS checkpoints (
    group_number INTEGER NOT NULL, op INTEGER NOT NULL, checkpoint BLOB NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (group_number, op)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (
    group_number INTEGER NOT NULL, note INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (group_number, note)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    group_number INTEGER NOT NULL, number INTEGER NOT NULL, offer BLOB NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (group_number, number));
"""
_CHECKPOINTS_KEPT = 2
_results_decoder = msgspec.msgpack.Decoder(list[bytes])
_checkpoint_decoder = msgspec.msgpack.Decoder(Checkpoint)


class StoredGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group: the encoded configuration that holds, and the bytes its service starts from.

    `began`: the stop sign behind which that configuration began, if this replica saw it.
    """

    group: GroupId
    configuration: bytes
    genesis: bytes
    began: tuple[OpNumber, Checksum] | None = None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A committed operation. `mark` is the service's mark after it; `results` one per request that was applied."""

    op: OpNumber
    mark: int
    entry: bytes
    results: list[bytes]


class History:
    """The history database of one data folder. Make it with `open`; every method may raise HistoryUnusable."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[GroupId, int] = {}

    @classmethod
    def open(cls, path: str) -> History:
        """Open or make the database file at `path`."""
        with _translated():
            # Autocommit: transactions are begun by hand. Threads take turns, the host sees to that.
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
            history = cls(connection)
            history._numbers = {
                GroupId(group): number for number, group in connection.execute("SELECT number, group_id FROM groups")
            }
            return history

    @classmethod
    def look(cls, path: str) -> History:
        """Open it to look at only, as it is now, while the node runs or not: one snapshot for everything that is read."""
        with _translated():
            history = cls(look_into(path))
            history._connection.execute("BEGIN")
            history._numbers = {
                GroupId(group): number
                for number, group in history._connection.execute("SELECT number, group_id FROM groups")
            }
            return history

    def close(self) -> None:
        """Close the database; idempotent."""
        with _translated():
            self._connection.close()

    # --- groups -----------------------------------------------------------------------------------------------------

    def create_group(self, group: StoredGroup) -> None:
        """Remember a group; durable when this returns. Nothing when it exists and was not forgotten."""
        with self._transaction(synced=True):
            cursor = self._connection.execute(
                "INSERT INTO groups (group_id, configuration, genesis) VALUES (?1, ?2, ?3) ON CONFLICT (group_id)"
                " DO UPDATE SET configuration = ?2, genesis = ?3 WHERE configuration = x'' RETURNING number",
                (group.group, group.configuration, group.genesis),
            )
            rows = cursor.fetchall()
        if rows:
            self._numbers[group.group] = rows[0][0]

    def begin_epoch(self, group: GroupId, end: EpochEnd | None, notes: Sequence[tuple[int, bytes]]) -> None:
        """Another configuration holds from now on, if an end is given; notes of that are kept with it. Durable at once."""
        number = self._number(group)
        with self._transaction(synced=True):
            for note, data in notes:
                self._keep_note(number, note, data)
            if end is not None:
                self._connection.execute(
                    "UPDATE groups SET configuration = ? WHERE number = ?", (end.configuration.to_bytes(), number)
                )
                self._connection.execute(
                    "INSERT OR REPLACE INTO beginnings VALUES (?, ?, ?)", (number, end.op, end.checksum)
                )

    def force_epoch(self, group: GroupId, configuration: Configuration, notes: Sequence[tuple[int, bytes]]) -> None:
        """As `begin_epoch`, without a stop sign to begin behind: somebody decided it (`vr.host.forced_epoch`)."""
        number = self._number(group)
        with self._transaction(synced=True):
            for note, data in notes:
                self._keep_note(number, note, data)
            self._connection.execute(
                "UPDATE groups SET configuration = ? WHERE number = ?", (configuration.to_bytes(), number)
            )
            for table in ("beginnings", "parts"):
                self._connection.execute(f"DELETE FROM {table} WHERE group_number = ?", (number,))  # noqa: S608 - fixed

    def forget_group(self, group: GroupId) -> None:
        """The group is not hosted here any more: keep that it was, and its notes; durable when this returns.

        What the log still holds of it then counts for nothing.
        """
        number = self._number(group)
        with self._transaction(synced=True):
            for table in ("entries", "checkpoints", "parts", "beginnings"):
                self._connection.execute(f"DELETE FROM {table} WHERE group_number = ?", (number,))  # noqa: S608 - fixed
            self._connection.execute("UPDATE groups SET configuration = x'', genesis = x'' WHERE number = ?", (number,))

    def groups(self) -> list[StoredGroup]:
        """All groups that are hosted here, oldest first."""
        with _translated():
            rows = self._connection.execute(
                "SELECT group_id, configuration, genesis, op, checksum FROM groups LEFT JOIN beginnings"
                " ON group_number = number WHERE configuration != x'' ORDER BY number"
            )
            return [
                StoredGroup(
                    group=GroupId(group), configuration=configuration, genesis=genesis,
                    began=None if op is None else (OpNumber(op), Checksum(checksum)),
                )
                for group, configuration, genesis, op, checksum in rows
            ]  # fmt: skip

    def forgotten_groups(self) -> set[GroupId]:
        """Groups that were hosted here once and are not any more."""
        with _translated():
            rows = self._connection.execute("SELECT group_id FROM groups WHERE configuration = x''")
            return {GroupId(row[0]) for row in rows}

    # --- notes ------------------------------------------------------------------------------------------------------

    def keep_note(self, group: GroupId, note: int, data: bytes) -> None:
        """Keep small facts of the embedder beside a group, by number; durable when this returns."""
        number = self._number(group)
        with self._transaction(synced=True):
            self._keep_note(number, note, data)

    def _keep_note(self, number: int, note: int, data: bytes) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO notes (group_number, note, data) VALUES (?, ?, ?)", (number, note, data)
        )

    def notes(self) -> dict[GroupId, list[bytes]]:
        """All notes by group, in the order of their numbers; those of forgotten groups too."""
        found: dict[GroupId, list[bytes]] = {}
        with _translated():
            rows = self._connection.execute(
                "SELECT group_id, data FROM notes JOIN groups ON number = group_number ORDER BY group_number, note"
            )
            for group, data in rows:
                found.setdefault(GroupId(group), []).append(data)
        return found

    # --- entries ----------------------------------------------------------------------------------------------------

    def append(self, group: GroupId, ops: Sequence[CommittedOp]) -> None:
        """Store committed operations; the same ones again change nothing. Durable with the next checkpoint."""
        with self._transaction(synced=False):
            self._append(self._number(group), ops)

    def append_many(self, groups: Sequence[tuple[GroupId, Sequence[CommittedOp]]]) -> None:
        """`append` for many groups in one transaction."""
        with self._transaction(synced=False):
            for group, ops in groups:
                self._append(self._number(group), ops)

    def read_entries(
        self, group: GroupId, first_op: int, last_op: int, *, bytes_max: int = HISTORY_READ_BYTES_MAX
    ) -> list[HistoryEntry]:
        """Operations `first_op` to `last_op`, as many as fit `bytes_max` of entries but at least one if there is one."""
        with _translated():
            rows = self._connection.execute(
                "SELECT op, mark, entry, results FROM entries WHERE group_number = ? AND op BETWEEN ? AND ? ORDER BY op",
                (self._number(group), first_op, last_op),
            )
            return _bounded(rows, bytes_max)

    def read_from_mark(
        self, group: GroupId, mark: int, *, bytes_max: int = HISTORY_READ_BYTES_MAX
    ) -> list[HistoryEntry]:
        """Operations that moved the service past `mark`, ascending: what a reader who has everything below it lacks."""
        with _translated():
            rows = self._connection.execute(
                "SELECT op, mark, entry, results FROM entries WHERE group_number = ? AND mark > ? ORDER BY mark, op",
                (self._number(group), mark),
            )
            return _bounded(rows, bytes_max)

    def last_op(self, group: GroupId) -> OpNumber:
        """The newest operation stored; 0 when there is none."""
        with _translated():
            row = self._connection.execute(
                "SELECT max(op) FROM entries WHERE group_number = ?", (self._number(group),)
            ).fetchone()
        return OpNumber(row[0] or 0)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def save_checkpoint(self, group: GroupId, checkpoint: Checkpoint) -> None:
        """Store a checkpoint; it and everything appended before is durable when this returns."""
        self.save_checkpoints([(group, checkpoint)])

    def save_checkpoints(self, checkpoints: Sequence[tuple[GroupId, Checkpoint]]) -> None:
        """`save_checkpoint` for many groups with one sync."""
        with self._transaction(synced=True):
            for group, checkpoint in checkpoints:
                self._save_checkpoint(self._number(group), checkpoint)

    def keep_parts(self, group: GroupId, parts: Sequence[SnapshotPart]) -> None:
        """Keep chunks of a snapshot until the next checkpoint, those of one offer only: the last one's."""
        number, offer = self._number(group), parts[-1].offer
        with self._transaction(synced=False):
            self._connection.execute("DELETE FROM parts WHERE group_number = ? AND offer != ?", (number, offer))
            self._connection.executemany(
                "INSERT OR REPLACE INTO parts (group_number, number, offer, data) VALUES (?, ?, ?, ?)",
                [(number, part.number, part.offer, part.data) for part in parts if part.offer == offer],
            )

    def load_parts(self, group: GroupId) -> list[SnapshotPart]:
        """What `keep_parts` kept; nobody has checked it."""
        with _translated():
            rows = self._connection.execute(
                "SELECT offer, number, data FROM parts WHERE group_number = ? ORDER BY number", (self._number(group),)
            )
            return [SnapshotPart(offer=offer, number=number, data=data) for offer, number, data in rows]

    def forget_entries(self, group: GroupId, through_op: int) -> None:
        """Delete operations up to `through_op`: an embedder that bounds its history has a checkpoint above them."""
        with self._transaction(synced=False):
            self._connection.execute(
                "DELETE FROM entries WHERE group_number = ? AND op <= ?", (self._number(group), through_op)
            )

    def load_checkpoint_at(self, group: GroupId, op: int) -> Checkpoint | None:
        """The checkpoint of exactly this operation, if it is kept and sound."""
        with _translated():
            row = self._connection.execute(
                "SELECT checkpoint, hash FROM checkpoints WHERE group_number = ? AND op = ?", (self._number(group), op)
            ).fetchone()
        return _checkpoint_decoder.decode(row[0]) if row is not None and checkpoint_hash(row[0]) == row[1] else None

    def load_checkpoint(self, group: GroupId) -> Checkpoint | None:
        """The newest sound checkpoint; None when there is none."""
        with _translated():
            rows = self._connection.execute(
                "SELECT checkpoint, hash FROM checkpoints WHERE group_number = ? ORDER BY op DESC",
                (self._number(group),),
            ).fetchall()
        for data, digest in rows:
            if checkpoint_hash(data) == digest:
                return _checkpoint_decoder.decode(data)
        if rows:
            raise HistoryUnusable(f"every checkpoint of group {group.hex()} has rotted; replace this node")
        return None

    # --- inside -----------------------------------------------------------------------------------------------------

    def _number(self, group: GroupId) -> int:
        number = self._numbers.get(group)
        if number is None:
            raise HistoryUnusable(f"history does not know group {group.hex()}")
        return number

    def _append(self, number: int, ops: Sequence[CommittedOp]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO entries (group_number, op, mark, entry, results) VALUES (?, ?, ?, ?, ?)",
            [(number, op.entry.header.op, op.mark, op.entry.data, msgspec.msgpack.encode(op.results)) for op in ops],
        )

    def _save_checkpoint(self, number: int, checkpoint: Checkpoint) -> None:
        data = msgspec.msgpack.encode(checkpoint)
        self._connection.execute(
            "INSERT OR REPLACE INTO checkpoints (group_number, op, checkpoint, hash) VALUES (?, ?, ?, ?)",
            (number, checkpoint.op, data, checkpoint_hash(data)),
        )
        self._connection.execute(
            "DELETE FROM checkpoints WHERE group_number = ?1 AND op NOT IN"
            " (SELECT op FROM checkpoints WHERE group_number = ?1 ORDER BY op DESC LIMIT ?2)",
            (number, _CHECKPOINTS_KEPT),
        )
        self._connection.execute("DELETE FROM parts WHERE group_number = ?", (number,))

    @contextlib.contextmanager
    def _transaction(self, *, synced: bool) -> Iterator[None]:
        """All or nothing. With `synced` the journal is synced at the commit, and so is every commit before it."""
        with _translated():
            if synced:
                self._connection.execute("PRAGMA synchronous = FULL")
            try:
                with self._connection:  # commits, or rolls back on any exception
                    self._connection.execute("BEGIN IMMEDIATE")
                    yield
            finally:
                if synced:
                    self._connection.execute("PRAGMA synchronous = NORMAL")


def look_into(path: str) -> sqlite3.Connection:
    """The database, to read. Raises sqlite3.Error."""
    # Without a journal nobody has it open, and nothing but the file need be looked at: opened as usual, SQLite would make one.
    how = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    return sqlite3.connect(f"file:{urllib.parse.quote(path)}?{how}", uri=True, isolation_level=None)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:  # a mark beyond 64 bits overflows
        raise HistoryUnusable(f"the history database failed: {error}") from error


def _bounded(rows: sqlite3.Cursor, bytes_max: int) -> list[HistoryEntry]:
    entries: list[HistoryEntry] = []
    size = 0
    for op, mark, entry, results in rows:
        size += len(entry)
        if entries and size > bytes_max:
            break
        entries.append(HistoryEntry(op=OpNumber(op), mark=mark, entry=entry, results=_results_decoder.decode(results)))
    rows.close()
    return entries


def checkpoint_hash(data: bytes) -> bytes:
    """What is kept beside a checkpoint, to tell whether it has rotted."""
    return hashlib.blake2b(data, digest_size=16).digest()
