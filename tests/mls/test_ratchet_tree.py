from __future__ import annotations

import random
from typing import Any

import pytest

from mls import limits, ratchet_tree, tree_math
from mls.codec import Reader, decode, u16, vector
from mls.errors import DecodeError, InvalidLeafNode, InvalidTree, LimitExceeded
from mls.nodes import LeafNode, ParentNode
from mls.proposals import Add, Remove, Update, read_proposal
from mls.ratchet_tree import RatchetTree
from tests.mls.builders import bundle_of
from tests.mls.vectors import hex_bytes, load

LEAVES = [bundle_of(f"member {number}").key_package.leaf_node for number in range(40)]


def tree_of(count: int) -> RatchetTree:
    tree = RatchetTree()
    tree.add_leaves(LEAVES[:count])
    return tree


def rebuilt_hash(tree: RatchetTree) -> bytes:
    """The tree hash without any cache."""
    return decode(tree.encode(), RatchetTree.read).tree_hash()


@pytest.mark.parametrize("entry", load("tree-operations"))
def test_official_vectors_of_operations(entry: dict[str, Any]) -> None:
    tree = decode(hex_bytes(entry["tree_before"]), RatchetTree.read)
    assert tree.tree_hash() == hex_bytes(entry["tree_hash_before"])

    match decode(hex_bytes(entry["proposal"]), read_proposal):
        case Add(key_package):
            tree.add_leaves([key_package.leaf_node])
        case Update(leaf_node):
            tree.replace_leaf(entry["proposal_sender"], leaf_node)
        case Remove(removed):
            tree.remove_leaves([removed])

    assert tree.encode() == hex_bytes(entry["tree_after"])
    assert tree.tree_hash() == hex_bytes(entry["tree_hash_after"])


@pytest.mark.parametrize("entry", load("tree-validation"))
def test_official_vectors_of_hashes_and_resolutions(entry: dict[str, Any]) -> None:
    tree = decode(hex_bytes(entry["tree"]), RatchetTree.read)

    assert tree.encode() == hex_bytes(entry["tree"])
    assert [tree.tree_hash(node) for node in range(len(tree.nodes))] == [hex_bytes(h) for h in entry["tree_hashes"]]
    assert [tree.resolution(node) for node in range(len(tree.nodes))] == entry["resolutions"]


def test_members_fill_the_leftmost_blank_leaves() -> None:
    tree = tree_of(5)
    tree.remove_leaves([1, 3])

    assert tree.add_leaves(LEAVES[5:8]) == [1, 3, 5]
    assert [index for index, _ in tree.leaves()] == [0, 1, 2, 3, 4, 5]


def test_a_tree_grows_and_shrinks_by_halves() -> None:
    tree = tree_of(9)
    assert tree.leaf_count == 16

    tree.remove_leaves([8])
    assert (tree.leaf_count, len(tree.nodes), tree.member_count) == (8, 15, 8)
    tree.remove_leaves([7, 6, 5, 4, 3, 2, 1])
    assert (tree.leaf_count, len(tree.nodes), tree.member_count) == (1, 1, 1)


def test_a_copy_lives_its_own_life() -> None:
    tree = tree_of(4)
    before = tree.tree_hash()
    other = tree.copy()

    other.remove_leaves([2])
    other.add_leaves(LEAVES[10:15])

    assert tree.tree_hash() == before
    assert tree.leaf_count == 4
    assert other.tree_hash() == rebuilt_hash(other)


def test_new_leaves_are_unmerged_in_every_filled_ancestor() -> None:
    tree = tree_of(2)
    tree.set_parent(1, ParentNode(encryption_key=bytes(32), parent_hash=b""))
    tree.remove_leaves([])
    tree.add_leaves(LEAVES[2:4])
    tree.set_parent(3, ParentNode(encryption_key=b"\x01" * 32, parent_hash=b"", unmerged_leaves=(2,)))
    tree.add_leaves(LEAVES[4:5])
    tree.remove_leaves([3])

    added = tree.add_leaves(LEAVES[5:6])

    assert added == [3]
    assert tree.parent_node(3) is None, "removing leaf 3 blanked it"
    parent = tree.parent_node(1)
    assert parent is not None
    assert parent.unmerged_leaves == ()


def test_batches_of_unmerged_leaves_stay_sorted() -> None:
    tree = tree_of(8)
    tree.remove_leaves([1, 3, 6])
    tree.set_parent(7, ParentNode(encryption_key=bytes(32), parent_hash=b"", unmerged_leaves=(2, 5)))

    tree.add_leaves(LEAVES[8:11])

    root = tree.parent_node(7)
    assert root is not None
    assert root.unmerged_leaves == (1, 2, 3, 5, 6)
    assert tree.resolution(7) == [7, 2, 4, 6, 10, 12]


def test_the_filtered_path_leaves_out_nodes_beside_blanks() -> None:
    """RFC 9420 4.1.2."""
    tree = tree_of(5)

    assert tree.filtered_direct_path(4) == [(7, 3)]
    assert tree.filtered_direct_path(0) == [(1, 2), (3, 5), (7, 11)]


