"""How a worked-out commit is stored, ours or somebody else's, before anybody decided on it.

A client must remember its own commit before it sends it: after a crash the log may show it, and only these bytes can
follow. `mls.group.StagedCommit` is the face of what is stored here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mls.commit import CommitOutcome
from mls.crypto import SignatureKey
from mls.errors import StateCorrupt
from mls.state import GroupState, Member

__all__ = ["restore_outcome", "store_outcome"]

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


def store_outcome(outcome: CommitOutcome) -> bytes:
    """Encode everything but the signature key."""
    state = outcome.state
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


def restore_outcome(stored: bytes, signature_key: SignatureKey) -> CommitOutcome:
    """Decode what `store_outcome` gave.

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
    return CommitOutcome(
        state=state,
        message=found.message,
        welcome=found.welcome,
        epoch=found.epoch,
        committer=found.committer,
        added=found.added,
        removed=found.removed,
        updated=found.updated,
    )
