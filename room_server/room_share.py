"""What one room may take of this server: blocks a second, bytes in all. Pure.

    node.toml [limits], the cluster's policy ─▶ Quotas ─▶ RoomQuota, the strictest of both
    APP block ─▶ RoomShare.why_not ─▶ None: it may pass │ BUSY, try again after so many seconds │ FULL

Asked where the client is attached, before a block enters the log: never in the room's replicated state, because servers may
be configured differently. So a room of three servers can take three times the rate, when its members are spread over them;
its bytes are counted by the room itself and the same everywhere. Only what members say counts and is refused. Whoever
removes a member, moves the room or joins it passes, so that people can mend a full room.

A refused block was not taken up; the client keeps it and sends it again. While one waits, those behind it wait, too: let through they
would make a gap in their session.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

from room_server import limits
from room_server.config import LimitsConfig
from room_server.roster import Policy
from wire.errors import RefusalCode

_MIB: Final = 1024 * 1024


class RoomQuota(msgspec.Struct, frozen=True):
    """`blocks_per_s`: after QUOTA_BURST_S seconds' worth at once. `stored_bytes`: of blocks in the log, first to last."""

    blocks_per_s: float = math.inf
    stored_bytes: float = math.inf


NO_QUOTA: Final = RoomQuota()


class Quotas:
    """The quota of each room on this server.

    Args:
        config: the node's.
        policy: the cluster's of now; None without one.
    """

    def __init__(self, config: LimitsConfig, policy: Callable[[], Policy | None]) -> None:
        self._config = config
        self._policy = policy
        self._counted: tuple[LimitsConfig, Policy | None] = (config, None)
        self._quota = _strictest(config, None)

    def change(self, config: LimitsConfig) -> None:
        """The configuration is another."""
        self._config = config

    def of_rooms(self) -> RoomQuota:
        """What holds now."""
        said = (self._config, self._policy())
        if said != self._counted:
            self._counted, self._quota = said, _strictest(*said)
        return self._quota


def _strictest(config: LimitsConfig, policy: Policy | None) -> RoomQuota:
    rates = (config.room_blocks_per_s, 0 if policy is None else policy.room_blocks_per_s)
    sizes = (config.room_mb, 0 if policy is None else policy.room_mb)
    quota = RoomQuota(
        blocks_per_s=min((float(rate) for rate in rates if rate), default=math.inf),
        stored_bytes=min((float(size * _MIB) for size in sizes if size), default=math.inf),
    )
    return NO_QUOTA if quota == NO_QUOTA else quota


class Bucket:
    """So many at once, and so many a second; full at first. Times are monotonic seconds."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = math.inf
        self._at = 0.0

    def wait_s(self, now: float, *, per_s: float, at_once: float) -> float:
        """Take one and return 0.0; or take none, and return the seconds until there is one."""
        self._left = min(self._left + (now - self._at) * per_s, at_once)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / per_s
        self._left -= 1
        return 0.0


class RoomShare:
    """What one room took."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks = Bucket()

    def why_not(self, quota: RoomQuota, stored_bytes: int, now: float) -> tuple[RefusalCode, float] | None:
        """Take one block into account; or why it may not pass, and after how many seconds to try again.

        Args:
            quota: of the room, now.
            stored_bytes: of the room's blocks so far.
            now: monotonic seconds.
        """
        if stored_bytes >= quota.stored_bytes:
            return RefusalCode.FULL, limits.FULL_RETRY_S
        if quota.blocks_per_s == math.inf:
            return None
        at_once = max(quota.blocks_per_s * limits.QUOTA_BURST_S, 1.0)
        wait_s = self._blocks.wait_s(now, per_s=quota.blocks_per_s, at_once=at_once)
        return (RefusalCode.BUSY, wait_s) if wait_s else None
