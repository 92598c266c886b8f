"""What a data folder holds, in lines for operators. Reads only; the node may be running or not.

python -m vr.storage inspect DIR
"""

from __future__ import annotations

from collections.abc import Iterator

from vr.storage.file_system import FileSystem
from vr.storage.folder import HISTORY_NAME, LOG_NAME, REPLICA_ID_NAME
from vr.storage.log_opening import scan_log
from vr.storage.meta import meta_effect
from vr.storage.recovery import GroupReplay, settle


def inspect_folder(file_system: FileSystem, path: str) -> Iterator[str]:
    """Identity, segments, groups and damage, line by line. Raises OSError."""
    names = file_system.list(path)
    yield f"replica {_identity(file_system, path) if REPLICA_ID_NAME in names else 'unknown: no replica_id file'}"
    yield f"history {'present' if HISTORY_NAME in names else 'missing'}"
    scanned = scan_log(file_system, f"{path}/{LOG_NAME}")
    for segment in scanned:
        lsns = [frame.header.lsn for frame in segment.frames]
        frames = f"frames {lsns[0]} to {lsns[-1]}" if lsns else "no frames"
        yield f"segment {segment.number}: {'unreadable' if segment.salt is None else frames}"
    settled = settle(scanned, meta_effect)
    yield f"log: {len(settled.frames)} frames, last {settled.last_lsn}, known synced through {settled.synced_lsn}"
    for group, replay in sorted(settled.groups.items()):
        yield f"group {group.hex()}: {_describe(replay)}"
    yield from (f"damage: {line}" for line in settled.report)


def _identity(file_system: FileSystem, path: str) -> str:
    file = file_system.open(f"{path}/{REPLICA_ID_NAME}")
    text = file.read_at(0, 64).decode("ascii", errors="replace").strip()
    file.close()
    return ", ".join(text.splitlines())


def _describe(replay: GroupReplay) -> str:
    slots = replay.slots
    parts = [
        f"base {replay.base_op}",
        f"operations {slots[0].op} to {slots[-1].op}" if slots else "no operations",
        "promised nothing" if replay.meta is None else f"durable state of {len(replay.meta)} bytes",
    ]
    rotten = sum(slot.is_rotten for slot in slots)
    if rotten:
        parts.append(f"{rotten} operations rotted")
    if replay.meta_lost:
        parts.append("a newer durable state is lost")
    if not replay.head_certain:
        parts.append("head uncertain")
    return ", ".join(parts)
