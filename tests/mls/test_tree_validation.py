from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mls.codec import decode, u16_list
from mls.crypto import KEY_BYTES, generate_key_pair
from mls.errors import InvalidLeafNode, InvalidSignature, InvalidTree
from mls.key_packages import open_key_package
from mls.limits import KEY_PACKAGE_LIFETIME_S_MAX
from mls.nodes import OUR_CAPABILITIES, Extension, LeafNode, Lifetime, ParentNode
from mls.ratchet_tree import RatchetTree
from mls.tree_validation import (
    _check_parent_hash,
    _check_unmerged_leaves,
    check_capabilities,
    check_key_package,
    check_leaf_node,
    check_lifetime,
    check_tree,
)
from tests.mls.builders import NOW, bundle_of, committed, group_of, seeded
from tests.mls.leaves import package_leaf
from tests.mls.vectors import OUR_SUITE, hex_bytes, load


@pytest.mark.parametrize("entry", load("tree-validation", OUR_SUITE))
def test_official_vectors(entry: dict[str, Any]) -> None:
    check_tree(decode(hex_bytes(entry["tree"]), RatchetTree.read), hex_bytes(entry["group_id"]), ())


@pytest.mark.parametrize("entry", load("tree-validation", frozenset({1})))
def test_official_vectors_of_suite_1_have_the_same_hashes_and_signatures(entry: dict[str, Any]) -> None:
    """Only AEAD differs between suites 1 and 3, so all but the members' capabilities can be checked."""
    tree = decode(hex_bytes(entry["tree"]), RatchetTree.read)
    parents = {node: parent for node in range(1, len(tree.nodes), 2) if (parent := tree.parent_node(node))}

    _check_unmerged_leaves(tree, parents)
    for node, parent in parents.items():
        _check_parent_hash(tree, node, parent)
    for leaf_index, leaf in tree.leaves():
        leaf.verify(hex_bytes(entry["group_id"]), leaf_index)


def valid_tree() -> RatchetTree:
    """Five members, of whom two committed: filled parents, one of them with an unmerged leaf."""
    groups = group_of("alice", "bob", "carol", "dave", "erin")
    groups = committed(groups[0], groups[1:], seed=1)
    groups = committed(groups[3], [group for group in groups if group is not groups[3]], seed=2)
    staged = groups[0].commit(add=[bundle_of("frank").key_package_bytes], force_path=False, entropy=seeded(3), now=NOW)
    return decode(staged.group.ratchet_tree(), RatchetTree.read)


def check(tree: RatchetTree) -> None:
    check_tree(tree, b"group", ())


def with_node(tree: RatchetTree, index: int, value: LeafNode | ParentNode | None) -> RatchetTree:
    nodes = list(tree.nodes)
    nodes[index] = value
    return RatchetTree.of_nodes(nodes)


def parents_of(tree: RatchetTree) -> list[tuple[int, ParentNode]]:
    return [(at, parent) for at in range(1, len(tree.nodes), 2) if (parent := tree.parent_node(at))]


def test_a_grown_tree_is_valid_and_has_something_to_check() -> None:
    tree = valid_tree()

    check(tree)
    assert len(parents_of(tree)) >= 3
    assert any(parent.unmerged_leaves for _, parent in parents_of(tree))


def test_no_parent_may_change_its_key_its_hash_or_its_unmerged_leaves() -> None:
    """RFC 9420 7.9.2: an outsider's parent node is noticed."""
    tree = valid_tree()
    for at, parent in parents_of(tree):
        fewer = parent.unmerged_leaves[:-1] if parent.unmerged_leaves else (0,)
        for changes in (
            {"encryption_key": generate_key_pair(seeded(at)).public},
            {"parent_hash": bytes(KEY_BYTES)},
            {"unmerged_leaves": fewer},
        ):
            with pytest.raises(InvalidTree):
                check(with_node(tree, at, msgspec.structs.replace(parent, **changes)))


def test_a_parent_out_of_nowhere_is_refused() -> None:
    tree = valid_tree()
    blanks = [at for at in range(1, len(tree.nodes), 2) if tree.nodes[at] is None]
    assert blanks
    for at in blanks:
        with pytest.raises(InvalidTree):
            check(with_node(tree, at, ParentNode(encryption_key=generate_key_pair(seeded(at)).public, parent_hash=b"")))


