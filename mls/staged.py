"""A commit that has been worked out but not taken: ours on its way to the log, or somebody else's under judgement.

    Group ── commit / process_commit ──▶ StagedCommit ── merge, when the log shows that it won ──▶ Group of the next epoch
                                              └─ dropped, when another commit won

Staged commits can be stored, because a client must remember its own before it sends it: after a crash the log may show it,
and only these bytes can follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from mls.commit import CommitOutcome
from mls.crypto import SignatureKey
from mls.errors import GroupClosed, StateCorrupt
from mls.framing import WireFormat, envelope
from mls.state import GroupState, Member

if TYPE_CHECKING:
    from mls.group import Group

__all__ = ["StagedCommit", "StagedGroup"]

_FORMAT: Final = 1


class _Stored(msgspec.Struct, array_like=True):
    format: int
    message: bytes
    welcome: bytes | None
    epoch: int
    committer: Member
    added: list[Member]
    removed: list[Member]
    updated: list[Member]
    epoch_part: bytes | None
    ratchet_part: bytes | None


class StagedCommit:
    """What a commit leads to, before anybody decided on it. The group it came from has not changed."""

    __slots__ = ("_group_info", "_outcome")

    def __init__(self, outcome: CommitOutcome) -> None:
        self._outcome = outcome
        self._group_info: bytes | None = None

    @property
    def commit(self) -> bytes:
        """The commit itself: an MLSMessage."""
        return self._outcome.message

    @property
    def welcome(self) -> bytes | None:
        """The Welcome for everybody our commit adds (an MLSMessage); None if it adds nobody or is not ours."""
        return self._outcome.welcome

    @property
    def epoch(self) -> int:
        """The epoch it leads to."""
        return self._outcome.epoch

    @property
    def committer(self) -> Member:
        """Who made it, as it stands in the new epoch; a newcomer, for an external commit."""
        return self._outcome.committer

    @property
    def added(self) -> list[Member]:
        """Who comes in, at their new leaves; for an external commit, the committer."""
        return self._outcome.added

    @property
    def removed(self) -> list[Member]:
        """Who goes, at their old leaves."""
        return self._outcome.removed

    @property
    def updated(self) -> list[Member]:
        """Whose leaf an Update proposal replaces, as they stand in the new epoch."""
        return self._outcome.updated

    @property
    def self_removed(self) -> bool:
        """Tell whether it removes us: then there is nothing to merge."""
        return self._outcome.state is None

    @property
    def group(self) -> Group:
        """The group in the new epoch; look, export, but send nothing before the commit won.

        Raises:
            GroupClosed: the commit removes us.
        """
        from mls.group import (
            Group,
        )  # the two know each other: a group stages commits, and a staged commit holds a group

        return Group(self._state())

    @property
    def group_info(self) -> bytes:
        """Signed GroupInfo of the new epoch with tree and external key: an MLSMessage.

        Raises:
            GroupClosed: the commit removes us.
        """
        if self._group_info is None:
            self._group_info = envelope(WireFormat.GROUP_INFO, self._state().group_info().encode())
        return self._group_info

    def merge(self) -> Group:
        """Take the step: the group in the new epoch. Drop the old group afterwards.

        Raises:
            GroupClosed: the commit removes us.
        """
        return self.group

    def _state(self) -> GroupState:
        if self._outcome.state is None:
            raise GroupClosed("this commit removes us")
        return self._outcome.state

    def to_bytes(self) -> bytes:
        """Encode everything but the signature key, for storing. Holds secrets of the new epoch."""
        outcome, state = self._outcome, self._outcome.state
        return msgspec.msgpack.encode(
            _Stored(
                format=_FORMAT,
                message=outcome.message,
                welcome=outcome.welcome,
                epoch=outcome.epoch,
                committer=outcome.committer,
                added=outcome.added,
                removed=outcome.removed,
                updated=outcome.updated,
                epoch_part=None if state is None else state.epoch_part(),
                ratchet_part=None if state is None else state.ratchet_part(),
            )
        )

    @classmethod
    def from_bytes(cls, stored: bytes, signature_key: SignatureKey) -> StagedCommit:
        """Decode what `to_bytes` gave.

        Raises:
            StateCorrupt: it is something else, or the signature key is another member's.
        """
        try:
            found = msgspec.msgpack.decode(stored, type=_Stored)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StateCorrupt("not a stored commit") from error
        if found.format != _FORMAT:
            raise StateCorrupt("a stored commit of another version")
        state = None
        if found.epoch_part is not None and found.ratchet_part is not None:
            state = GroupState.restore(found.epoch_part, found.ratchet_part, signature_key)
        return cls(
            CommitOutcome(
                state=state,
                message=found.message,
                welcome=found.welcome,
                epoch=found.epoch,
                committer=found.committer,
                added=found.added,
                removed=found.removed,
                updated=found.updated,
            )
        )


StagedGroup = StagedCommit
"""An external join on its way: the same thing, seen by a newcomer."""
