from __future__ import annotations

from typing import Any

import pytest

from mls import tree_math
from tests.mls.vectors import load


@pytest.mark.parametrize("entry", load("tree-math"), ids=lambda entry: f"leaves={entry['n_leaves']}")
def test_official_vectors(entry: dict[str, Any]) -> None:
    leaf_count = entry["n_leaves"]
    top = tree_math.root(leaf_count)

    assert tree_math.node_count(leaf_count) == entry["n_nodes"]
    assert top == entry["root"]
    for node in range(entry["n_nodes"]):
        if node & 1:
            assert (tree_math.left(node), tree_math.right(node)) == (entry["left"][node], entry["right"][node])
        else:
            assert (entry["left"][node], entry["right"][node]) == (None, None)
        if node != top:
            assert tree_math.parent(node) == entry["parent"][node]
            assert tree_math.sibling(node) == entry["sibling"][node]


def test_direct_paths_lead_to_the_root() -> None:
    assert tree_math.direct_path(0, 8) == [1, 3, 7]
    assert tree_math.direct_path(10, 8) == [9, 11, 7]
    assert tree_math.direct_path(7, 8) == []


@pytest.mark.parametrize(("first", "second", "meeting"), [(0, 2, 1), (0, 14, 7), (4, 6, 5), (8, 14, 11), (4, 4, 4)])
def test_two_nodes_meet_at_their_lowest_common_ancestor(first: int, second: int, meeting: int) -> None:
    assert tree_math.common_ancestor(first, second) == meeting
    assert tree_math.common_ancestor(second, first) == meeting


def test_a_subtree_is_a_range() -> None:
    assert [node for node in range(15) if tree_math.in_subtree(node, 3)] == list(range(7))
    assert [node for node in range(15) if tree_math.in_subtree(node, 12)] == [12]
