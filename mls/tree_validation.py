"""Is this leaf, is this tree, acceptable? (RFC 9420 7.3, 7.9.2, 10.1, 12.4.3.1)

Every member must give the same answer about a commit, or the group splits. Therefore nothing here asks a clock: lifetimes
are judged where we choose to send (`check_lifetime`), which RFC 9420 7.3 makes mandatory only there.
"""

from __future__ import annotations

from itertools import islice

from mls import tree_math
from mls.codec import Reader, decode
from mls.crypto import CIPHER_SUITE, check_public_key, verify_with_label
from mls.errors import InvalidLeafNode, InvalidTree
from mls.limits import KEY_PACKAGE_LIFETIME_S_MAX
from mls.nodes import (
    DEFAULT_EXTENSIONS,
    PROTOCOL_VERSION,
    REQUIRED_CAPABILITIES_EXTENSION,
    Extension,
    LeafNode,
    LeafNodeSource,
    ParentNode,
    find_extension,
)
from mls.proposals import KeyPackage, ProposalType
from mls.ratchet_tree import RatchetTree, parent_hash

__all__ = ["check_capabilities", "check_key_package", "check_leaf_node", "check_lifetime", "check_tree"]


def _read_required(reader: Reader) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return reader.u16_list(), reader.u16_list(), reader.u16_list()


def check_capabilities(leaf: LeafNode, group_extensions: tuple[Extension, ...]) -> None:
    """Check that a member can do what the group demands (RFC 9420 7.3, 11.1, 13.4).

    Raises:
        InvalidLeafNode: it cannot.
        DecodeError: the group's required_capabilities extension is malformed.
    """
    supported = leaf.capabilities
    if PROTOCOL_VERSION not in supported.versions or CIPHER_SUITE not in supported.cipher_suites:
        raise InvalidLeafNode("a member that does not support this protocol version and cipher suite")
    wanted = {extension.extension_type for extension in (*leaf.extensions, *group_extensions)}
    required = find_extension(group_extensions, REQUIRED_CAPABILITIES_EXTENSION)
    if required is not None:
        extensions, proposals, credentials = decode(required, _read_required)
        wanted.update(extensions)
        if not {kind for kind in proposals if kind > ProposalType.GROUP_CONTEXT_EXTENSIONS} <= {*supported.proposals}:
            raise InvalidLeafNode("a member that lacks a required proposal type")
        if not {*credentials} <= {*supported.credentials}:
            raise InvalidLeafNode("a member that lacks a required credential type")
    if not wanted - DEFAULT_EXTENSIONS <= {*supported.extensions}:
        raise InvalidLeafNode("a member that lacks an extension in use")


def check_leaf_node(
    leaf: LeafNode, tree: RatchetTree, *, place: tuple[bytes, int], group_extensions: tuple[Extension, ...]
) -> None:
    """Check a leaf node that stands in `tree`, or is about to, at `place` (group id, leaf index) (RFC 9420 7.3).

    The uniqueness of its keys is the tree's business.

    Raises:
        InvalidLeafNode: it breaks a rule.
        InvalidSignature: its signature does not verify.
    """
    check_public_key(leaf.encryption_key)
    own_type = leaf.credential.credential_type
    supported = leaf.capabilities.credentials
    others = tree.member_count - (tree.leaf(place[1]) is leaf)
    if own_type not in supported or not all(kind in supported for kind in tree.credentials_used):
        raise InvalidLeafNode("a member that does not support a credential type in use")
    if others and tree.credentials_supported[own_type] < others:
        raise InvalidLeafNode("a member whose credential type others do not support")
    check_capabilities(leaf, group_extensions)
    leaf.verify(*place)


