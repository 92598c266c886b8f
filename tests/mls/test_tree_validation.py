from __future__ import annotations

from typing import Any

import pytest

from mls.codec import decode
from mls.ratchet_tree import RatchetTree
from mls.tree_validation import _check_parent_hash, _check_unmerged_leaves, check_tree
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
