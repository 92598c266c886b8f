"""What a group starts from: its log, its checkpoint, and history for what lies between. Pure but for reading history."""

from __future__ import annotations

from vr.errors import DecodeError
from vr.host.errors import GroupDamaged
from vr.log import Entry, decode_entry
from vr.ready import DurableState
from vr.replica import Checkpoint, FaultyEntry, Restored
from vr.storage.history import History, StoredGroup
from vr.storage.recovery import RecoveredGroup
from vr.types import Checksum, GroupId, OpNumber


def restore_group(stored: StoredGroup, recovered: RecoveredGroup | None, history: History) -> Restored:
    """Put together what stable storage has of a group.

    Raises:
        GroupDamaged: promises of this replica are lost; starting it could break what it promised (PAR, FAST 2018).
        HistoryUnusable: history cannot be read.
    """
    group = stored.group
    if recovered is None:
        raise GroupDamaged(f"history knows group {group.hex()} but the log does not: was the log's folder replaced?")
    if recovered.meta_faulty:
        raise GroupDamaged(f"the durable state of group {group.hex()} is unreadable; replace this replica")
    checkpoint = history.load_checkpoint(group)
    if recovered.meta is None:
        if recovered.entries or checkpoint is not None:
            raise GroupDamaged(f"group {group.hex()} has operations but no durable state; replace this replica")
        return Restored(began=stored.began)
    try:
        state = DurableState.from_bytes(recovered.meta)
    except DecodeError as error:
        raise GroupDamaged(f"the durable state of group {group.hex()} does not decode; replace this replica") from error
    logged = [_entry(entry.op, entry.payload, entry.checksum) for entry in recovered.entries]
    first_logged = logged[0].op if logged else state.base_op + 1
    return Restored(
        state=state,
        entries=[*_from_history(group, checkpoint, first_logged, history), *logged],
        head_certain=recovered.head_certain,
        checkpoint=checkpoint,
        parts=history.load_parts(group),
        began=stored.began,
    )


def _from_history(
    group: GroupId, checkpoint: Checkpoint | None, first_logged: int, history: History
) -> list[Entry | FaultyEntry]:
    """Operations after the checkpoint that the log has released: there are some when a newer checkpoint rotted."""
    entries: list[Entry | FaultyEntry] = []
    next_op = (0 if checkpoint is None else checkpoint.op) + 1
    while next_op < first_logged:
        page = history.read_entries(group, next_op, first_logged - 1)
        if not page:
            entries.append(FaultyEntry(op=OpNumber(next_op), checksum=None))
            break
        entries.extend(_entry(stored.op, stored.entry, None) for stored in page)
        next_op = page[-1].op + 1
    return entries


def _entry(op: int, payload: bytes | None, checksum: Checksum | None) -> Entry | FaultyEntry:
    if payload is not None:
        try:
            entry = decode_entry(payload)
        except DecodeError:
            entry = None
        if entry is not None and entry.op == op:
            return entry
    return FaultyEntry(op=OpNumber(op), checksum=checksum)