def check_key_package(key_package: KeyPackage) -> None:
    """Check a KeyPackage by itself, except for its leaf's place among others (RFC 9420 10.1).

    Raises:
        InvalidLeafNode: it breaks a rule.
        InvalidSignature: its signature does not verify.
    """
    leaf = key_package.leaf_node
    if key_package.cipher_suite != CIPHER_SUITE:
        raise InvalidLeafNode(f"a KeyPackage of cipher suite {key_package.cipher_suite:#06x}")
    if leaf.source is not LeafNodeSource.KEY_PACKAGE:
        raise InvalidLeafNode("a KeyPackage with a leaf of another source")
    if key_package.init_key == leaf.encryption_key:
        raise InvalidLeafNode("a KeyPackage with the same key twice")
    check_public_key(key_package.init_key)
    signed = key_package.encoded[: key_package.signed_bytes]
    verify_with_label(leaf.signature_key, "KeyPackageTBS", signed, key_package.signature)


def check_lifetime(leaf: LeafNode, now: int) -> None:
    """Check that a KeyPackage's leaf is valid at `now`, seconds since 1970, and not for ever (RFC 9420 7.2, 7.3).

    Raises:
        InvalidLeafNode: it is not.
    """
    lifetime = leaf.lifetime
    if lifetime is None or not lifetime.not_before <= now <= lifetime.not_after:
        raise InvalidLeafNode("a KeyPackage outside its lifetime")
    if lifetime.not_after - lifetime.not_before > KEY_PACKAGE_LIFETIME_S_MAX:
        raise InvalidLeafNode("a KeyPackage that lives too long")


def check_tree(tree: RatchetTree, group_id: bytes, group_extensions: tuple[Extension, ...]) -> None:
    """Check a whole tree from a stranger (RFC 9420 12.4.3.1).

    Raises:
        InvalidTree: unmerged leaves or parent hashes are wrong.
        InvalidLeafNode: a leaf, or a parent's key, breaks a rule.
        InvalidSignature: a leaf's signature does not verify.
    """
    parents = {index: parent for index in range(1, len(tree.nodes), 2) if (parent := tree.parent_node(index))}
    _check_unmerged_leaves(tree, parents)
    for index, parent in parents.items():
        check_public_key(parent.encryption_key)
        _check_parent_hash(tree, index, parent)
    for leaf_index, leaf in tree.leaves():
        check_leaf_node(leaf, tree, place=(group_id, leaf_index), group_extensions=group_extensions)


def _check_unmerged_leaves(tree: RatchetTree, parents: dict[int, ParentNode]) -> None:
    unmerged = {index: frozenset(parent.unmerged_leaves) for index, parent in parents.items()}
    for index, leaf_indices in unmerged.items():
        for leaf_index in leaf_indices:
            node = 2 * leaf_index
            if tree.leaf(leaf_index) is None or not tree_math.in_subtree(node, index):
                raise InvalidTree("an unmerged leaf that is blank or elsewhere")
            node = tree_math.parent(node)
            while node != index:
                if leaf_index not in unmerged.get(node, leaf_indices):
                    raise InvalidTree("an unmerged leaf that a node below counts as merged")
                node = tree_math.parent(node)


def _check_parent_hash(tree: RatchetTree, index: int, parent: ParentNode) -> None:
    left, right = tree_math.left(index), tree_math.right(index)
    valid = _chains_to(tree, parent, left, right) + _chains_to(tree, parent, right, left)
    if valid != 1:
        raise InvalidTree(f"node {index} is not covered by exactly one chain of parent hashes")


def _chains_to(tree: RatchetTree, parent: ParentNode, child: int, sibling: int) -> int:
    """Count the nodes below `child` whose parent hash is valid with respect to `parent` (RFC 9420 7.9.2)."""
    below = {2 * leaf for leaf in parent.unmerged_leaves if tree_math.in_subtree(2 * leaf, child)}
    covered = list(islice(tree.iterate_resolution(child), len(below) + 2))
    candidates = [node for node in covered if node not in below]
    # D and the unmerged leaves together must be the whole resolution: with one node more or less no D can do.
    if len(candidates) != 1 or len(covered) != len(below) + 1:
        return 0
    beside = [leaf for leaf in parent.unmerged_leaves if tree_math.in_subtree(2 * leaf, sibling)]
    expected = parent_hash(parent.encryption_key, parent.parent_hash, tree.tree_hash_without(sibling, beside))
    found = tree.nodes[candidates[0]]
    assert found is not None, "resolutions hold no blank nodes"
    return int(found.parent_hash == expected)
