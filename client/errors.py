"""Errors that people and programs using the client see, each with its exit code (users-and-operators.md §4).

SamtalaError               1
├── UsageError             2    a wrong link, name, flag or call
├── NotFoundError          3    no such room, member, message
├── RefusedError           4    the servers or the room's rules say no
│   └── StaleEpochError    4    the room's epoch has moved on: encrypt again
├── UnavailableError       5    nobody reachable; certainly not done
├── OutcomeUnknownError    6    sent, and no answer came: `retry_id` makes a repeat safe
├── PreconditionError      7    not safe in this state
└── ForkDetectedError      8    histories that contradict each other, or a damaged store
"""

from __future__ import annotations

from typing import ClassVar

from wire.errors import RefusalCode
from wire.ids import RoomEpoch


class SamtalaError(Exception):
    """Base of what the client raises. The text says what, why, and what to do next."""

    exit_code: ClassVar[int] = 1


class UsageError(SamtalaError):
    """The call, link or flag is wrong; nothing was done."""

    exit_code = 2


class NotFoundError(SamtalaError):
    """There is no such thing here."""

    exit_code = 3


class RefusedError(SamtalaError):
    """The servers, or the room's rules, refuse it; nothing changed. `code` is a server's reason, if it was a server."""

    exit_code = 4

    def __init__(self, text: str, code: RefusalCode | None = None) -> None:
        super().__init__(text)
        self.code = code


class StaleEpochError(RefusedError):
    """Entries of an epoch that is over; `epoch` is the room's now."""

    def __init__(self, epoch: RoomEpoch) -> None:
        super().__init__(f"the room is in epoch {epoch} now")
        self.epoch = epoch


class UnavailableError(SamtalaError):
    """Nobody could be reached; what was asked has certainly not been done. `tried` lists what failed, and how."""

    exit_code = 5

    def __init__(self, text: str, tried: tuple[str, ...] = ()) -> None:
        super().__init__("\n  ".join((text, *tried)))
        self.tried = tried


class OutcomeUnknownError(SamtalaError):
    """It was sent and no answer came. Repeating with `retry_id` cannot do it twice."""

    exit_code = 6

    def __init__(self, text: str, retry_id: str = "") -> None:
        super().__init__(text)
        self.retry_id = retry_id


class PreconditionError(SamtalaError):
    """It would not be safe now."""

    exit_code = 7


class ForkDetectedError(SamtalaError):
    """Two histories contradict each other, or the store is damaged."""

    exit_code = 8