def test_keys_are_unique_in_the_tree() -> None:
    tree = tree_of(2)

    with pytest.raises(InvalidLeafNode):
        tree.add_leaves([LEAVES[0]])
    with pytest.raises(InvalidLeafNode):
        tree_of(2).set_parent(1, ParentNode(encryption_key=LEAVES[1].encryption_key, parent_hash=b""))


def test_a_removed_members_keys_may_come_again() -> None:
    tree = tree_of(3)
    tree.remove_leaves([1])

    assert tree.add_leaves([LEAVES[1]]) == [1]


def test_cached_hashes_and_encodings_equal_fresh_ones_through_a_random_history() -> None:
    chance = random.Random(7)
    tree = RatchetTree()
    tree.add_leaves([LEAVES[0]])
    for step in range(300):
        used = {leaf.signature_key for _, leaf in tree.leaves()}
        free = [leaf for leaf in LEAVES if leaf.signature_key not in used]
        present = [index for index, _ in tree.leaves()]
        match chance.randrange(4):
            case 0 if free:
                tree.add_leaves(chance.sample(free, min(len(free), chance.randrange(1, 4))))
            case 1 if len(present) > 1:
                tree.remove_leaves(chance.sample(present, chance.randrange(1, len(present))))
            case 2:
                odd = [node for node in range(1, len(tree.nodes), 2) if tree.nodes[node] is None]
                if odd:
                    tree.set_parent(
                        chance.choice(odd), ParentNode(encryption_key=step.to_bytes(32, "big"), parent_hash=b"")
                    )
            case _:
                tree.blank_direct_path(chance.choice(present))
        if chance.random() < 0.5:
            assert tree.tree_hash() == rebuilt_hash_of_nodes(tree)
            assert tree.copy().encode() == RatchetTree.of_nodes(tree.nodes).encode()
    assert_indices(tree)


def rebuilt_hash_of_nodes(tree: RatchetTree) -> bytes:
    other = RatchetTree.of_nodes(tree.nodes)
    other.reserve_leaf(tree.leaf_count - 1)
    return other.tree_hash()


def assert_indices(tree: RatchetTree) -> None:
    """The indices beside the nodes say what the nodes say."""
    filled = {node: value for node, value in enumerate(tree.nodes) if value is not None}
    assert tree.encryption_keys == {value.encryption_key: node for node, value in filled.items()}
    leaves = {value.signature_key: node for node, value in filled.items() if isinstance(value, LeafNode)}
    assert tree.signature_keys == leaves
    assert tree.credentials_used == {1: len(leaves)}
    assert tree.credentials_supported[1] == len(leaves)


def test_the_hash_without_unmerged_leaves_is_that_of_the_tree_before_they_came() -> None:
    """RFC 9420 7.9: original_sibling_tree_hash."""
    tree = tree_of(8)
    tree.remove_leaves([1, 3, 5])
    tree.set_parent(3, ParentNode(encryption_key=bytes(32), parent_hash=b"x"))
    before = tree.tree_hash(3)

    tree.add_leaves(LEAVES[8:11])

    assert tree.tree_hash(3) != before
    assert tree.tree_hash_without(3, [1, 3]) == before
    assert tree.tree_hash_without(3, []) == tree.tree_hash(3)


@pytest.mark.parametrize("encoded", ["00", "0100", "020000", "0103", "050101"])
def test_trees_that_are_none_are_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(encoded), RatchetTree.read)


def test_a_leaf_where_a_parent_belongs_is_refused() -> None:
    leaf = b"\x01\x01" + LEAVES[0].encoded

    with pytest.raises(DecodeError):
        decode(vector(leaf + leaf), RatchetTree.read)


def test_a_tree_with_the_same_member_twice_is_refused() -> None:
    leaf = b"\x01\x01" + LEAVES[0].encoded

    with pytest.raises(InvalidTree):
        decode(vector(leaf + b"\x00" + leaf), RatchetTree.read)


def test_a_tree_may_not_outgrow_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratchet_tree, "LEAVES_MAX", 4)

    with pytest.raises(LimitExceeded):
        tree_of(5)
    with pytest.raises(LimitExceeded):
        decode(vector(bytes(8)), RatchetTree.read)


def test_unmerged_leaves_must_increase() -> None:
    assert limits.LEAVES_MAX >= 8_192
    encoded = vector(bytes(32)) + vector(b"") + vector(b"\x00\x00\x00\x02\x00\x00\x00\x02")

    with pytest.raises(DecodeError):
        ParentNode.read(Reader(encoded))


def test_nodes_below_an_index_are_found_without_recursion() -> None:
    tree = tree_of(1)
    tree.reserve_leaf(8_191)

    assert tree.resolution(tree_math.root(8_192)) == [0]
    assert len(tree.tree_hash()) == 32
    assert len(u16(0)) == 2
