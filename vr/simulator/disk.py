"""The simulated disk: a page cache that forgets, sectors that tear, bits that rot.

```
  write_at ─▶ page cache (what every read sees) ── sync ─▶ platter
                    │ power loss: each unsynced 512-byte sector keeps any one of its
                    ▼ versions since the last sync, or the old one; names likewise
```

kill -9 loses nothing (the kernel keeps the cache), but what was not synced is still not synced: a process that recovers
from it and then promises something has to sync first, because the power may fail later.

A sync that fails settles every unsynced sector there and then, as if the kernel had dropped the pages: reading them back
shows what is really there. (Not modelled: ext4's habit of showing the new bytes until the next boot.)

A full disk refuses to make files grow. A write that went astray is rot in two places: of two writes, a page each.

Bits and pages rot only where they are *provably synced*: the file system has since completed a write that began after
their sync, so the log had its chance to say so. Rot of anything newer cannot be told from a torn write by any log.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from random import Random

from vr.storage.errors import FolderInUse

SECTOR_BYTES = 512
PAGE_BYTES = 4096  # what a misdirected write or a failing flash page takes with it
UNPROVEN = 1 << 62  # a sync number nothing is ever proven to have reached
ROT_WRITES_MAX = 6  # rot strikes the newest writes of a file: what is old is mostly released and not read again
SYNCED_WRITES_MAX = 4096  # remembered per file as candidates for rot


class SimContent:
    """One file: its cached content and how to undo what is not on the platter."""

    __slots__ = ("_undo", "_writes", "content", "size_synced", "synced_writes")

    def __init__(self) -> None:
        self.content = bytearray()
        self.size_synced = 0
        self._undo: list[tuple[int, bytes]] = []  # (sector-aligned offset, bytes before), oldest first
        self._writes: list[tuple[int, int, int]] = []  # (offset, end, syncs it can tell of) not yet synced
        self.synced_writes: list[tuple[int, int, int]] = []  # (offset, end, number of its sync), oldest first

    def write(self, offset: int, data: bytes | bytearray | memoryview, syncs: int) -> None:
        """Change the cache; `syncs` is how many syncs of the disk it can tell of."""
        end = offset + len(data)
        if end > len(self.content):
            self.content.extend(bytes(end - len(self.content)))
        first = offset - offset % SECTOR_BYTES
        last = -(-end // SECTOR_BYTES) * SECTOR_BYTES
        self._undo.append((first, bytes(self.content[first:last])))
        self.content[offset:end] = data
        self._writes.append((offset, end, syncs))

    def extend_to(self, size: int) -> None:
        """Grow with zeros."""
        if size > len(self.content):
            self.content.extend(bytes(size - len(self.content)))

    @property
    def is_dirty(self) -> bool:
        """Whether a power loss could change this file."""
        return bool(self._undo) or self.size_synced != len(self.content)

    def sync(self, number: int) -> int:
        """Everything in the cache is on the platter; returns the newest sync known to have ended before one of it."""
        self._undo.clear()
        proven = max((syncs for _, _, syncs in self._writes), default=0)
        self.synced_writes += [(offset, end, number) for offset, end, _ in self._writes]
        del self.synced_writes[:-SYNCED_WRITES_MAX]
        self._writes.clear()
        self.size_synced = len(self.content)
        return proven

    def lose_power(self, random: Random) -> None:
        """Settle every unsynced sector on one of its versions.

        The four ways: everything lost, everything kept, a sharp tear (the first writes only, the last of them cut at a
        sector), each sector by itself.
        """
        if not self.is_dirty:
            return
        way = random.randrange(4)
        if way == 0:
            self._undo_from(0, 0)
            del self.content[self.size_synced :]
        elif way == 2 and self._undo:
            self._undo_from(random.randrange(len(self._undo)), random.randrange(8) * SECTOR_BYTES)
        elif way == 3:
            self._settle_sectors(random)
        self.sync(UNPROVEN)

    def _undo_from(self, kept: int, kept_bytes: int) -> None:
        """Take back all writes but the first `kept`, and of the next one all but its first `kept_bytes`."""
        for index in range(len(self._undo) - 1, kept - 1, -1):
            offset, before = self._undo[index]
            skip = kept_bytes if index == kept else 0
            if skip < len(before):
                self.content[offset + skip : offset + len(before)] = before[skip:]

    def _settle_sectors(self, random: Random) -> None:
        versions: dict[int, list[bytes]] = {}
        for offset, before in self._undo:
            for position in range(0, len(before), SECTOR_BYTES):
                versions.setdefault(offset + position, []).append(before[position : position + SECTOR_BYTES])
        for offset, candidates in versions.items():
            chosen = random.randrange(len(candidates) + 1)
            if chosen < len(candidates):
                self.content[offset : offset + len(candidates[chosen])] = candidates[chosen]

    def rottable(self, proven: int) -> list[tuple[int, int]]:
        """The ranges (offset, end) written and synced before sync `proven` ended and not written since; newest first."""
        found: list[tuple[int, int]] = []
        newer = [(offset, end) for offset, end, _ in self._writes]
        for offset, end, number in reversed(self.synced_writes):
            if number <= proven and not any(offset < other_end and other < end for other, other_end in newer):
                found.append((offset, end))
            newer.append((offset, end))
        return found


class SimHandle:
    """An open file of the simulated disk."""

    def __init__(self, disk: SimFileSystem, path: str, content: SimContent) -> None:
        self._disk = disk
        self._path = path
        self._content = content

    def size(self) -> int:
        return len(self._content.content)

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._content.content[offset : offset + size])

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._disk.on_effect()
        self._disk.require_space(offset + len(data) - self.size())
        proves = self._disk.is_proving and offset >= PAGE_BYTES
        self._content.write(offset, data, self._disk.syncs if proves else 0)

    def allocate(self, size: int) -> None:
        self._disk.on_effect()
        self._disk.require_space(size - self.size())
        self._content.extend_to(size)

    def sync(self) -> None:
        self._disk.on_effect()
        self._disk.sync_content(self._content)

    def close(self) -> None:
        pass


class SimLock:
    """The lock of a living process; processes of the simulation never overlap on one disk."""

    def __init__(self, held: set[str], path: str) -> None:
        self._held = held
        self._path = path

    def release(self) -> None:
        self._held.discard(self._path)


class SimFileSystem:
    """The disk of one node, for `vr.storage`.

    `on_effect` is called before each change (the simulated kill strikes there). `sync_error` is the probability that a
    sync fails, `misdirected` the share of rot that is a write gone astray (drawn by `later`).
    """

    def __init__(
        self,
        random: Random,
        *,
        on_effect: Callable[[], None] = lambda: None,
        sync_error: float = 0.0,
        misdirected: float = 0.0,
        later: Random | None = None,
    ) -> None:
        self.on_effect = on_effect
        self.sync_error = sync_error
        self.is_proving = (
            True  # whether writes tell of earlier syncs: frames do, a file's first page and recovery do not
        )
        self.syncs = 0
        self._proven = 0
        self._capacity: int | None = None
        self._later = Random(0) if later is None else later
        self._misdirected = misdirected
        self._random = random
        self._files: dict[str, SimContent] = {}
        self._names_unsynced: list[dict[str, SimContent]] = []  # what the names were before each unsynced change
        self._locks: set[str] = set()

    def _change_names(self) -> None:
        self.on_effect()
        self._names_unsynced.append(dict(self._files))

    def open(self, path: str, *, create: bool = False) -> SimHandle:
        content = self._files.get(path)
        if content is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "no such simulated file", path)
            self._change_names()
            content = self._files[path] = SimContent()
        return SimHandle(self, path, content)

    def rename(self, source: str, target: str) -> None:
        self._change_names()
        self._files[target] = self._files.pop(source)

    def remove(self, path: str) -> None:
        self._change_names()
        del self._files[path]

    def list(self, directory: str) -> list[str]:
        prefix = directory.rstrip("/") + "/"
        return sorted(path.removeprefix(prefix) for path in self._files if path.startswith(prefix))

    def make_directory(self, path: str) -> None:
        self.on_effect()

    def sync_directory(self, path: str) -> None:
        self.on_effect()
        self._names_unsynced.clear()

    def lock(self, path: str) -> SimLock:
        if path in self._locks:
            raise FolderInUse(path)
        self._locks.add(path)
        return SimLock(self._locks, path)

    def free_bytes(self, path: str) -> int:
        if self._capacity is None:
            return 1 << 40
        return max(0, self._capacity - sum(len(content.content) for content in self._files.values()))

    def fill(self, left_bytes: int | None) -> None:
        """Leave only so much space, or, with None, all of it."""
        self._capacity = None
        if left_bytes is not None:
            self._capacity = left_bytes + sum(len(content.content) for content in self._files.values())

    def require_space(self, growth: int) -> None:
        """May a file grow by so many bytes?

        Raises:
            OSError: not any more; nothing has changed.
        """
        if growth > 0 and self._capacity is not None and growth > self.free_bytes(""):
            raise OSError(errno.ENOSPC, "no space left on the simulated disk")

    def sync_content(self, content: SimContent) -> None:
        """Sync one file, or fail to.

        Raises:
            OSError: as drawn; what was unsynced is settled on something.
        """
        if self.sync_error and self._random.random() < self.sync_error:
            content.lose_power(self._random)
            raise OSError(errno.EIO, "simulated sync error")
        self.syncs += 1
        self._proven = max(self._proven, content.sync(self.syncs))

    def lose_power(self) -> None:
        """Forget what was not synced, names and bytes."""
        self._locks.clear()
        if self._names_unsynced:
            kept = self._random.randrange(len(self._names_unsynced) + 1)
            if kept < len(self._names_unsynced):
                self._files = self._names_unsynced[kept]
            self._names_unsynced.clear()
        for content in self._files.values():
            content.lose_power(self._random)

    def kill(self) -> None:
        """The process dies, the machine does not: its locks are free, its cache stays."""
        self._locks.clear()

    def calm(self) -> None:
        """No more errors."""
        self.sync_error = 0.0
        self._capacity = None

    def _misdirect(self, candidates: Sequence[tuple[str, int, int]]) -> str | None:
        """One page of a write has gone to where another write was: it is missing here, and too much there."""
        if len(candidates) < 2:
            return None
        missing, spoiled = self._later.sample(candidates, 2)
        (lost, lost_at, _), (struck, spoiled_at, _) = missing, spoiled
        source, target = self._files[lost].content, self._files[struck].content
        target[spoiled_at : spoiled_at + PAGE_BYTES] = source[lost_at : lost_at + PAGE_BYTES]
        source[lost_at : lost_at + PAGE_BYTES] = bytes(PAGE_BYTES)
        return f"{lost}, the page at {lost_at}, which went to {struck} at {spoiled_at}"

    def rot(self) -> str | None:
        """Spoil a bit or a page of a provably synced write; returns where, or None when nothing may rot."""
        candidates = [
            (path, offset, end)
            for path, content in sorted(self._files.items())
            for offset, end in content.rottable(self._proven)[:ROT_WRITES_MAX]
        ]
        if not candidates:
            return None
        if self._misdirected and self._later.random() < self._misdirected:
            astray = self._misdirect([item for item in candidates if item[1] >= PAGE_BYTES])
            if astray is not None:
                return astray
        path, offset, end = self._random.choice(candidates)
        content = self._files[path].content
        # A file's first page describes the file; of it, as of everything else, one bit may rot, but not all of it.
        if offset >= PAGE_BYTES and self._random.random() < 0.4:
            page = self._random.randrange(offset // PAGE_BYTES, -(-end // PAGE_BYTES)) * PAGE_BYTES
            content[page : page + PAGE_BYTES] = self._random.randbytes(PAGE_BYTES)
            return f"{path}, the page at {page}"
        position = self._random.randrange(offset, end)
        # Frames are mostly padding: aim at written bytes, but not always.
        written = [at for at in range(offset, end) if content[at]]
        if written and self._random.random() < 0.8:
            position = self._random.choice(written)
        content[position] ^= 1 << self._random.randrange(8)
        return f"{path}, a bit at {position}"
