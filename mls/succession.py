"""Groups that continue another one: the successor after a ReInit, or a branch of some members (RFC 9420 11.2, 11.3).

    parent, closed by a ReInit ── succeed ──▶ same members, the group id and extensions that the ReInit announced
    parent ── succeed(branch_id) ──────────▶ some of its members, same extensions

The founder creates the new group and adds the others in its first commit, which mixes in the parent's resumption secret:
only members of the parent's epoch can join, and each checks that the new group is what the parent agreed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from mls.crypto import CIPHER_SUITE
from mls.errors import GroupClosed, InvalidArgument, InvalidGroupInfo, Unsupported
from mls.key_schedule import GroupContext, PreSharedKeyID, PSKType, ResumptionUsage
from mls.nodes import PROTOCOL_VERSION, Extension, LeafNode
from mls.proposals import KeyPackage
from mls.ratchet_tree import RatchetTree
from mls.state import GroupState

__all__ = ["FOUNDING", "Successor", "check_origin", "plan_successor"]

FOUNDING = frozenset({ResumptionUsage.REINIT, ResumptionUsage.BRANCH})
"""Usages of a resumption secret that stand only in a group's first commit."""


class Successor(msgspec.Struct, frozen=True, kw_only=True):
    """A group to be founded, and the name of the secret that ties it to its parent."""

    group_id: bytes
    extensions: tuple[Extension, ...]
    psk: PreSharedKeyID


def plan_successor(
    parent: GroupState, key_packages: Sequence[KeyPackage], branch_id: bytes | None, nonce: bytes
) -> Successor:
    """What the group that continues `parent` is like: as its ReInit says, or a branch with an id of its own.

    Raises:
        GroupClosed: a branch of a group that was re-initialised.
        InvalidArgument: no ReInit to follow, the parent's own id for a branch, or KeyPackages of the wrong people.
        Unsupported: the ReInit asks for another version or cipher suite.
    """
    group_id, extensions, usage = branch_id, parent.context.extensions, ResumptionUsage.BRANCH
    if group_id is None:
        if parent.reinit is None:
            raise InvalidArgument("a group that no ReInit closed has no successor, only branches")
        if (parent.reinit.version, parent.reinit.cipher_suite) != (PROTOCOL_VERSION, CIPHER_SUITE):
            raise Unsupported("a successor of another version or cipher suite")
        group_id, extensions, usage = parent.reinit.group_id, parent.reinit.extensions, ResumptionUsage.REINIT
    elif parent.reinit is not None:
        raise GroupClosed("the group was re-initialised")
    if group_id == parent.context.group_id:
        raise InvalidArgument("a group that continues another one under the same id")
    own = parent.tree.leaf(parent.own_leaf)
    assert own is not None, "a member's own leaf is never blank"
    if not _are_members([own, *(package.leaf_node for package in key_packages)], parent.tree, usage):
        raise InvalidArgument("KeyPackages of others than the parent's members")
    psk = PreSharedKeyID(
        psk_type=PSKType.RESUMPTION,
        usage=usage,
        psk_group_id=parent.context.group_id,
        psk_epoch=parent.context.epoch,
        psk_nonce=nonce,
    )
    return Successor(group_id=group_id, extensions=extensions, psk=psk)


def check_origin(
    parent: GroupState | None, psks: Sequence[PreSharedKeyID], context: GroupContext, tree: RatchetTree
) -> None:
    """Check that a group we are welcomed to continues `parent`, or, without one, that it continues nothing.

    Raises:
        Unsupported: it continues a group that was not given.
        InvalidGroupInfo: it is not the group that the parent's members agreed on.
    """
    founding = [psk for psk in psks if psk.psk_type is PSKType.RESUMPTION and psk.usage in FOUNDING]
    if parent is None:
        if founding:
            raise Unsupported("a Welcome to the successor or a branch of another group")
        return
    if len(founding) != 1 or context.epoch != 1:
        raise InvalidGroupInfo("a group that does not begin as the successor or a branch of the given one")
    psk, reinit = founding[0], parent.reinit
    if (psk.psk_group_id, psk.psk_epoch) != (parent.context.group_id, parent.context.epoch):
        raise InvalidGroupInfo("a group that continues another group or epoch")
    if (psk.usage is ResumptionUsage.REINIT) != (reinit is not None):
        raise InvalidGroupInfo("a branch of a closed group, or a successor of an open one")
    if reinit is not None:
        agreed = (reinit.group_id, reinit.version, reinit.cipher_suite, reinit.extensions)
        if agreed != (context.group_id, PROTOCOL_VERSION, context.cipher_suite, context.extensions):
            raise InvalidGroupInfo("a successor that is not what the ReInit announced")
    if not _are_members([leaf for _, leaf in tree.leaves()], parent.tree, psk.usage):
        raise InvalidGroupInfo("a group of others than the parent's members")


def _are_members(leaves: Sequence[LeafNode], parent: RatchetTree, usage: ResumptionUsage) -> bool:
    """Tell whether people are the parent's members: all of them for a successor, some for a branch."""
    here = Counter(leaf.credential.encode() for leaf in leaves)
    there = Counter(leaf.credential.encode() for _, leaf in parent.leaves())
    return here == there if usage is ResumptionUsage.REINIT else here <= there
