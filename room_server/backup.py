"""A copy of a node's rooms beside its disk: what it has of them is ciphertext, and so is the copy. Keys are not in it.

    history.db, in one snapshot ─▶ what is not saved yet, checked to follow what is ─▶ files that never change ─▶ manifest
                                                                                                                   (renamed)

    TARGET/ manifest.json                   what belongs to the copy, with hashes of all of it and of itself
            <group>/genesis                 what the room began with
                    operations-FIRST-LAST   committed operations, each the child of the one before
                    checkpoint-OP           the state after OP: a restart begins there

Taken while the node runs, and again and again: each time only what is new. A copy proves to be of the same log because the
first new operation names the last saved one as its parent. A crash leaves files that no manifest names; the next run removes
them. The operations of the last minutes may still be in the write-ahead log only: they are in the next copy.

A copy is of the past. To give it back to a replica would make it forget what it promised since, so it never is: `restore`
makes a new replica, which goes on by force as the only server of its rooms (`room_server.forcing`, docs/adr/0014).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from room_server.errors import BackupError
from room_server.logs import room_label
from room_server.roster import GENESIS_MARK
from vr.configuration import Configuration
from vr.errors import VRError
from vr.log import Entry, decode_entry
from vr.ready import Checkpoint
from vr.storage.folder import HISTORY_NAME
from vr.storage.history import History, HistoryEntry, StoredGroup
from vr.types import GroupId, OpNumber

FORMAT = 1
MANIFEST_NAME = "manifest.json"
_LAST = OpNumber(2**62)

SavedOperation = tuple[int, int, bytes, list[bytes]]
"""Number, the service's mark after it, the entry, one result for each request."""


class SavedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of operations."""

    name: str
    digest: bytes
    first_op: int
    last_op: int


class SavedRoom(msgspec.Struct, frozen=True, kw_only=True):
    """One room of the copy. `configuration`, `notes`: as the database has them; `checkpoint` is a file's name and digest."""

    group: bytes
    configuration: bytes
    genesis: bytes
    notes: list[bytes]
    last_op: int
    last_checksum: bytes
    files: list[SavedFile]
    checkpoint: tuple[str, bytes] | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy consists of. `made_us`: microseconds since 1970; `digest` covers everything else."""

    format: int
    made_us: int
    rooms: list[SavedRoom]
    digest: bytes = b""

    def sealed(self) -> Manifest:
        """With its digest."""
        return msgspec.structs.replace(
            self, digest=_digest(msgspec.json.encode(msgspec.structs.replace(self, digest=b"")))
        )

    def text(self) -> bytes:
        """The file, the only one that says this."""
        return msgspec.json.format(msgspec.json.encode(self))


def read_manifest(target: Path) -> Manifest | None:
    """The manifest of a copy; None if there is no copy yet.

    Raises:
        BackupError: it is damaged, or of another version.
    """
    try:
        data = (target / MANIFEST_NAME).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BackupError(f"{target} cannot be read: {error}") from error
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BackupError(f"{target / MANIFEST_NAME} is damaged: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(f"{target} is a copy of format {manifest.format}; this program knows {FORMAT}")
    if manifest.sealed().digest != manifest.digest or manifest.text() != data:  # Spare bits of base64 are in no digest.
        raise BackupError(f"{target / MANIFEST_NAME} is damaged: it does not have the digest that it names")
    return manifest


# --- making one ---


def create_backup(data: str, target: Path, *, now_us: int) -> Manifest:
    """Save what of this node's rooms is not in the copy yet.

    Raises:
        BackupError: the node's history or the copy cannot be read or written, or the copy is of another history; it stays as
            it was.
    """
    before = read_manifest(target)
    known = {} if before is None else {room.group: room for room in before.rooms}
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(History.look(f"{data}/{HISTORY_NAME}")) as history:
            notes = history.notes()
            for stored in history.groups():
                if stored.genesis.startswith(GENESIS_MARK):
                    continue  # A cluster's roster is its servers' of now; who is brought back joins again.
                saved = _save_room(history, stored, notes.get(stored.group, []), target, known.get(stored.group))
                known[stored.group] = saved
    except (OSError, VRError) as error:
        raise BackupError(f"the copy could not be made, and is as it was: {error}") from error
    manifest = Manifest(format=FORMAT, made_us=now_us, rooms=list(known.values())).sealed()
    _write(target / MANIFEST_NAME, manifest.text())
    _remove_strangers(target, manifest)
    return manifest


def _save_room(
    history: History, stored: StoredGroup, notes: list[bytes], target: Path, before: SavedRoom | None
) -> SavedRoom:
    folder = target / stored.group.hex()
    folder.mkdir(mode=0o700, exist_ok=True)
    if before is None:
        _write(folder / "genesis", stored.genesis)
    files = [] if before is None else list(before.files)
    op, checksum = (0, None) if before is None else (before.last_op, before.last_checksum)
    while page := history.read_entries(stored.group, op + 1, _LAST):
        if page[0].op != op + 1:
            files, checksum = [], None  # What is between was forgotten: the copy begins anew behind the checkpoint.
        checksum = _follow(page, checksum, stored.group)
        name = f"operations-{page[0].op:012d}-{page[-1].op:012d}"
        data = msgspec.msgpack.encode([(one.op, one.mark, one.entry, one.results) for one in page])
        _write(folder / name, data)
        files.append(SavedFile(name=name, digest=_digest(data), first_op=page[0].op, last_op=page[-1].op))
        op = page[-1].op
    return SavedRoom(
        group=stored.group, configuration=stored.configuration, genesis=_digest(stored.genesis), notes=notes,
        last_op=op, last_checksum=checksum or b"", files=files,
        checkpoint=_save_checkpoint(history.load_checkpoint(stored.group), folder, before),
    )  # fmt: skip


def _follow(page: Sequence[HistoryEntry], checksum: bytes | None, group: GroupId) -> bytes:
    """The last checksum of a page whose operations follow one another, and the one before it."""
    for one in page:
        entry = decode_entry(one.entry)
        if checksum is not None and entry.header.parent != checksum:
            raise BackupError(
                f"operation {one.op} of room {room_label(group)} does not follow what was saved: this is a copy of another"
                " history. Make a new one elsewhere, and keep both"
            )
        checksum = entry.checksum
    assert checksum is not None, "a page has operations"
    return checksum


def _save_checkpoint(checkpoint: Checkpoint | None, folder: Path, before: SavedRoom | None) -> tuple[str, bytes] | None:
    if checkpoint is None:
        return None
    name = f"checkpoint-{checkpoint.op:012d}"
    if before is not None and before.checkpoint is not None and before.checkpoint[0] == name:
        return before.checkpoint
    data = msgspec.msgpack.encode(checkpoint)
    _write(folder / name, data)
    return name, _digest(data)


def _write(path: Path, data: bytes) -> None:
    """Durable under its name, or not there."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_strangers(target: Path, manifest: Manifest) -> None:
    """What a run that was cut off left behind, and checkpoints that have a successor."""
    for room in manifest.rooms:
        folder = target / room.group.hex()
        named = {"genesis", *(file.name for file in room.files)} | ({room.checkpoint[0]} if room.checkpoint else set())
        for path in folder.iterdir():
            if path.name not in named:
                path.unlink()


