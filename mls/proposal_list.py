"""Which proposals may stand in one commit, and what they do to the tree (RFC 9420 12.1 to 12.3).

`sort_proposals` checks the list as a whole; `apply_proposals` works on a copy of the tree and checks every new leaf in the
result, so that a member removed by the same commit does not stand in the way of its successor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec

from mls.crypto import HASH_BYTES
from mls.errors import InvalidProposal, LimitExceeded
from mls.key_schedule import PreSharedKeyID, PSKType, ResumptionUsage
from mls.limits import PSKS_PER_COMMIT_MAX
from mls.nodes import PROTOCOL_VERSION, Extension, LeafNode, LeafNodeSource
from mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    KeyPackage,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from mls.ratchet_tree import RatchetTree
from mls.tree_validation import check_capabilities, check_key_package, check_leaf_node

__all__ = ["AppliedProposals", "SortedProposals", "apply_proposals", "sort_external_proposals", "sort_proposals"]


class SortedProposals(msgspec.Struct, kw_only=True):
    """A valid list of proposals, by kind, each kind in the commit's order. Updates are (leaf index, leaf node)."""

    adds: list[KeyPackage] = []
    updates: list[tuple[int, LeafNode]] = []
    removes: list[int] = []
    psks: list[PreSharedKeyID] = []
    extensions: tuple[Extension, ...] | None = None
    reinit: ReInit | None = None
    external_init: ExternalInit | None = None

    @property
    def path_required(self) -> bool:
        """Tell whether a commit of these needs a path (RFC 9420 12.4)."""
        others = bool(self.adds or self.psks or self.reinit)
        forcing = bool(self.updates or self.removes or self.external_init) or self.extensions is not None
        return forcing or not others


def _sort(proposals: Sequence[tuple[Proposal, int | None]]) -> SortedProposals:
    found = SortedProposals()
    for proposal, sender in proposals:
        match proposal:
            case Add(key_package):
                found.adds.append(key_package)
            case Update(leaf_node):
                if sender is None:
                    raise InvalidProposal("an Update from outside the group")
                found.updates.append((sender, leaf_node))
            case Remove(removed):
                found.removes.append(removed)
            case PreSharedKey(psk):
                found.psks.append(psk)
            case ReInit() | ExternalInit() | GroupContextExtensions():
                _set_once(found, proposal)
            case _:
                assert_never(proposal)
    return found


def _set_once(found: SortedProposals, proposal: ReInit | ExternalInit | GroupContextExtensions) -> None:
    match proposal:
        case ReInit():
            earlier, found.reinit = found.reinit is not None, proposal
        case ExternalInit():
            earlier, found.external_init = found.external_init is not None, proposal
        case GroupContextExtensions(extensions):
            earlier, found.extensions = found.extensions is not None, extensions
        case _:
            assert_never(proposal)
    if earlier:
        raise InvalidProposal(f"two proposals of type {type(proposal).__name__}")


def _check_psks(psks: list[PreSharedKeyID], founding: PreSharedKeyID | None = None) -> None:
    if len(psks) > PSKS_PER_COMMIT_MAX:
        raise LimitExceeded(f"more than {PSKS_PER_COMMIT_MAX} pre-shared keys")
    if len({psk.encode() for psk in psks}) != len(psks):
        raise InvalidProposal("the same pre-shared key twice")
    for psk in psks:
        if len(psk.psk_nonce) != HASH_BYTES:
            raise InvalidProposal("a pre-shared key with a nonce of a wrong size")
        if psk.psk_type is PSKType.RESUMPTION and psk.usage is not ResumptionUsage.APPLICATION and psk != founding:
            raise InvalidProposal("a resumption secret for another group's beginning")


def _check_targets(found: SortedProposals, committer: int, tree: RatchetTree) -> None:
    targets = [*found.removes, *(sender for sender, _ in found.updates)]
    if len({*targets}) != len(targets):
        raise InvalidProposal("two proposals for one leaf")
    if committer in targets:
        raise InvalidProposal("a commit that removes or updates its own sender by proposal")
    if any(tree.leaf(index) is None for index in targets):
        raise InvalidProposal("a proposal for a blank leaf")


