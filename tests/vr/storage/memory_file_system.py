"""Files in memory for storage tests: they count calls, fail on demand, and lose what was not synced."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from vr.storage.errors import FolderInUse


class MemoryFile:
    def __init__(self, file_system: MemoryFileSystem, content: MemoryContent) -> None:
        self._file_system = file_system
        self._content = content

    def size(self) -> int:
        return len(self._content.cached)

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._content.cached[offset : offset + size])

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._file_system.on_effect("write")
        cached = self._content.cached
        if offset > len(cached):
            cached.extend(bytes(offset - len(cached)))
        cached[offset : offset + len(data)] = data

    def allocate(self, size: int) -> None:
        self._file_system.on_effect("allocate")
        self._content.cached.extend(bytes(max(0, size - len(self._content.cached))))

    def sync(self) -> None:
        self._file_system.on_effect("sync")
        self._content.durable = bytes(self._content.cached)

    def close(self) -> None:
        pass


class MemoryContent:
    def __init__(self) -> None:
        self.cached = bytearray()
        self.durable = b""


class MemoryLock:
    def __init__(self, held: set[str], path: str) -> None:
        self._held = held
        self._path = path

    def release(self) -> None:
        self._held.discard(self._path)


class MemoryFileSystem:
    """`fail_after` counts effects (write, allocate, sync, rename, remove, sync_directory) down; at 0 they raise EIO for ever."""

    def __init__(self) -> None:
        self.files: dict[str, MemoryContent] = {}
        self.durable_names: dict[str, MemoryContent] = {}
        self.effects: list[str] = []
        self.fail_after: int | None = None
        self.error = OSError(errno.EIO, "input/output error")
        self._locked: set[str] = set()
        self._drawn = 0

    def entropy(self, count: int) -> bytes:
        """Never the same twice, and the same in every run."""
        self._drawn += 1
        return self._drawn.to_bytes(count, "big")

    def on_effect(self, name: str) -> None:
        if self.fail_after is not None:
            if self.fail_after <= 0:
                raise self.error
            self.fail_after -= 1
        self.effects.append(name)

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        if path not in self.files:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            self.files[path] = MemoryContent()
        return MemoryFile(self, self.files[path])

    def rename(self, source: str, target: str) -> None:
        self.on_effect("rename")
        self.files[target] = self.files.pop(source)

    def remove(self, path: str) -> None:
        self.on_effect("remove")
        del self.files[path]

    def list(self, directory: str) -> Sequence[str]:
        prefix = f"{directory}/"
        return sorted({path[len(prefix) :].split("/")[0] for path in self.files if path.startswith(prefix)})

    def make_directory(self, path: str) -> None:
        pass

    def sync_directory(self, path: str) -> None:
        self.on_effect("sync_directory")
        prefix = f"{path}/"
        kept = {name: content for name, content in self.durable_names.items() if not name.startswith(prefix)}
        self.durable_names = kept | {n: c for n, c in self.files.items() if n.startswith(prefix)}

    def lock(self, path: str) -> MemoryLock:
        if path in self._locked:
            raise FolderInUse(path)
        self._locked.add(path)
        return MemoryLock(self._locked, path)

    def free_bytes(self, path: str) -> int:
        return 1 << 40

    def lose_power(self) -> None:
        """Only what was synced is left, names too."""
        self.files = dict(self.durable_names)
        for content in self.files.values():
            content.cached = bytearray(content.durable)
        self.fail_after = None
        self._locked.clear()

    def crash(self) -> None:
        """The process died; the page cache lives."""
        self.fail_after = None
        self._locked.clear()