# --- looking at one ---


def verify_backup(target: Path) -> Iterator[str]:
    """What is wrong with a copy, one sentence each; nothing: it is whole.

    Raises:
        BackupError: there is no copy, or its manifest is damaged.
    """
    manifest = read_manifest(target)
    if manifest is None:
        raise BackupError(f"{target} holds no copy: it has no {MANIFEST_NAME}")
    for room in manifest.rooms:
        try:
            check_room(target, room)
        except BackupError as error:
            yield str(error)


def check_room(target: Path, room: SavedRoom) -> None:
    """Everything of one room, byte by byte.

    Raises:
        BackupError: something is damaged, missing, or of another history.
    """
    genesis_of(target, room)
    checkpoint = checkpoint_of(target, room)
    for entry, _ in operations_of(target, room):
        if checkpoint is not None and entry.op == checkpoint.op and entry.checksum != checkpoint.checksum:
            raise BackupError(f"{target / room.group.hex()}: the checkpoint is not of the operations that were saved")


def genesis_of(target: Path, room: SavedRoom) -> bytes:
    """What a room began with. Raises BackupError."""
    return _read(target / room.group.hex() / "genesis", room.genesis)


def operations_of(target: Path, room: SavedRoom) -> Iterator[tuple[Entry, SavedOperation]]:
    """Everything saved of a room, in order, each checked to follow the one before. Raises BackupError."""
    folder = target / room.group.hex()
    before: Entry | None = None
    for file in room.files:
        for saved in _decoded(_read(folder / file.name, file.digest), folder / file.name):
            try:
                entry = decode_entry(saved[2])
            except VRError as error:
                raise BackupError(f"{folder / file.name}: operation {saved[0]} cannot be read") from error
            if before is not None and (entry.op != before.op + 1 or entry.header.parent != before.checksum):
                raise BackupError(f"{folder / file.name}: operation {entry.op} does not follow operation {before.op}")
            before = entry
            yield entry, saved
    if (before.op if before else 0, before.checksum if before else b"") != (room.last_op, room.last_checksum):
        raise BackupError(f"{folder}: the operations do not end where the manifest says")


def checkpoint_of(target: Path, room: SavedRoom) -> Checkpoint | None:
    """The state that a restart of a room begins with, if one was saved. Raises BackupError."""
    first_op = room.files[0].first_op if room.files else 1
    if room.checkpoint is None:
        if first_op > 1:
            raise BackupError(
                f"{target / room.group.hex()}: operations begin at {first_op}, and there is no checkpoint"
            )
        return None
    name, digest = room.checkpoint
    path = target / room.group.hex() / name
    try:
        checkpoint = msgspec.msgpack.decode(_read(path, digest), type=Checkpoint)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{path} cannot be read") from error
    if not first_op <= checkpoint.op + 1 <= room.last_op + 1:
        raise BackupError(f"{path}: the operations that were saved do not begin where it ends")
    return checkpoint


def _decoded(data: bytes, path: Path) -> list[SavedOperation]:
    try:
        return msgspec.msgpack.decode(data, type=list[SavedOperation])
    except msgspec.MsgspecError as error:
        raise BackupError(f"{path} cannot be read") from error


def _read(path: Path, digest: bytes) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from error
    if _digest(data) != digest:
        raise BackupError(f"{path} is damaged: it is not what was saved")
    return data


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32, person=b"samtala-backup").digest()


def configuration_of(room: SavedRoom) -> Configuration:
    """Who replicated a room when it was saved. Raises BackupError."""
    try:
        return Configuration.from_bytes(room.configuration)
    except VRError as error:
        raise BackupError(f"the configuration of room {room_label(room.group)} cannot be read") from error
