"""Groups that nobody uses give back their memory: what they keep for laggards is on disk, and is read from there.

    committed ─▶ warm ─ nothing for COLD_S ─▶ checkpoint, its operations in history ─▶ cold: the log in memory ends at its head
                  ▲                                                                      │
                  └──────────────────────────────── used again ──────────────────────────┘

A replica without operations in memory is a few kilobytes; what a used group keeps of them is a hundred times that, and most
rooms are silent most of the time. The replica itself stays: it answers peers, votes and wakes up at once, and there is no
moment in which a group is neither here nor there. Being cold is nothing that others notice: a laggard's question is answered
from history, as it is whenever somebody is far behind. Groups cool a few at a time, oldest first, so that thousands that
fell silent together do not meet at the disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from vr.host import limits
from vr.host.hosted_group import HostedGroup
from vr.replica import Status


class Cooling:
    """Which groups are warm, in the order in which they were used last."""

    def __init__(self) -> None:
        self._due: dict[HostedGroup, float] = {}
        self._again_at = -math.inf

    def __len__(self) -> int:
        return len(self._due)

    def note_used(self, hosted: HostedGroup, now: float) -> None:
        """The group holds operations in memory, the newest of now."""
        self._due.pop(hosted, None)
        self._due[hosted] = now + limits.COLD_S

    def forget(self, hosted: HostedGroup) -> None:
        """The group is not here any more."""
        self._due.pop(hosted, None)

    def next_due(self) -> float:
        """When to look again, monotonic seconds; infinity: everything is cold."""
        return max(next(iter(self._due.values()), math.inf), self._again_at)

    def take(self, now: float) -> Iterator[HostedGroup]:
        """Some of those that were not used for long. What is busy all the same has its time again."""
        if now < self.next_due():
            return
        self._again_at = now + limits.COOL_EVERY_S
        for hosted, due in list(self._due.items())[: limits.COOLED_AT_ONCE_MAX]:
            if due > now:
                return
            if is_quiet(hosted):
                del self._due[hosted]
                yield hosted
            else:
                self.note_used(hosted, now)


def is_quiet(hosted: HostedGroup) -> bool:
    """Is everything that the replica has committed, executed, and wanted by nobody?"""
    replica = hosted.replica
    return (
        replica.status is Status.NORMAL
        and not replica.pending_count
        and not hosted.is_checkpointing
        and replica.applied_op == replica.commit_number == replica.head_op
    )
