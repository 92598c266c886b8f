"""The send queue of one connection: encoded frames and their bytes. Pure.

Answers always fit (`put`): they are bounded by what was asked, and nothing more is read from a client whose queue is
full. Deliveries only fit while there is room (`offer`): the subscriber resumes from its cursor later. Frames are shared
by reference between queues, so the bytes counted here are owed, not owned.
"""

from __future__ import annotations

from collections import deque

from room_server import limits


class Outbox:
    """Frames waiting for one connection."""

    __slots__ = ("_frames", "bytes_max", "bytes_now")

    def __init__(self, bytes_max: int = limits.SEND_QUEUE_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.bytes_now = 0
        self._frames: deque[bytes] = deque()

    @property
    def is_full(self) -> bool:
        """No more deliveries, and nothing more to be read from this client."""
        return self.bytes_now >= self.bytes_max

    def put(self, frame: bytes) -> None:
        """Queue an answer."""
        self._frames.append(frame)
        self.bytes_now += len(frame)

    def offer(self, frame: bytes) -> bool:
        """Queue a delivery if there is room."""
        if self.bytes_now >= self.bytes_max:
            return False
        self._frames.append(frame)
        self.bytes_now += len(frame)
        return True

    def take(self, bytes_max: int) -> list[bytes]:
        """Frames for one write: as many as fit into `bytes_max`, at least one if there is any."""
        frames = self._frames
        if self.bytes_now <= bytes_max:
            taken = list(frames)
            frames.clear()
            self.bytes_now = 0
            return taken
        taken = [frames.popleft()]
        size = len(taken[0])
        while frames and size + len(frames[0]) <= bytes_max:
            size += len(frames[0])
            taken.append(frames.popleft())
        self.bytes_now -= size
        return taken
