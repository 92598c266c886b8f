"""What waits for the disk, and whose turn it is: deficit round robin by bytes over groups. Pure.

Usually everything that waits fits into one write, and nobody's turn matters. When it does not, a room full of large entries
must not make quiet rooms wait for all of them: each group may write a quantum per round, and keeps what it could not use
(Shreedhar and Varghese, 1995), so that a large entry has its turn too. Within a group the order stays as it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec
import trio

from vr.host.hosted_group import HostedGroup
from vr.host.limits import WRITE_QUANTUM_BYTES
from vr.messages import Message
from vr.storage.frame import Record
from vr.types import ReplicaIndex


class Write(msgspec.Struct, kw_only=True, eq=False):
    """Records that wait for the disk, and who waits for them."""

    records: Sequence[Record]
    size: int
    hosted: HostedGroup | None = None
    token: int = 0
    sends: Sequence[tuple[ReplicaIndex, Message]] = ()
    is_done: trio.Event | None = None


class WriteQueue:
    """Writes in the order they came; `take` gives the next ones. What has no group is a group of its own."""

    def __init__(self) -> None:
        self._waiting: deque[Write] = deque()
        self._bytes = 0
        self._deficits: dict[HostedGroup | None, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, write: Write) -> None:
        """Add a write behind all others of its group."""
        self._waiting.append(write)
        self._bytes += write.size

    def drop(self, hosted: HostedGroup) -> None:
        """Let go of what one group wanted written."""
        self._waiting = deque(write for write in self._waiting if write.hosted is not hosted)
        self._bytes = sum(write.size for write in self._waiting)

    def take(self, bytes_max: int) -> list[Write]:
        """The next writes, together at most so many bytes, but one at least if there is one."""
        if self._bytes <= bytes_max:
            taken = list(self._waiting)
            self._waiting.clear()
            self._deficits.clear()
        else:
            taken = self._take_in_turn(bytes_max)
        self._bytes -= sum(write.size for write in taken)
        return taken

    def _take_in_turn(self, bytes_max: int) -> list[Write]:
        lanes: dict[HostedGroup | None, deque[Write]] = {}
        for write in self._waiting:
            lanes.setdefault(write.hosted, deque()).append(write)
        taken: list[Write] = []
        room = bytes_max
        while lanes and room > 0:
            for group in list(lanes):
                self._deficits[group] = self._deficits.get(group, 0) + WRITE_QUANTUM_BYTES
                room -= self._serve(group, lanes[group], taken, room=room)
                if not lanes[group]:
                    del lanes[group], self._deficits[group]
                if room <= 0:
                    break
        served = {id(write) for write in taken}
        self._waiting = deque(write for write in self._waiting if id(write) not in served)
        return taken

    def _serve(self, group: HostedGroup | None, lane: deque[Write], taken: list[Write], *, room: int) -> int:
        """Bytes of the writes that one group's turn allows; all the room, when its next write does not fit."""
        used = 0
        while lane and lane[0].size <= self._deficits[group]:
            if taken and used + lane[0].size > room:
                return room
            write = lane.popleft()
            self._deficits[group] -= write.size
            used += write.size
            taken.append(write)
        return used