def sort_proposals(
    proposals: Sequence[tuple[Proposal, int | None]],
    *,
    committer: int,
    tree: RatchetTree,
    founding: PreSharedKeyID | None = None,
) -> SortedProposals:
    """Check a member's list of (proposal, sender's leaf or None) (RFC 9420 12.2).

    `founding` names the resumption secret with which we ourselves begin this group (see `mls.succession`).

    Raises:
        InvalidProposal: the list breaks a rule.
        LimitExceeded: too many pre-shared keys.
    """
    found = _sort(proposals)
    if found.external_init is not None:
        raise InvalidProposal("an ExternalInit in a member's commit")
    if found.reinit is not None and (len(proposals) > 1 or found.reinit.version < PROTOCOL_VERSION):
        raise InvalidProposal("a ReInit beside other proposals, or to an older version")
    _check_targets(found, committer, tree)
    _check_psks(found.psks, founding)
    return found


def sort_external_proposals(proposals: Sequence[Proposal], *, tree: RatchetTree) -> SortedProposals:
    """Check the list of an external commit: one ExternalInit, at most one Remove, pre-shared keys (RFC 9420 12.2).

    Raises:
        InvalidProposal: the list breaks a rule.
        LimitExceeded: too many pre-shared keys.
    """
    if not all(isinstance(proposal, ExternalInit | Remove | PreSharedKey) for proposal in proposals):
        raise InvalidProposal("an external commit with proposals for members only")
    found = _sort([(proposal, None) for proposal in proposals])
    if found.external_init is None or len(found.removes) > 1:
        raise InvalidProposal("an external commit without ExternalInit, or with several removals")
    if any(tree.leaf(index) is None for index in found.removes):
        raise InvalidProposal("a removal of a blank leaf")
    _check_psks(found.psks)
    return found


class AppliedProposals(msgspec.Struct, frozen=True, kw_only=True):
    """A tree after proposals, the leaves they added, and the group's extensions from now on."""

    tree: RatchetTree
    added: list[int]
    extensions: tuple[Extension, ...]


def apply_proposals(
    found: SortedProposals, tree: RatchetTree, *, group_id: bytes, extensions: tuple[Extension, ...]
) -> AppliedProposals:
    """Apply a valid list to a copy of `tree` (RFC 9420 12.3).

    Raises:
        InvalidLeafNode: a new leaf, or a member under new extensions, breaks a rule.
        InvalidSignature: a new leaf or KeyPackage is not signed by its owner.
        LimitExceeded: the tree would grow too large.
    """
    changed = tree.copy()
    new_extensions = extensions if found.extensions is None else found.extensions
    for leaf_index, leaf in found.updates:
        _check_update(tree, leaf_index, leaf)
        changed.replace_leaf(leaf_index, leaf)
    if found.removes:
        changed.remove_leaves(found.removes)
    for key_package in found.adds:
        check_key_package(key_package)
    added = changed.add_leaves([key_package.leaf_node for key_package in found.adds])
    for leaf_index in (*added, *(index for index, _ in found.updates)):
        new_leaf = changed.leaf(leaf_index)
        assert new_leaf is not None, "the leaf was just filled"
        check_leaf_node(new_leaf, changed, place=(group_id, leaf_index), group_extensions=new_extensions)
    if found.extensions is not None:
        for _, leaf in changed.leaves():
            check_capabilities(leaf, new_extensions)
    return AppliedProposals(tree=changed, added=added, extensions=new_extensions)


def _check_update(tree: RatchetTree, leaf_index: int, leaf: LeafNode) -> None:
    replaced = tree.leaf(leaf_index)
    assert replaced is not None, "the list was sorted against this tree"
    if leaf.source is not LeafNodeSource.UPDATE or leaf.encryption_key == replaced.encryption_key:
        raise InvalidProposal("an Update of a wrong source, or one that keeps the old key")
