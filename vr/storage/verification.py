"""Everything that a data folder should be, checked byte by byte. Reads only, and needs no key: the node may run or not.

    identity ─▶ every frame and entry of the log ─▶ the database itself ─▶ each group: configuration, operations in a chain
                                                                           from its oldest to the log's, checkpoints, results

A finding is a sentence for an operator. What is under way on a running node (a torn last frame) is none.

python -m vr.storage verify DIR
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import msgspec

from vr.configuration import Configuration
from vr.errors import DecodeError
from vr.log import Entry, decode_entry
from vr.storage.errors import StorageError
from vr.storage.file_system import FileSystem
from vr.storage.folder import HISTORY_NAME, LOG_NAME, read_replica_id
from vr.storage.history import checkpoint_hash, look_into
from vr.storage.log_opening import scan_log
from vr.storage.meta import meta_effect
from vr.storage.recovery import GroupReplay, settle
from vr.types import GroupId, ReplicaId

_results_decoder = msgspec.msgpack.Decoder(list[bytes])


class Verified(msgspec.Struct, kw_only=True):
    """What was looked at, for the last line of a report."""

    groups: int = 0
    logged: int = 0
    operations: int = 0
    checkpoints: int = 0


def verify_folder(file_system: FileSystem, path: str, seen: Verified) -> Iterator[str]:
    """Findings, one sentence each; none: the folder is whole. `seen` counts meanwhile.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        replica_id = read_replica_id(file_system, path)
    except StorageError as error:
        yield str(error)
        return
    if replica_id is None:
        yield f"{path} holds no replica"
        return
    settled = settle(scan_log(file_system, f"{path}/{LOG_NAME}"), meta_effect)
    yield from (f"log: {line}" for line in settled.report)
    for group, replay in sorted(settled.groups.items()):
        seen.logged += len(replay.slots)
        yield from _verify_logged(group, replay)
    if HISTORY_NAME not in file_system.list(path):
        yield f"{HISTORY_NAME} is missing"
        return
    try:
        with closing(look_into(f"{path}/{HISTORY_NAME}")) as database:
            yield from _verify_history(database, replica_id, settled.groups, seen)
    except sqlite3.Error as error:
        yield f"{HISTORY_NAME}: {error}"


def _verify_logged(group: GroupId, replay: GroupReplay) -> Iterator[str]:
    rotten = [slot.op for slot in replay.slots if slot.is_rotten]
    if rotten:
        yield f"log: group {group.hex()}: operations {_listed(rotten)} cannot be read; the other replicas mend them"
    if replay.meta_lost:
        yield f"log: group {group.hex()}: the durable state cannot be read; replace this replica"
    if not replay.head_certain:
        yield f"log: group {group.hex()}: operations after its last may be lost; the replica asks the others before it votes"


def _verify_history(
    database: sqlite3.Connection, replica_id: ReplicaId, logged: dict[GroupId, GroupReplay], seen: Verified
) -> Iterator[str]:
    for (verdict,) in database.execute("PRAGMA integrity_check(20)"):
        if verdict != "ok":
            yield f"{HISTORY_NAME}: {verdict}"
    rows = database.execute("SELECT number, group_id, configuration FROM groups ORDER BY number").fetchall()
    for number, name, encoded in rows:
        if encoded:
            seen.groups += 1
            group = GroupId(name)
            yield from (
                f"{HISTORY_NAME}: group {group.hex()}: {finding}"
                for finding in _verify_group(
                    database, number, seen=seen, configuration=encoded, replica_id=replica_id, replay=logged.get(group)
                )
            )
    for group in logged.keys() - {GroupId(name) for _, name, _ in rows}:
        if logged[group].meta is not None or logged[group].slots:
            yield f"{HISTORY_NAME}: does not know group {group.hex()}, of which the log has promises"


def _verify_group(
    database: sqlite3.Connection,
    number: int,
    *,
    seen: Verified,
    configuration: bytes,
    replica_id: ReplicaId,
    replay: GroupReplay | None,
) -> Iterator[str]:
    try:
        if Configuration.from_bytes(configuration).index_of(replica_id) is None:
            yield "its configuration does not name this replica"
    except DecodeError:
        yield "its configuration cannot be read"
    if replay is None:
        yield "the log does not know it"
    rows = database.execute(
        "SELECT op, checkpoint, hash FROM checkpoints WHERE group_number = ? ORDER BY op", (number,)
    ).fetchall()
    seen.checkpoints += len(rows)
    sound = [op for op, data, digest in rows if checkpoint_hash(data) == digest]
    if len(sound) < len(rows):
        yield f"{len(rows) - len(sound)} of {len(rows)} checkpoints have rotted"
    yield from _walk(database, number, seen)
    (last_op,) = database.execute("SELECT max(op) FROM entries WHERE group_number = ?", (number,)).fetchone()
    reached = max([last_op or 0, *sound])
    if replay is not None and replay.base_op > reached:
        yield f"operations {reached + 1} to {replay.base_op} are neither in the log nor in history"


def _walk(database: sqlite3.Connection, number: int, seen: Verified) -> Iterator[str]:
    """What is wrong with the stored operations, in their order: each whole, and the child of the one before."""
    before: Entry | None = None
    for op, data, results in database.execute(
        "SELECT op, entry, results FROM entries WHERE group_number = ? ORDER BY op", (number,)
    ):
        seen.operations += 1
        entry, finding = _decoded(op, data, results)
        if entry is not None and before is not None:
            if op != before.op + 1:
                finding = f"operations {before.op + 1} to {op - 1} are missing"
            elif entry.header.parent != before.checksum:
                finding = f"operation {op} does not follow operation {op - 1}"
        before = entry
        if finding:
            yield finding


def _decoded(op: int, data: bytes, results: bytes) -> tuple[Entry | None, str]:
    try:
        entry = decode_entry(data)
        count = len(_results_decoder.decode(results))
    except (DecodeError, msgspec.MsgspecError):
        return None, f"operation {op} cannot be read"
    if entry.op != op or count > len(entry.requests()):
        return None, f"operation {op} is not what it is stored as"
    return entry, ""


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:10])
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
