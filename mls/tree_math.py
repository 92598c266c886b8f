r"""Indices of a full binary tree laid out in an array (RFC 9420 appendix C).

    3                 Leaf i is node 2 i. A node's level is the number of its trailing one bits; the root of a tree
   ___|___            with 2^d leaves is node 2^d - 1. Trees are always full: the number of leaves is a power of two,
  1       5           so a node's parent, children and span do not depend on the tree's size.
 / \     / \
0   2   4   6

Pure arithmetic: no bounds are checked here. Callers check indices from peers.
"""

from __future__ import annotations

__all__ = [
    "common_ancestor",
    "direct_path",
    "in_subtree",
    "left",
    "level",
    "node_count",
    "parent",
    "right",
    "root",
    "sibling",
]


def level(node: int) -> int:
    """Height above the leaves."""
    return (~node & (node + 1)).bit_length() - 1


def node_count(leaf_count: int) -> int:
    """Nodes of a tree with `leaf_count` leaves."""
    return 2 * leaf_count - 1


def root(leaf_count: int) -> int:
    """Root of a tree with `leaf_count` leaves, a power of two."""
    return leaf_count - 1


def left(node: int) -> int:
    """Left child of a parent node."""
    return node ^ (1 << (level(node) - 1))


def right(node: int) -> int:
    """Right child of a parent node."""
    return node ^ (3 << (level(node) - 1))


def parent(node: int) -> int:
    """Parent of any node but the root."""
    height = (~node & (node + 1)).bit_length() - 1
    return (node | 1 << height) & ~(2 << height)


def sibling(node: int) -> int:
    """The other child of the node's parent."""
    above = parent(node)
    return right(above) if node < above else left(above)


def direct_path(node: int, leaf_count: int) -> list[int]:
    """Ancestors of `node`, from its parent to the root; empty for the root."""
    top = root(leaf_count)
    path = []
    while node != top:
        node = parent(node)
        path.append(node)
    return path


def in_subtree(node: int, ancestor: int) -> bool:
    """Tell whether `node` is `ancestor` or below it."""
    reach = (1 << level(ancestor)) - 1
    return ancestor - reach <= node <= ancestor + reach


def common_ancestor(first: int, second: int) -> int:
    """Lowest node above two leaf nodes; the node itself if they are the same."""
    if first == second:
        return first
    height = (first ^ second).bit_length()
    return (first >> height << height) + (1 << (height - 1)) - 1
