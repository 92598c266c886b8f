"""Commits as the room's log carries them: built, sealed, opened and judged. Pure.

    staged commit of epoch n ──▶ CommitBody: commit sealed for members of n, join bundle of n+1 sealed for link holders,
                                 public keys that admit writers and readers of n+1, Welcomes

Members refuse a commit whose announced keys are not those that they export themselves: otherwise its author could lock
everybody else out, or let somebody in.
"""

from __future__ import annotations

import msgspec

from client.archive import HistoryPolicy
from client.facts import check_admission, check_facts, facts_of, join_key_of, keys_in
from client.identity import may_replace
from client.room_state import Block, RoomKeys, block_digest
from client.seals import EpochSecrets, OpenBundle, epoch_secrets, open_commit, seal_bundle, seal_commit
from mls import Entropy, Group, StagedCommit
from wire.errors import DecodeError
from wire.ids import RoomEpoch
from wire.limits import COMMIT_BYTES_MAX
from wire.link import Link
from wire.room import CommitBody, Override, StoredWelcome, encode_commit_block, encode_control_block


class NewLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link in the place of the old one: its 16-byte secret, and the signed descriptor that it opens."""

    secret: bytes
    descriptor: bytes


class MemberChange(msgspec.Struct, frozen=True, kw_only=True):
    """A wish for another epoch: members to remove, by their device keys; a new link; newcomers to let into
    a room by approval, by theirs; another policy of what newcomers may read. Empty: renew our own keys.
    """

    remove: tuple[bytes, ...] = ()
    new_link: NewLink | None = None
    let_in: tuple[bytes, ...] = ()
    history: HistoryPolicy | None = None


def seal_group_info(group: Group, secrets: EpochSecrets, keys: RoomKeys, entropy: Entropy) -> bytes:
    """The sealed join bundle of a group's epoch, for a genesis record; empty in a room by approval."""
    if facts_of(group).by_approval:
        return b""
    bundle = OpenBundle(group.group_info(), secrets.env_key)
    return seal_bundle(bundle, key=keys.bundle_key, room_id=keys.room_id, epoch=RoomEpoch(group.epoch), entropy=entropy)


def commit_block(
    staged: StagedCommit,
    keys: RoomKeys,
    *,
    env_key: bytes,
    entropy: Entropy,
    external: bool = False,
    new_link: NewLink | None = None,
    welcomes: tuple[StoredWelcome, ...] = (),
) -> Block:
    """Pack a staged commit into a block.

    Args:
        staged: leads from epoch n to n+1.
        keys: the room's.
        env_key: that of epoch n, 32 bytes.
        entropy: source of randomness.
        external: its author joins by link.
        new_link: what the commit puts into the room's facts.
        welcomes: for those whom the commit lets in.

    Raises:
        DecodeError: the room has too many members for one block.
    """
    ending = RoomEpoch(staged.epoch - 1)
    secrets = epoch_secrets(staged.group)
    body = CommitBody(
        commit=seal_commit(staged.commit, env_key=env_key, room_id=keys.room_id, epoch=ending, entropy=entropy),
        group_info=seal_group_info(staged.group, secrets, keys_in(staged.group, keys), entropy),
        next_write_key=secrets.write_key,
        next_read_key=secrets.read_key,
        external=external,
        welcomes=welcomes,
        join_key=b"" if new_link is None else join_key_of(Link(root_public=keys.root_public, secret=new_link.secret)),
        descriptor=b"" if new_link is None else new_link.descriptor,
    )  # fmt: skip
    data = encode_commit_block(ending, body)
    if len(data) > COMMIT_BYTES_MAX:
        raise DecodeError("the room has too many members for one commit")
    return Block(block_digest(data), data)


def override_block(group: Group, keys: RoomKeys, entropy: Entropy) -> Block:
    """The owner's word that the room is in this group's epoch (e2ee.md §3.1, R4)."""
    secrets = epoch_secrets(group)
    body = Override(
        write_key=secrets.write_key,
        read_key=secrets.read_key,
        group_info=seal_group_info(group, secrets, keys_in(group, keys), entropy),
    )
    data = encode_control_block(RoomEpoch(group.epoch), body)
    return Block(block_digest(data), data)


def judge_commit(body: CommitBody, group: Group, keys: RoomKeys, *, env_key: bytes, now_s: int) -> StagedCommit:
    """Open another member's commit and work out what it leads to.

    Args:
        body: as the log shows it.
        group: ours, in the epoch that the commit ends.
        keys: the room's.
        env_key: that of the group's epoch.
        now_s: the log's time of the entry, unix seconds, so that all members judge alike.

    Raises:
        DecodeError: the seal does not open, or the announced keys are not those of the new epoch.
        mls.PeerError: the commit is not valid.
    """
    opened = open_commit(body.commit, env_key=env_key, room_id=keys.room_id, epoch=RoomEpoch(group.epoch))
    staged = group.process_commit(opened, now_s, may_replace=may_replace)
    check_admission(group, staged, body)
    if not staged.self_removed:
        secrets = epoch_secrets(staged.group)
        if (secrets.write_key, secrets.read_key) != (body.next_write_key, body.next_read_key):
            raise DecodeError("the commit announces keys that are not those of its epoch")
        check_facts(group, staged.group, committer=staged.committer, body=body, keys=keys)
    return staged