@pytest.mark.parametrize("leaf", [0, 6, 7, 8, 2**32 - 1])
def test_unmerged_leaves_are_members_below_and_unmerged_in_between(leaf: int) -> None:
    tree = valid_tree()
    at, parent = parents_of(tree)[-1]
    unmerged = tuple(sorted({*parent.unmerged_leaves, leaf}))

    with pytest.raises(InvalidTree):
        check(with_node(tree, at, msgspec.structs.replace(parent, unmerged_leaves=unmerged)))


def test_a_parents_key_of_low_order_is_refused() -> None:
    tree = valid_tree()
    at, parent = parents_of(tree)[0]

    with pytest.raises(InvalidLeafNode):
        check(with_node(tree, at, msgspec.structs.replace(parent, encryption_key=bytes(32))))


def test_a_leaf_signed_for_another_place_or_group_is_refused() -> None:
    tree = valid_tree()

    with pytest.raises(InvalidSignature):
        check_tree(tree, b"another group", ())
    alice, moved = tree.leaf(0), tree.leaf(3)
    assert alice is not None
    assert moved is not None
    with pytest.raises(InvalidSignature):
        moved.verify(b"group", 0)


def one_leaf(leaf: LeafNode) -> RatchetTree:
    tree = RatchetTree()
    tree.add_leaves([leaf])
    return tree


@pytest.mark.parametrize(
    "changes",
    [{"versions": (2,)}, {"cipher_suites": (1,)}, {"credentials": (2,)}, {"credentials": ()}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_member_supports_what_it_uses(changes: dict[str, Any]) -> None:
    leaf = package_leaf("bob", capabilities=msgspec.structs.replace(OUR_CAPABILITIES, **changes))

    with pytest.raises(InvalidLeafNode):
        check_leaf_node(leaf, one_leaf(leaf), place=(b"group", 0), group_extensions=())


def test_a_leafs_extensions_are_among_its_capabilities() -> None:
    unlisted = package_leaf("bob", extensions=(Extension(extension_type=0xF00D, data=b""),))

    with pytest.raises(InvalidLeafNode):
        check_capabilities(unlisted, ())
    check_capabilities(package_leaf("bob", extensions=(Extension(extension_type=1, data=b"id"),)), ())


@pytest.mark.parametrize("lists", [((0xF00D,), (), ()), ((), (0xF00D,), ()), ((), (), (2,))])
def test_required_capabilities_are_required(lists: tuple[tuple[int, ...], ...]) -> None:
    """RFC 9420 11.1."""
    required = Extension(extension_type=3, data=b"".join(u16_list(values) for values in lists))
    harmless = Extension(extension_type=3, data=u16_list((5,)) + u16_list((1, 7)) + u16_list((1,)))

    with pytest.raises(InvalidLeafNode):
        check_capabilities(package_leaf("bob"), (required,))
    check_capabilities(package_leaf("bob"), (harmless,))


def test_a_low_order_leaf_key_is_refused() -> None:
    leaf = package_leaf("bob", encryption_key=bytes(32))

    with pytest.raises(InvalidLeafNode):
        check_leaf_node(leaf, one_leaf(leaf), place=(b"group", 0), group_extensions=())


def test_key_packages_keep_their_rules() -> None:
    """RFC 9420 10.1."""
    key_package = open_key_package(bundle_of("bob").key_package_bytes)
    check_key_package(key_package)

    for changes in (
        {"cipher_suite": 1},
        {"init_key": key_package.leaf_node.encryption_key},
        {"init_key": bytes(32)},
        {"leaf_node": valid_tree().leaf(0)},
    ):
        with pytest.raises(InvalidLeafNode):
            check_key_package(msgspec.structs.replace(key_package, **changes))
    with pytest.raises(InvalidSignature):
        check_key_package(msgspec.structs.replace(key_package, signature=bytes(64)))


@pytest.mark.parametrize(
    ("before", "after", "valid"),
    [
        (-1, 1, True),
        (0, 0, True),
        (1, 2, False),
        (-2, -1, False),
        (-1, KEY_PACKAGE_LIFETIME_S_MAX - 1, True),
        (-1, KEY_PACKAGE_LIFETIME_S_MAX, False),
    ],
)
def test_lifetimes_are_judged_by_the_sender(before: int, after: int, valid: bool) -> None:
    lifetime = Lifetime(not_before=NOW + before, not_after=NOW + after)
    leaf = msgspec.structs.replace(package_leaf("bob"), lifetime=lifetime)

    if valid:
        check_lifetime(leaf, NOW)
        return
    with pytest.raises(InvalidLeafNode):
        check_lifetime(leaf, NOW)
