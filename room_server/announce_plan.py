"""When each hosted room's descriptor is put into the DHT again. Pure.

    created or started ─▶ at once, replicas staggered by place ─▶ every hour ±10 %        failed ─▶ again in a minute

Stored items expire after two hours (dht.md §2), so one lost hour costs nothing. Every replica puts in every round;
staggering spreads their puts over the hour, so that some copy is always fresh.
"""

from __future__ import annotations

import heapq
import math

from room_server import limits
from wire.ids import RoomId


class AnnouncePlan:
    """The rooms that this node announces and when. `random01` of a call is entropy in [0, 1)."""

    def __init__(self) -> None:
        self._due: list[tuple[float, RoomId]] = []
        self._published_at: dict[RoomId, float] = {}

    def __len__(self) -> int:
        return len(self._published_at)

    def add(self, room_id: RoomId, now: float, *, place: int) -> None:
        """Begin to announce a room; `place` is this replica's among the members."""
        if room_id not in self._published_at:
            self._published_at[room_id] = now
            heapq.heappush(self._due, (now + place * limits.ANNOUNCE_STAGGER_S, room_id))

    def drop(self, room_id: RoomId) -> None:
        """Announce a room no longer."""
        self._published_at.pop(room_id, None)
        self._due = [due for due in self._due if due[1] != room_id]
        heapq.heapify(self._due)

    def next_deadline(self) -> float:
        """When the next room is due, monotonic seconds; infinity when there are none."""
        return self._due[0][0] if self._due else math.inf

    def take_due(self, now: float, *, count_max: int) -> list[RoomId]:
        """Rooms to announce now; each comes back with `done`."""
        due: list[RoomId] = []
        while self._due and self._due[0][0] <= now and len(due) < count_max:
            due.append(heapq.heappop(self._due)[1])
        return due

    def done(self, room_id: RoomId, now: float, *, succeeded: bool, random01: float) -> None:
        """An announcement ended; plan the next, unless the room was dropped meanwhile."""
        if room_id not in self._published_at:
            return
        if succeeded:
            self._published_at[room_id] = now
        period_s = limits.ANNOUNCE_PERIOD_S if succeeded else limits.ANNOUNCE_RETRY_S
        spread = 1 + limits.ANNOUNCE_SPREAD * (2 * random01 - 1)
        heapq.heappush(self._due, (now + period_s * spread, room_id))

    def oldest_age_s(self, now: float) -> float:
        """Seconds since the stalest room was last announced; 0 when there are none."""
        return now - min(self._published_at.values(), default=now)
