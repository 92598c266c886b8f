"""The few file operations storage needs, as a protocol, so that the simulator can lose, tear and rot them.

Everything is synchronous. Paths are strings with forward slashes. Every method may raise OSError; what an error means is
the caller's matter (the write-ahead log: poison). A name is durable only after `sync_directory` of its folder, content
only after `sync` of its file.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence
from typing import Protocol, Self

from vr.storage.errors import FolderInUse
from vr.storage.limits import ZERO_CHUNK_BYTES


class File(Protocol):
    """An open file. Not shared between threads."""

    def size(self) -> int:
        """Bytes in the file."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        ...

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`, extending the file where needed. Not durable before `sync`."""
        ...

    def allocate(self, size: int) -> None:
        """Grow the file to `size` with zeros really written, so that later overwrites change no metadata."""
        ...

    def sync(self) -> None:
        """Make content and size durable (fdatasync)."""
        ...

    def close(self) -> None:
        """Give the descriptor back; idempotent."""
        ...


class Lock(Protocol):
    """A held lock file; the operating system drops it when the process dies."""

    def release(self) -> None:
        """Let go; idempotent."""
        ...


class FileSystem(Protocol):
    """Files by path."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing. `create` makes an empty file when there is none.

        Raises:
            FileNotFoundError: there is none and `create` is false.
        """
        ...

    def rename(self, source: str, target: str) -> None:
        """Rename within a folder, replacing `target`; atomic, durable after `sync_directory`."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    def list(self, directory: str) -> Sequence[str]:
        """Names in a folder, sorted; empty when there is no such folder."""
        ...

    def make_directory(self, path: str) -> None:
        """Make a folder and its parents; nothing when it exists."""
        ...

    def sync_directory(self, path: str) -> None:
        """Make creations, renames and removals in a folder durable."""
        ...

    def lock(self, path: str) -> Lock:
        """Take the lock file at `path` for this process, creating it.

        Raises:
            FolderInUse: another process holds it.
        """
        ...

    def free_bytes(self, path: str) -> int:
        """Bytes an unprivileged process can still write on the file system that holds the folder `path`."""
        ...


class RealFile:
    """A descriptor with positioned reads and writes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0 and (part := os.pread(self._descriptor, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):  # a signal or a nearly full disk: the kernel took a part
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def allocate(self, size: int) -> None:
        zeros = bytes(ZERO_CHUNK_BYTES)
        offset = self.size()
        while offset < size:
            count = min(ZERO_CHUNK_BYTES, size - offset)
            self.write_at(offset, memoryview(zeros)[:count])
            offset += count

    if sys.platform == "darwin":

        def sync(self) -> None:
            # fsync on macOS stops at the drive's cache.
            fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)

    else:

        def sync(self) -> None:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RealLock:
    """flock on a file that stays behind: removing it would let two processes lock two inodes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


class RealFileSystem:
    """The operating system's files."""

    def open(self, path: str, *, create: bool = False) -> RealFile:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return RealFile(os.open(path, flags, 0o600))

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def list(self, directory: str) -> Sequence[str]:
        try:
            return sorted(os.listdir(directory))
        except FileNotFoundError:
            return []

    def make_directory(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)

    def sync_directory(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: str) -> RealLock:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise FolderInUse(f"another process uses this data folder (lock file {path})") from error
        return RealLock(descriptor)

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize
