"""What a person keeps: one encrypted SQLite file per profile (ChaCha20-Poly1305 pages, apsw-sqlite3mc).

    profile      identity, known nodes                          rooms       link, cursor, phase, names, caches
    states       MLS epoch and ratchet, one row each            timeline    what was shown, in the order it became known
    in_flight    blocks on their way        unsent              marks       recent chain hashes

Everything that one step of a room changes is one transaction (`apply`), so that after any crash the cursor, the ratchets
and what was shown agree: nothing is shown twice and nothing is skipped. A change that is a promise (a key was used, its
ciphertext is about to leave) is synced to the disk before `apply` returns; other changes may be lost by a power cut as a
whole, and are then read from the servers again.

Blocking and not thread safe: the shell calls it from one worker thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import apsw
import msgspec

from client import limits
from client.errors import SamtalaError
from client.room_state import ArchiveRecord, Cursor, InFlight, Mark, Outgoing, Phase, Quest, RoomChange, RoomMemory
from client.timeline import ItemKind, Sender, TimelineItem
from wire.certificate import RoomServers
from wire.ids import RoomEpoch, RoomId, Sequence

FORMAT: Final = 1
KEY_BYTES: Final = 32
SAID_OVERHEAD_BYTES: Final = 192
"""What a message takes beside its text where it is handed on: name, key, id, numbers."""
_SCHEMA: Final = """
CREATE TABLE profile (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (
    room INTEGER PRIMARY KEY, room_id BLOB UNIQUE NOT NULL, record BLOB NOT NULL,
    phase INTEGER NOT NULL, sequence INTEGER NOT NULL, chain BLOB NOT NULL, descriptor BLOB NOT NULL DEFAULT x''
);
CREATE TABLE states (
    room INTEGER NOT NULL REFERENCES rooms ON DELETE CASCADE, part TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (room, part)
) WITHOUT ROWID;
CREATE TABLE timeline (
    id INTEGER PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms ON DELETE CASCADE,
    sequence INTEGER NOT NULL, part INTEGER NOT NULL, timestamp_us INTEGER NOT NULL, kind INTEGER NOT NULL,
    sender_name TEXT NOT NULL, sender_key BLOB NOT NULL, is_verified INTEGER NOT NULL,
    is_mine INTEGER NOT NULL, message_id BLOB NOT NULL, text TEXT NOT NULL, UNIQUE (room, sequence, part)
);
CREATE TABLE marks (
    room INTEGER NOT NULL REFERENCES rooms ON DELETE CASCADE, sequence INTEGER NOT NULL, chain BLOB NOT NULL,
    PRIMARY KEY (room, sequence)
) WITHOUT ROWID;
CREATE TABLE in_flight (
    digest BLOB PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms ON DELETE CASCADE, block BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE unsent (
    message_id BLOB PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms ON DELETE CASCADE, message BLOB NOT NULL
) WITHOUT ROWID;
"""
_ITEM_COLUMNS: Final = (
    "id, sequence, part, timestamp_us, kind, sender_name, sender_key, is_verified, is_mine, message_id, text"
)
_EPOCH, _RATCHET, _EVIDENCE, _RENEWED, _SERVERS = "epoch", "ratchet", "evidence/", "renewed", "servers"
_KNOCKS, _ARCHIVE, _QUEST = "knocks", "archive/", "quest"
_HISTORY_IDS: Final = 1 << 40
"""Ids of what was read from history lie below 0, by room and sequence: it is older than all that became known since."""
_Row: TypeAlias = tuple[Any, ...]
"""What SQLite gives and takes. `Any` ends at the functions below that build our own types."""


class StoreError(SamtalaError):
    """The store cannot be opened, read or written; the text says why and what to do."""


class StoreBusyError(StoreError):
    """Another process has it."""

    exit_code = 7


class StoreDamagedError(StoreError):
    """It does not decrypt, or is not in order."""

    exit_code = 8


class RoomRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a room beside its history. Seeds and keys 32 bytes; empty where we are not the owner."""

    link: str
    name: str
    identity: bytes
    """Encoded `Identity` under which we are in the room."""
    root_seed: bytes = b""
    created_s: int = 0


class StoredRoom(msgspec.Struct, frozen=True, kw_only=True):
    """A room in the store."""

    room_id: RoomId
    record: RoomRecord
    phase: Phase
    cursor: Cursor
    descriptor: bytes


class StoredItem(msgspec.Struct, frozen=True):
    """A timeline item with its place in the order in which things became known."""

    id: int
    item: TimelineItem


def knock_name(room_id: RoomId) -> str:
    """Where the profile keeps a knock of ours: there is no room here before it is answered."""
    return f"knock/{room_id.hex()}"


class Store:
    """One profile's store. Open it with `open_store`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._database = connection

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._database.close()

    # Profile

    def get(self, name: str) -> bytes | None:
        """A value of the profile."""
        row = self._one("SELECT value FROM profile WHERE name = ?", (name,))
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes) -> None:
        """Set a value of the profile, durably."""
        with self._transaction(is_promise=True):
            self._run("INSERT OR REPLACE INTO profile VALUES (?, ?)", (name, value))

    # Rooms

    def rooms(self) -> list[StoredRoom]:
        """All rooms, oldest first."""
        rows = self._all("SELECT room_id, record, phase, sequence, chain, descriptor FROM rooms ORDER BY room", ())
        return [_stored_room(row) for row in rows]

    def room(self, room_id: RoomId) -> StoredRoom | None:
        """One room."""
        query = "SELECT room_id, record, phase, sequence, chain, descriptor FROM rooms WHERE room_id = ?"
        row = self._one(query, (room_id,))
        return None if row is None else _stored_room(row)

    def begin_room(self, room_id: RoomId, record: RoomRecord, memory: RoomMemory) -> None:
        """Put a room with its first state, in place of an earlier state of the same room; its timeline stays."""
        with self._transaction(is_promise=True):
            self._run(
                "INSERT INTO rooms (room_id, record, phase, sequence, chain) VALUES (?1, ?2, ?3, ?4, ?5) "
                "ON CONFLICT (room_id) DO UPDATE SET record = ?2, phase = ?3, sequence = ?4, chain = ?5",
                (room_id, msgspec.msgpack.encode(record), memory.phase, memory.cursor.sequence, memory.cursor.chain),
            )
            room = self._number(room_id)
            for table in ("marks", "in_flight"):
                self._run(f"DELETE FROM {table} WHERE room = ?", (room,))  # noqa: S608 - two fixed names
            self._set_state(room, _EPOCH, memory.epoch_state)
            self._set_state(room, _RATCHET, memory.ratchet_state)
            self._set_state(room, _KNOCKS, memory.knocks)
            self._run("DELETE FROM states WHERE room = ? AND (part = ? OR part GLOB ?)", (room, _QUEST, _ARCHIVE + "*"))
            self._add_marks(room, memory.marks)
            self._add_in_flight(room, memory.in_flight)

    def set_owner(self, room_id: RoomId, root_seed: bytes, *, created_s: int) -> None:
        """Remember that a room is ours; `root_seed` is the secret of its root key."""
        room = self.room(room_id)
        assert room is not None, "it was joined a moment ago"
        record = msgspec.structs.replace(room.record, root_seed=root_seed, created_s=created_s)
        with self._transaction(is_promise=True):
            self._run("UPDATE rooms SET record = ? WHERE room_id = ?", (msgspec.msgpack.encode(record), room_id))

    def set_descriptor(self, room_id: RoomId, descriptor: bytes) -> None:
        """Remember the newest signed descriptor of a room."""
        with self._transaction(is_promise=False):
            self._run("UPDATE rooms SET descriptor = ? WHERE room_id = ?", (descriptor, room_id))

    def forget_room(self, room_id: RoomId) -> None:
        """Delete a room with all its history."""
        with self._transaction(is_promise=True):
            self._run("DELETE FROM rooms WHERE room_id = ?", (room_id,))
            self._run("DELETE FROM profile WHERE name = ?", (knock_name(room_id),))

    def memory(self, room_id: RoomId) -> RoomMemory:
        """Everything that a room's core needs to go on.

        Raises:
            StoreError: there is no such room.
        """
        stored = self.room(room_id)
        if stored is None:
            raise StoreError("this profile is not in that room")
        room = self._number(room_id)
        states: dict[str, bytes] = dict(self._all("SELECT part, value FROM states WHERE room = ?", (room,)))
        marks = self._all("SELECT sequence, chain FROM marks WHERE room = ? ORDER BY sequence", (room,))
        flights = self._all("SELECT block FROM in_flight WHERE room = ?", (room,))
        return RoomMemory(
            phase=stored.phase,
            cursor=stored.cursor,
            epoch_state=states[_EPOCH],
            ratchet_state=states[_RATCHET],
            marks=tuple(Mark(sequence, chain) for sequence, chain in marks),
            in_flight=tuple(msgspec.msgpack.decode(block, type=InFlight) for (block,) in flights),
            message_ids=self._message_ids(room),
            undecryptable=self._count(room, ItemKind.REFUSED),
            alarms=self._count(room, ItemKind.ALARM),
            knocks=states.get(_KNOCKS, b""),
            archive=tuple(
                msgspec.msgpack.decode(value, type=ArchiveRecord)
                for part, value in states.items()
                if part.startswith(_ARCHIVE)
            ),
            quest=msgspec.msgpack.decode(states[_QUEST], type=Quest) if _QUEST in states else None,
        )

    def apply(self, room_id: RoomId, change: RoomChange) -> None:
        """Store one step of a room, all or nothing.

        Raises:
            StoreError: nothing of it is stored (a full disk); the room's core is dead.
        """
        with self._transaction(is_promise=change.is_promise):
            room = self._number(room_id)
            if change.cursor is not None:
                place = (change.cursor.sequence, change.cursor.chain, room)
                self._run("UPDATE rooms SET sequence = ?, chain = ? WHERE room = ?", place)
            if change.phase is not None:
                self._run("UPDATE rooms SET phase = ? WHERE room = ?", (change.phase, room))
            if change.epoch_state is not None:
                self._set_state(room, _EPOCH, change.epoch_state)
            if change.ratchet_state is not None:
                self._set_state(room, _RATCHET, change.ratchet_state)
            if change.knocks is not None:
                self._set_state(room, _KNOCKS, change.knocks)
            self._add_items(room, change.items)
            self._add_marks(room, change.marks)
            self._run_many("DELETE FROM in_flight WHERE digest = ?", [(digest,) for digest in change.settled])
            self._add_in_flight(room, change.sent)
            self._add_unsent(room, change.unsent)
            self._add_evidence(room, change.evidence)
            self._keep_past(room, change)

    def _keep_past(self, room: int, change: RoomChange) -> None:
        for record in change.archived:
            self._set_state(room, _archive_part(record.epoch), msgspec.msgpack.encode(record))
        dropped = [(room, _archive_part(epoch)) for epoch in change.forgotten]
        self._run_many("DELETE FROM states WHERE room = ? AND part = ?", dropped)
        if change.quest is not None:
            self._set_state(room, _QUEST, msgspec.msgpack.encode(change.quest))

    def add_history(self, room_id: RoomId, items: Iterable[TimelineItem]) -> None:
        """Add what was said before this device came in; what is known of these places already stays as it is."""
        with self._transaction(is_promise=False):
            room = self._number(room_id)
            self._run_many(
                "INSERT OR IGNORE INTO timeline (id, room, sequence, part, timestamp_us, kind, sender_name, sender_key, "
                "is_verified, is_mine, message_id, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(item.sequence - _HISTORY_IDS * (room + 1), *_item_row(room, item)) for item in items],
            )

    # Timeline

    def timeline(
        self, room_id: RoomId, *, after_id: int, items_max: int = limits.TIMELINE_PAGE_MAX
    ) -> list[StoredItem]:
        """Items in the order in which they became known, after the one with this id (0: from the start)."""
        query = (
            f"SELECT {_ITEM_COLUMNS} FROM timeline "  # noqa: S608 - fixed columns
            "WHERE room = (SELECT room FROM rooms WHERE room_id = ?) AND id > ? ORDER BY id LIMIT ?"
        )
        return [_stored_item(row) for row in self._all(query, (room_id, after_id, items_max))]

    def said(self, room_id: RoomId, *, bytes_max: int) -> list[TimelineItem]:
        """The latest messages of a room whose texts have so many bytes at most, in the room's order."""
        query = (
            f"SELECT {_ITEM_COLUMNS} FROM timeline WHERE room = "  # noqa: S608 - fixed columns
            "(SELECT room FROM rooms WHERE room_id = ?) AND kind IN (?, ?) ORDER BY sequence DESC LIMIT ?"
        )
        latest: list[TimelineItem] = []
        values = (room_id, ItemKind.MESSAGE, ItemKind.HISTORY, bytes_max // SAID_OVERHEAD_BYTES)
        for row in self._all(query, values):
            item = _stored_item(row).item
            bytes_max -= len(item.text.encode()) + SAID_OVERHEAD_BYTES
            if bytes_max < 0:
                break
            latest.append(item)
        return latest[::-1]

    def last_id(self, room_id: RoomId) -> int:
        """Id of the newest item of a room, 0 if there is none."""
        query = "SELECT max(id) FROM timeline WHERE room = (SELECT room FROM rooms WHERE room_id = ?)"
        row = self._one(query, (room_id,))
        return 0 if row is None or row[0] is None else int(row[0])

    def id_after(self, room_id: RoomId, sequence: Sequence) -> int:
        """Id after which a reader goes on who has read everything up to `sequence`."""
        room = "room = (SELECT room FROM rooms WHERE room_id = ?)"
        query = f"SELECT max(id) FILTER (WHERE sequence <= ?), min(id) FROM timeline WHERE {room}"  # noqa: S608 - fixed
        row = self._one(query, (sequence, room_id))
        read, first = (None, None) if row is None else row
        return int(read) if read is not None else min(0, int(first or 0) - 1)

    def unsent(self, room_id: RoomId) -> list[Outgoing]:
        """Messages that are certainly not in the room and wait for the person to decide."""
        query = "SELECT message FROM unsent WHERE room = (SELECT room FROM rooms WHERE room_id = ?)"
        return [msgspec.msgpack.decode(message, type=Outgoing) for (message,) in self._all(query, (room_id,))]

    def find_message(self, room_id: RoomId, message_id: bytes) -> StoredItem | None:
        """A message of our own by its id."""
        query = (
            f"SELECT {_ITEM_COLUMNS} FROM timeline WHERE room = "  # noqa: S608 - fixed columns
            "(SELECT room FROM rooms WHERE room_id = ?) AND message_id = ? AND is_mine = 1"
        )
        row = self._one(query, (room_id, message_id))
        return None if row is None else _stored_item(row)

    # Inside

    def _message_ids(self, room: int) -> tuple[tuple[bytes, bytes], ...]:
        query = "SELECT sender_key, message_id FROM timeline WHERE room = ? AND kind = ? ORDER BY id DESC LIMIT ?"
        rows = self._all(query, (room, ItemKind.MESSAGE, limits.MESSAGE_IDS_MAX))
        return tuple((key, message_id) for key, message_id in reversed(rows))

    def _count(self, room: int, kind: ItemKind) -> int:
        row = self._one("SELECT count(*) FROM timeline WHERE room = ? AND kind = ?", (room, kind))
        assert row is not None, "count gives a row"
        return int(row[0])

    def _number(self, room_id: RoomId) -> int:
        row = self._one("SELECT room FROM rooms WHERE room_id = ?", (room_id,))
        if row is None:
            raise StoreError("this profile is not in that room")
        return int(row[0])

    def _set_state(self, room: int, part: str, value: bytes) -> None:
        self._run("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (room, part, value))

    def _add_items(self, room: int, items: Iterable[TimelineItem]) -> None:
        rows = [_item_row(room, item) for item in items]
        self._run_many(
            "INSERT INTO timeline (room, sequence, part, timestamp_us, kind, sender_name, sender_key, is_verified, "
            "is_mine, message_id, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def _add_marks(self, room: int, marks: tuple[Mark, ...]) -> None:
        if not marks:
            return
        self._run_many("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", [(room, *_fields(mark)) for mark in marks])
        # Sequences are dense enough that counting blocks instead would not be worth an index.
        oldest = marks[-1].sequence - limits.CHAIN_MARKS_MAX
        self._run("DELETE FROM marks WHERE room = ? AND sequence < ?", (room, oldest))

    def _add_in_flight(self, room: int, flights: Iterable[InFlight]) -> None:
        for flight in flights:
            encoded = msgspec.msgpack.encode(flight)
            self._run("INSERT OR REPLACE INTO in_flight VALUES (?, ?, ?)", (flight.digest, room, encoded))
            ids = [(outgoing.message_id,) for outgoing in flight.outgoing]
            self._run_many("DELETE FROM unsent WHERE message_id = ?", ids)

    def evidence(self, room_id: RoomId) -> list[bytes]:
        """Encoded `client.evidence.ForkEvidence` of a room, the first that was found first."""
        query = "SELECT value FROM states WHERE room = ? AND part GLOB ? ORDER BY part"
        return [row[0] for row in self._all(query, (self._number(room_id), _EVIDENCE + "*"))]

    def renewed(self, room_id: RoomId) -> tuple[RoomEpoch, int] | None:
        """The last epoch that this device began, and when (unix seconds); None if it never noted one."""
        row = self._one("SELECT value FROM states WHERE room = ? AND part = ?", (self._number(room_id), _RENEWED))
        return None if row is None else msgspec.msgpack.decode(row[0], type=tuple[RoomEpoch, int])

    def set_renewed(self, room_id: RoomId, epoch: RoomEpoch, when_s: int) -> None:
        """Note that this device began an epoch."""
        with self._transaction(is_promise=False):
            self._set_state(self._number(room_id), _RENEWED, msgspec.msgpack.encode((epoch, when_s)))

    def servers(self, room_id: RoomId) -> RoomServers | None:
        """The servers that the room moved to since its owner said where it is, if it did."""
        row = self._one("SELECT value FROM states WHERE room = ? AND part = ?", (self._number(room_id), _SERVERS))
        return None if row is None else msgspec.msgpack.decode(row[0], type=RoomServers)

    def set_servers(self, room_id: RoomId, known: RoomServers) -> None:
        """Remember where a room has moved."""
        with self._transaction(is_promise=False):
            self._set_state(self._number(room_id), _SERVERS, msgspec.msgpack.encode(known))

    def _add_evidence(self, room: int, found: tuple[bytes, ...]) -> None:
        if not found:
            return
        row = self._one("SELECT count(*) FROM states WHERE room = ? AND part GLOB ?", (room, _EVIDENCE + "*"))
        kept = 0 if row is None else int(row[0])
        for number, evidence in enumerate(found[: limits.EVIDENCE_MAX - kept], kept):
            self._set_state(room, f"{_EVIDENCE}{number:04d}", evidence)

    def _add_unsent(self, room: int, unsent: Iterable[Outgoing]) -> None:
        rows = [(outgoing.message_id, room, msgspec.msgpack.encode(outgoing)) for outgoing in unsent]
        self._run_many("INSERT OR REPLACE INTO unsent VALUES (?, ?, ?)", rows)

    @contextmanager
    def _transaction(self, *, is_promise: bool) -> Iterator[None]:
        database = self._database
        try:
            database.pragma("synchronous", "FULL" if is_promise else "NORMAL")
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("COMMIT")
        except apsw.Error as error:
            raise _explain(error) from error
        finally:
            # SQLite ends some transactions itself (a full disk), and none that succeeded is open here.
            if database.in_transaction:
                database.execute("ROLLBACK")

    def _run(self, query: str, values: _Row) -> None:
        self._database.execute(query, values)

    def _run_many(self, query: str, rows: list[_Row]) -> None:
        if rows:
            self._database.executemany(query, rows)

    def _one(self, query: str, values: _Row) -> _Row | None:
        rows = self._all(query, values)
        return rows[0] if rows else None

    def _all(self, query: str, values: _Row) -> list[_Row]:
        try:
            return list(self._database.execute(query, values))
        except apsw.Error as error:
            raise _explain(error) from error


def open_store(path: Path, key: bytes) -> Store:
    """Open a profile's store, or make a new one.

    Args:
        path: the file; its folder exists.
        key: 32 bytes.

    Raises:
        StoreError: the key is wrong, the file is damaged or in use, or was made by a newer version.
    """
    assert len(key) == KEY_BYTES
    try:
        database = apsw.Connection(str(path))
    except apsw.Error as error:
        raise _explain(error) from error
    try:
        _unlock(database, key)
        _prepare(database)
    except apsw.Error as error:
        database.close()
        raise _explain(error) from error
    except StoreError:
        database.close()
        raise
    return Store(database)


def _unlock(database: apsw.Connection, key: bytes) -> None:
    database.set_busy_timeout(int(limits.PROFILE_WAIT_S_MAX * 1000))
    database.pragma("cipher", "chacha20")
    # A raw key skips SQLite's own password stretching: ours is random already, or stretched by argon2id.
    database.pragma("hexkey", f"raw:{key.hex()}".encode().hex())
    database.pragma("journal_mode", "wal")
    database.pragma("foreign_keys", value=True)
    database.pragma("trusted_schema", value=False)
    # Deleted keys must not linger in free pages of the file.
    database.pragma("secure_delete", value=True)


def _prepare(database: apsw.Connection) -> None:
    found = int(database.pragma("user_version"))
    if found == 0:
        with database:
            database.execute(_SCHEMA)
            database.pragma("user_version", FORMAT)
    elif found > FORMAT:
        raise StoreError(f"this profile was made by a newer Samtala (format {found}); update this one")


def _explain(error: apsw.Error) -> StoreError:
    match error:
        case apsw.NotADBError():
            return StoreDamagedError("the profile does not open: another key or passphrase, or the file is damaged")
        case apsw.BusyError() | apsw.LockedError():
            return StoreBusyError("the profile is in use by another process")
        case apsw.FullError():
            return StoreError("the disk is full: nothing was stored or sent; make room and try again")
        case apsw.CorruptError():
            return StoreDamagedError("the profile is damaged; restore a copy, or begin a new profile and join again")
        case apsw.CantOpenError() | apsw.PermissionsError() | apsw.ReadOnlyError():
            return StoreError(f"the profile cannot be opened for writing: {error}")
        case _:
            return StoreError(f"the profile cannot be used: {error}")


def _archive_part(epoch: RoomEpoch) -> str:
    return f"{_ARCHIVE}{epoch:016x}"


def _item_row(room: int, item: TimelineItem) -> _Row:
    return (
        room, item.sequence, item.part, item.timestamp_us, item.kind, item.sender.name, item.sender.key,
        item.sender.is_verified, item.is_mine, item.message_id, item.text,
    )  # fmt: skip


def _fields(mark: Mark) -> tuple[int, bytes]:
    return mark.sequence, mark.chain


def _stored_room(row: _Row) -> StoredRoom:
    room_id, record, phase, sequence, chain, descriptor = row
    return StoredRoom(
        room_id=RoomId(room_id),
        record=msgspec.msgpack.decode(record, type=RoomRecord),
        phase=Phase(phase),
        cursor=Cursor(Sequence(sequence), chain),
        descriptor=descriptor,
    )


def _stored_item(row: _Row) -> StoredItem:
    number, sequence, part, timestamp_us, kind, name, key, is_verified, is_mine, message_id, text = row
    item = TimelineItem(
        sequence=Sequence(sequence),
        part=part,
        timestamp_us=timestamp_us,
        kind=ItemKind(kind),
        sender=Sender(name, key, bool(is_verified)),
        is_mine=bool(is_mine),
        message_id=message_id,
        text=text,
    )
    return StoredItem(number, item)
