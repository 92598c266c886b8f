"""The data folder of a node from outside: identity, key, permissions, format, space, and how long a sync takes."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import statistics
import time
from pathlib import Path
from typing import Final

from room_server.config import NodeConfig, replica_id
from room_server.setup import IDENTITY_NAME
from samtala.operate.units import milliseconds, size
from samtala.operate.verdict import FREE_FRACTION_MIN, Finding, critical, page, warning
from vr.storage.errors import StorageError
from vr.storage.file_system import RealFileSystem
from vr.storage.folder import read_replica_id
from wire.errors import KeyFileError
from wire.identity import NodeIdentity

_SYNCS: Final = 5
_SYNC_BYTES: Final = b"\0" * 4096
SYNC_S_SLOW: Final = 0.05
"""A sync of a home server's disk: above, every message waits noticeably."""
SYNC_S_MAX: Final = 0.5
"""Of alert FsyncSlow."""
FREE_BYTES_MIN: Final = 512 * 1024 * 1024
INODES_MIN: Final = 1000
_FORGETFUL: Final = {"tmpfs": "memory", "ramfs": "memory", "overlay": "a container's own layer"}
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"})


def examine_storage(config: NodeConfig) -> list[Finding]:
    """Everything about the data folder, except how long syncs take."""
    data = Path(config.data)
    if not data.is_dir():
        fix = f"mount the disk, or `samtala node init --data {data}` for a new node"
        return [critical("data-missing", f"there is no data folder {data}", fix)]
    return [*_key(data), *_owner(data, config), *_openness(data), *_space(data), *_kind(data)]


def _key(data: Path) -> list[Finding]:
    path = data / IDENTITY_NAME
    try:
        NodeIdentity.load(path)
    except KeyFileError as error:
        fix = f"chown --reference={data} {path} && chmod 600 {path}"
        return [critical("key-unusable", str(error), fix if path.exists() else f"bring {path} back from its copy")]
    return []


def _owner(data: Path, config: NodeConfig) -> list[Finding]:
    """Whose folder it is, and which format it has."""
    try:
        found = read_replica_id(RealFileSystem(), str(data))
    except StorageError as error:
        return [critical("folder-unusable", str(error).partition(". ")[0], page("node-down"))]
    except OSError as error:
        return [critical("folder-unreadable", f"{data}: {error.strerror}", f"ls -la {data}; dmesg | tail")]
    expected = replica_id(config)
    if found is None and expected is not None:
        why = f"{data} is empty, but this node is known as replica {expected.hex()}: disk lost, or the path is wrong"
        return [critical("folder-empty", why, "never start it: mount the right disk, or replace the node")]
    if found is not None and expected is not None and found != expected:
        why = f"{data} belongs to another node than replica_id says"
        return [critical("folder-foreign", why, "samtala config show --origin; mount the right disk")]
    return []


def _openness(data: Path) -> list[Finding]:
    mode = stat.S_IMODE(data.stat().st_mode)
    if mode & stat.S_IRWXO:
        why = f"everybody on this machine may enter {data} (mode {mode:o})"
        return [warning("data-open", why, f"chmod 700 {data}")]
    return []


def _space(data: Path) -> list[Finding]:
    space = os.statvfs(data)
    free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    return space_findings(data, free=free, total=total, inodes=space.f_favail if space.f_files else None)


def space_findings(data: Path, *, free: int, total: int, inodes: int | None) -> list[Finding]:
    """Judge bytes free of total, and files that can still be made (None: not counted)."""
    fix = f"du -xh {data} | sort -h | tail; {page('disk-full-soon')}"
    if inodes is not None and inodes < INODES_MIN:
        return [critical("no-inodes", f"only {inodes} more files can be made where {data} is", f"df -i {data}")]
    if free < FREE_BYTES_MIN:
        return [critical("storage-full", f"only {size(free)} free where {data} is", fix)]
    if free < total * FREE_FRACTION_MIN:
        return [warning("disk-full-soon", f"{size(free)} of {size(total)} free where {data} is", fix)]
    return []


def _kind(data: Path) -> list[Finding]:
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        return []
    return file_system_findings(data, mounts)


def file_system_findings(data: Path, mounts: str) -> list[Finding]:
    """Judge the file system that holds the folder, from the text of /proc/mounts."""
    place, kind, options = "", "", ""
    for line in mounts.splitlines():
        _, point, *rest = line.split(" ")
        if data.resolve().is_relative_to(point) and len(point) >= len(place):
            place, kind, options = point, rest[0], rest[1]
    if "ro" in options.split(","):
        fix = f"dmesg | grep -i -E 'i/o error|remount'; mount -o remount,rw {place}"
        return [critical("read-only", f"{place}, where {data} is, is mounted read-only", fix)]
    if kind in _FORGETFUL:
        why = f"{data} is in {_FORGETFUL[kind]} ({kind}): a restart forgets what this node has promised"
        return [critical("forgetful-disk", why, "move it to a disk: docs/runbooks/disk-full-soon.md says how")]
    if kind in _REMOTE:
        why = f"{data} is on a network file system ({kind}): its syncs may lie, and they are slow"
        return [warning("remote-disk", why, "move it to a local disk")]
    return []


def examine_sync(data: Path) -> list[Finding]:
    """Write and sync a small file a few times beside the log."""
    folder = data / f".doctor.{os.getpid()}"
    try:
        folder.mkdir(mode=0o700)
        return sync_findings(_sync_times(folder / "sync"))
    except OSError as error:
        fix = f"ls -ld {data}; run this as the user that runs the node"
        return [warning("data-not-writable", f"cannot write into {data}: {error.strerror}", fix)]
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


def _sync_times(path: Path) -> list[float]:
    times_s = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(_SYNCS):
            begun = time.perf_counter()
            os.write(descriptor, _SYNC_BYTES)
            os.fsync(descriptor)
            times_s.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
    return times_s


def sync_findings(times_s: list[float]) -> list[Finding]:
    """Judge how long syncs took."""
    typical_s = statistics.median(times_s)
    why = f"a sync to disk takes {milliseconds(typical_s * 1e3)}: every message waits for two servers' syncs"
    if typical_s > SYNC_S_MAX:
        return [critical("fsync-slow", why, page("fsync-slow"))]
    return [warning("fsync-slow", why, page("fsync-slow"))] if typical_s > SYNC_S_SLOW else []
