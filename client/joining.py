"""Joining by link: from a join bundle to an external commit on its way (RFC 9420 12.4.3.2). Pure.

    JoinBundle(epoch n, sealed GroupInfo, sequence, chain) ──▶ JoinAttempt(block, staged group of n+1, cursor)
       block accepted ──▶ core follows the log from `cursor` on: our commit comes by, we are in
       CONFLICT ────────▶ somebody else's commit won: a new bundle, a new attempt

Whoever comes back after losing their state, or cannot follow a commit, joins again in the same way and removes their old
leaf with the same commit; ratchets are never restored (e2ee.md §3.4).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from client.commits import commit_block
from client.identity import Identity
from client.room_state import Block, Cursor, RoomKeys, block_digest
from client.seals import open_bundle, seal_knock
from mls import Entropy, Group, InvalidArgument, KeyPackageBundle, StagedGroup
from wire.errors import DecodeError
from wire.messages import JoinBundle, StoredWelcomeReply
from wire.room import encode_knock_block


class JoinAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An external commit that was made but not accepted yet.

    `group` is that of the epoch it would begin; `cursor` is where the log is to be followed from.
    """

    group: Group
    block: Block
    cursor: Cursor


def prepare_join(
    bundle: JoinBundle,
    keys: RoomKeys,
    identity: Identity,
    *,
    entropy: Entropy,
    now_s: int,
    old_group: Group | None = None,
) -> JoinAttempt:
    """Make an external commit for the bundle's epoch.

    Args:
        bundle: as a server gave it.
        keys: from the link.
        identity: who joins.
        entropy: source of randomness.
        now_s: unix seconds.
        old_group: ours of an earlier stay or attempt; our leaf of then goes by the same commit, if it is still ours.

    Raises:
        DecodeError: the bundle was not made by holders of this link, or the room is too large.
        mls.PeerError: the GroupInfo is not valid.
        mls.InvalidArgument: our key is in the group already, at a place that we do not know.
    """
    opened = open_bundle(bundle.group_info, key=keys.bundle_key, room_id=keys.room_id, epoch=bundle.epoch)

    def stage(old_leaf: int | None) -> StagedGroup:
        staged, _ = Group.join_external(
            opened.group_info, identity.signature_key, identity.credential(),
            entropy=entropy, now=now_s, remove_old_leaf=old_leaf,
        )  # fmt: skip
        return staged

    staged = _instead_of(old_group, stage) or stage(None)
    block = commit_block(staged, keys, env_key=opened.env_key, entropy=entropy, external=True)
    return JoinAttempt(group=staged.merge(), block=block, cursor=Cursor(bundle.sequence, bundle.chain))


def _instead_of(old_group: Group | None, stage: Callable[[int], StagedGroup]) -> StagedGroup | None:
    """Join in place of our old leaf; None if there is none of ours any more.

    An attempt that lost its race leaves a leaf number that may be the winner's now, so the key decides.
    """
    old = None if old_group is None else old_group.member(old_group.own_leaf_index)
    if old is None:
        return None
    try:
        staged = stage(old.leaf_index)
    except InvalidArgument:
        return None
    keys = [member.signature_public_key for member in staged.removed]
    return staged if keys == [old.signature_public_key] else None


def prepare_knock(bundle: JoinBundle, keys: RoomKeys, package: KeyPackageBundle, *, entropy: Entropy) -> Block:
    """Ask members to let us in: a KeyPackage of ours, sealed for them, of the bundle's epoch."""
    sealed = seal_knock(
        package.key_package_bytes, key=keys.bundle_key, room_id=keys.room_id, epoch=bundle.epoch, entropy=entropy
    )
    data = encode_knock_block(bundle.epoch, sealed)
    return Block(block_digest(data), data)


def enter_by_welcome(
    reply: StoredWelcomeReply, package: KeyPackageBundle, keys: RoomKeys, identity: Identity, *, now_s: int
) -> tuple[Group, Cursor]:
    """Come in by the Welcome that a knock led to: our group, and where the log is to be followed from.

    Raises:
        DecodeError: it leads to another room.
        mls.PeerError: it is not valid.
    """
    group = Group.join(reply.welcome, package, identity.signature_key, now_s)
    if group.group_id != keys.room_id:
        raise DecodeError("a Welcome to another room")
    return group, Cursor(reply.sequence, reply.chain)


def has_won(group: Group, bundle: JoinBundle, keys: RoomKeys) -> bool:
    """Tell whether a newer bundle shows that an attempt was accepted after all, though its answer was lost.

    Args:
        group: the attempt's.
        bundle: fetched after the attempt's outcome was settled, because another session was opened since.
        keys: from the link.

    Raises:
        DecodeError: the bundle was not made by holders of this link.
    """
    if bundle.epoch != group.epoch:
        return False
    opened = open_bundle(bundle.group_info, key=keys.bundle_key, room_id=keys.room_id, epoch=bundle.epoch)
    return opened.group_info == group.group_info()
