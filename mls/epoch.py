"""The step from one epoch to the next, the same for committer, member, and newcomer (RFC 9420 12.4.1, 12.4.2).

proposals ─▶ tree ─▶ path ─▶ commit, signed ─▶ transcript hash ─▶ GroupContext ─▶ secrets ─▶ confirmation tag
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mls.crypto import SignatureKey
from mls.errors import InvalidCommit, MissingPreSharedKey
from mls.key_schedule import (
    EpochSecrets,
    GroupContext,
    JoinerSecrets,
    PreSharedKeyID,
    PSKType,
    confirmed_transcript_hash,
    interim_transcript_hash,
    joiner_secret,
    psk_secret,
)
from mls.limits import EPOCH_MAX
from mls.nodes import Extension
from mls.ratchet_tree import RatchetTree
from mls.secret_tree import SecretTree
from mls.state import GroupState, remember_resumption

__all__ = ["NextEpoch", "enter_epoch", "next_epoch", "psk_contribution"]


class NextEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """Context and secrets of a new epoch, before anybody's private keys."""

    context: GroupContext
    context_bytes: bytes
    joiner_secret: bytes
    joiner: JoinerSecrets
    secrets: EpochSecrets
    encryption_secret: bytes
    confirmation_tag: bytes


def provisional_context(old: GroupContext, tree: RatchetTree, extensions: tuple[Extension, ...]) -> GroupContext:
    """Context of the next epoch, still with the old transcript hash: what path secrets are sealed under.

    Raises:
        InvalidCommit: there is no epoch after this one.
    """
    if old.epoch >= EPOCH_MAX:
        raise InvalidCommit("the last epoch")
    return msgspec.structs.replace(old, epoch=old.epoch + 1, tree_hash=tree.tree_hash(), extensions=extensions)


def next_epoch(
    provisional: GroupContext,
    *,
    interim: bytes,
    confirmed_input: bytes,
    init_secret: bytes,
    commit_secret: bytes,
    psks: bytes,
) -> NextEpoch:
    """Mix a commit into the transcript and the key schedule."""
    confirmed = confirmed_transcript_hash(interim, confirmed_input)
    context = msgspec.structs.replace(provisional, confirmed_transcript_hash=confirmed)
    context_bytes = context.encode()
    joiner = joiner_secret(init_secret, commit_secret, context_bytes)
    mixed = JoinerSecrets.derive(joiner, psks)
    secrets, encryption_secret = mixed.epoch_secrets(context_bytes)
    return NextEpoch(
        context=context,
        context_bytes=context_bytes,
        joiner_secret=joiner,
        joiner=mixed,
        secrets=secrets,
        encryption_secret=encryption_secret,
        confirmation_tag=secrets.confirmation_tag(confirmed),
    )


def enter_epoch(
    epoch: NextEpoch,
    tree: RatchetTree,
    *,
    own_leaf: int,
    private_keys: dict[int, bytes],
    signature_key: SignatureKey,
    past_resumption_psks: dict[int, bytes],
) -> GroupState:
    """A member's state at the beginning of an epoch. Private keys of nodes that were blanked are left behind."""
    context = epoch.context
    kept = {node: key for node, key in private_keys.items() if node < len(tree.nodes) and tree.nodes[node] is not None}
    return GroupState(
        context=context,
        context_bytes=epoch.context_bytes,
        tree=tree,
        own_leaf=own_leaf,
        private_keys=kept,
        secrets=epoch.secrets,
        secret_tree=SecretTree(epoch.encryption_secret, tree.leaf_count),
        confirmation_tag=epoch.confirmation_tag,
        interim_transcript_hash=interim_transcript_hash(context.confirmed_transcript_hash, epoch.confirmation_tag),
        signature_key=signature_key,
        resumption_psks=remember_resumption(past_resumption_psks, context.epoch, epoch.secrets.resumption_psk),
    )


def psk_contribution(
    names: list[PreSharedKeyID],
    external: Mapping[bytes, bytes],
    resumption: Mapping[tuple[bytes, int], bytes],
) -> bytes:
    """Secret of the named pre-shared keys: external ones by id, resumption secrets by (group id, epoch).

    Raises:
        MissingPreSharedKey: we do not hold one of them.
    """
    found = []
    for name in names:
        if name.psk_type is PSKType.EXTERNAL:
            key = external.get(name.psk_id)
        else:
            key = resumption.get((name.psk_group_id, name.psk_epoch))
        if key is None:
            raise MissingPreSharedKey(f"{name.psk_type.name.lower()} pre-shared key")
        found.append((name, key))
    return psk_secret(found)
