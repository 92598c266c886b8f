"""The ratchet tree: members at the leaves, shared keys above them (RFC 9420 4.1, 7.7 to 7.9, 12.4.3.3).

The tree is an array in the layout of `mls.tree_math`. Nodes are immutable and shared between copies, so staging a commit
copies three arrays of pointers and nothing else. Beside the nodes the tree keeps, always in step with them:

- `hashes`: tree hashes, None where unknown. If a node's hash is unknown, so are those of all its ancestors; therefore
  forgetting stops at the first unknown one, and a commit rehashes only what it touched.
- who holds which encryption and signature key, so that uniqueness (RFC 9420 7.3) is one look-up.
- how many members use and support each credential type.

Nothing here recurses: the depth of a tree is chosen by peers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from mls import tree_math
from mls.codec import Reader, optional, u8, u32, vector
from mls.crypto import sha256
from mls.errors import DecodeError, InvalidLeafNode, InvalidTree, LimitExceeded
from mls.limits import LEAVES_MAX
from mls.nodes import LeafNode, ParentNode

__all__ = ["RatchetTree", "parent_hash"]

_LEAF: Final = 1
_PARENT: Final = 2


def parent_hash(encryption_key: bytes, above: bytes, sibling_hash: bytes) -> bytes:
    """Parent hash of a node, given its key, its own parent_hash field and its copath child's original tree hash."""
    return sha256(vector(encryption_key) + vector(above) + vector(sibling_hash))


class RatchetTree:
    """The tree of one epoch. `nodes[2 * i]` is leaf i; the number of leaves is a power of two."""

    __slots__ = (
        "_blank_from",
        "credentials_supported",
        "credentials_used",
        "encodings",
        "encryption_keys",
        "hashes",
        "leaf_count",
        "nodes",
        "signature_keys",
    )

    def __init__(self) -> None:
        self.leaf_count = 1
        self.nodes: list[LeafNode | ParentNode | None] = [None]
        self.hashes: list[bytes | None] = [None]
        self.encodings: list[bytes | None] = [None]
        self.encryption_keys: dict[bytes, int] = {}
        self.signature_keys: dict[bytes, int] = {}
        self.credentials_used: Counter[int] = Counter()
        self.credentials_supported: Counter[int] = Counter()
        self._blank_from = 0

    def copy(self) -> RatchetTree:
        """A tree that changes independently of this one."""
        other = RatchetTree.__new__(RatchetTree)
        other.leaf_count = self.leaf_count
        other.nodes = self.nodes.copy()
        other.hashes = self.hashes.copy()
        other.encodings = self.encodings.copy()
        other.encryption_keys = self.encryption_keys.copy()
        other.signature_keys = self.signature_keys.copy()
        other.credentials_used = self.credentials_used.copy()
        other.credentials_supported = self.credentials_supported.copy()
        other._blank_from = self._blank_from  # noqa: SLF001 - a copy of this very class
        return other

    # Questions

    @property
    def root(self) -> int:
        """Node index of the root."""
        return self.leaf_count - 1

    @property
    def member_count(self) -> int:
        """Number of members."""
        return len(self.signature_keys)

    def leaf(self, leaf_index: int) -> LeafNode | None:
        """The member at a leaf; None if the leaf is blank or there is no such leaf."""
        if not 0 <= leaf_index < self.leaf_count:
            return None
        node = self.nodes[2 * leaf_index]
        assert node is None or isinstance(node, LeafNode), "leaves stand at even indices"
        return node

    def parent_node(self, node: int) -> ParentNode | None:
        """The inner node at an odd node index; None if blank."""
        found = self.nodes[node]
        assert found is None or isinstance(found, ParentNode), "parents stand at odd indices"
        return found

    def leaves(self) -> Iterator[tuple[int, LeafNode]]:
        """All members with their leaf indices, from left to right."""
        for index in range(0, len(self.nodes), 2):
            node = self.nodes[index]
            if isinstance(node, LeafNode):
                yield index // 2, node

    def first_blank_leaf(self) -> int:
        """Where the next member goes: the leftmost blank leaf, or the first one behind the tree (RFC 9420 12.1.1)."""
        index = self._blank_from
        while index < self.leaf_count and self.nodes[2 * index] is not None:
            index += 1
        self._blank_from = index
        return index

    def resolution(self, node: int) -> list[int]:
        """Nodes whose keys cover every member below `node`, from left to right (RFC 9420 4.1.1)."""
        return list(self.iterate_resolution(node))

    def iterate_resolution(self, node: int) -> Iterator[int]:
        """Like `resolution`, one at a time."""
        pending = [node]
        while pending:
            index = pending.pop()
            found = self.nodes[index]
            if found is None:
                if index & 1:
                    pending += (tree_math.right(index), tree_math.left(index))
                continue
            yield index
            if isinstance(found, ParentNode):
                for leaf_index in found.unmerged_leaves:
                    yield 2 * leaf_index

    def filtered_direct_path(self, leaf_index: int) -> list[tuple[int, int]]:
        """Ancestors of a leaf whose other child covers somebody, each with that child (RFC 9420 4.1.2)."""
        path = []
        below = 2 * leaf_index
        for node in tree_math.direct_path(below, self.leaf_count):
            other = tree_math.right(node) if below < node else tree_math.left(node)
            if next(self.iterate_resolution(other), None) is not None:
                path.append((node, other))
            below = node
        return path

    # Changes

    def add_leaves(self, leaves: Iterable[LeafNode]) -> list[int]:
        """Add members, each at the leftmost blank leaf, unmerged in all inner nodes above (RFC 9420 12.1.1).

        Returns:
            The new leaf indices, in order.

        Raises:
            InvalidLeafNode: a key is in use already.
            LimitExceeded: the tree would have too many leaves.
        """
        added = []
        unmerged: dict[int, list[int]] = {}
        for leaf in leaves:
            index = self.first_blank_leaf()
            self._reserve(index)
            for node in tree_math.direct_path(2 * index, self.leaf_count):
                if self.nodes[node] is not None:
                    unmerged.setdefault(node, []).append(index)
            self._put(2 * index, leaf)
            added.append(index)
        # One rebuild per inner node: appending one leaf at a time would make large batches quadratic.
        for node, indices in unmerged.items():
            above = self.parent_node(node)
            assert above is not None, "only nodes that hold a key were collected"
            merged = tuple(sorted({*above.unmerged_leaves, *indices}))
            self.nodes[node] = ParentNode(
                encryption_key=above.encryption_key, parent_hash=above.parent_hash, unmerged_leaves=merged
            )
            self.encodings[node] = None
        return added

    def replace_leaf(self, leaf_index: int, leaf: LeafNode) -> None:
        """Put a member's new leaf node in place and blank its direct path (RFC 9420 12.1.2).

        Raises:
            InvalidLeafNode: a key is in use by somebody else.
        """
        self._clear(2 * leaf_index)
        self._put(2 * leaf_index, leaf)
        self.blank_direct_path(leaf_index)

    def remove_leaves(self, leaf_indices: Iterable[int]) -> None:
        """Blank members and their direct paths, then shrink the tree (RFC 9420 12.1.3)."""
        for leaf_index in leaf_indices:
            self._clear(2 * leaf_index)
            self.blank_direct_path(leaf_index)
            self._blank_from = min(self._blank_from, leaf_index)
        self._truncate()

    def blank_direct_path(self, leaf_index: int) -> None:
        """Blank all ancestors of a leaf."""
        for node in tree_math.direct_path(2 * leaf_index, self.leaf_count):
            if self.nodes[node] is not None:
                self._clear(node)

    def set_parent(self, node: int, value: ParentNode) -> None:
        """Fill a blank inner node.

        Raises:
            InvalidLeafNode: the key is in use elsewhere.
        """
        self._put(node, value)

    def place_leaf(self, leaf_index: int, leaf: LeafNode) -> None:
        """Put a leaf node without blanking its path: the last step of an update path (RFC 9420 7.5).

        Raises:
            InvalidLeafNode: a key is in use by somebody else.
            LimitExceeded: the tree would have too many leaves.
        """
        self._reserve(leaf_index)
        self._clear(2 * leaf_index)
        self._put(2 * leaf_index, leaf)

    def reserve_leaf(self, leaf_index: int) -> None:
        """Make the tree tall enough for a leaf, as for the sender of an external commit.

        Raises:
            LimitExceeded: the tree would have too many leaves.
        """
        self._reserve(leaf_index)

    def _reserve(self, leaf_index: int) -> None:
        while leaf_index >= self.leaf_count:
            if self.leaf_count >= LEAVES_MAX:
                raise LimitExceeded(f"a tree of more than {LEAVES_MAX} leaves")
            blank = [None] * (len(self.nodes) + 1)
            self.nodes += blank
            self.hashes += blank
            self.encodings += blank
            self.leaf_count *= 2

    def _truncate(self) -> None:
        last = self.leaf_count - 1
        while last > 0 and self.nodes[2 * last] is None:
            last -= 1
        leaf_count = 1 << last.bit_length()
        if leaf_count == self.leaf_count:
            return
        for node in range(tree_math.node_count(leaf_count), len(self.nodes)):
            self._forget_keys(node)
        self.leaf_count = leaf_count
        del self.nodes[tree_math.node_count(leaf_count) :]
        del self.hashes[tree_math.node_count(leaf_count) :]
        del self.encodings[tree_math.node_count(leaf_count) :]

    def _put(self, node: int, value: LeafNode | ParentNode) -> None:
        assert self.nodes[node] is None, "clear a node before filling it"
        if value.encryption_key in self.encryption_keys:
            raise InvalidLeafNode("an encryption key that is in the tree already")
        if isinstance(value, LeafNode):
            if value.signature_key in self.signature_keys:
                raise InvalidLeafNode("a signature key that is in the tree already")
            self.signature_keys[value.signature_key] = node
            self.credentials_used[value.credential.credential_type] += 1
            self.credentials_supported.update({*value.capabilities.credentials})
        self.encryption_keys[value.encryption_key] = node
        self.nodes[node] = value
        self.encodings[node] = None
        self._forget_hashes(node)

    def _clear(self, node: int) -> None:
        self._forget_keys(node)
        self.nodes[node] = None
        self.encodings[node] = None
        self._forget_hashes(node)

    def _forget_keys(self, node: int) -> None:
        value = self.nodes[node]
        if value is None:
            return
        del self.encryption_keys[value.encryption_key]
        if isinstance(value, LeafNode):
            del self.signature_keys[value.signature_key]
            credential_type = value.credential.credential_type
            self.credentials_used[credential_type] -= 1
            if not self.credentials_used[credential_type]:
                del self.credentials_used[credential_type]
            self.credentials_supported.subtract({*value.capabilities.credentials})

    def _forget_hashes(self, node: int) -> None:
        hashes, top = self.hashes, self.root
        while hashes[node] is not None:
            hashes[node] = None
            if node == top:
                return
            node = tree_math.parent(node)

    # Hashes

    def tree_hash(self, node: int | None = None) -> bytes:
        """Tree hash of a node, by default the root's: 32 bytes (RFC 9420 7.8)."""
        target = self.root if node is None else node
        hashes, nodes = self.hashes, self.nodes
        pending = [target]
        while pending:
            index = pending[-1]
            if hashes[index] is None:
                if index & 1:
                    left, right = tree_math.left(index), tree_math.right(index)
                    left_hash, right_hash = hashes[left], hashes[right]
                    if left_hash is None or right_hash is None:
                        pending += (right, left)
                        continue
                    hashes[index] = _parent_hash_input(nodes[index], left_hash, right_hash)
                else:
                    hashes[index] = _leaf_hash_input(index, nodes[index])
            pending.pop()
        result = hashes[target]
        assert result is not None, "the loop ends when the target's hash is known"
        return result

    def tree_hash_without(self, node: int, leaf_indices: Collection[int]) -> bytes:
        """Tree hash of a subtree as if some of its leaves had not been added yet (RFC 9420 7.9)."""
        without = set(leaf_indices)
        if not without:
            return self.tree_hash(node)
        self.tree_hash(node)
        changed = {2 * leaf: _leaf_hash_input(2 * leaf, None) for leaf in without}
        level = list(changed)
        while level != [node]:
            above = sorted({tree_math.parent(index) for index in level if index != node})
            for index in above:
                changed[index] = self._hash_without(index, changed, without)
            level = above
        return changed[node]

    def _hash_without(self, index: int, changed: dict[int, bytes], without: set[int]) -> bytes:
        found = self.parent_node(index)
        if found is not None and not without.isdisjoint(found.unmerged_leaves):
            kept = tuple(leaf for leaf in found.unmerged_leaves if leaf not in without)
            found = ParentNode(encryption_key=found.encryption_key, parent_hash=found.parent_hash, unmerged_leaves=kept)
        left, right = tree_math.left(index), tree_math.right(index)
        return _parent_hash_input(
            found, changed.get(left) or self.tree_hash(left), changed.get(right) or self.tree_hash(right)
        )

    # Encoding: optional<Node> ratchet_tree<V> (RFC 9420 12.4.3.3)

    def encode(self) -> bytes:
        """Encode the tree as it stands in a GroupInfo: nodes from left to right, without trailing blanks."""
        last = len(self.nodes) - 1
        while last > 0 and self.nodes[last] is None:
            last -= 1
        known = enumerate(self.encodings[: last + 1])
        return vector(b"".join([encoded or self._encode(node) for node, encoded in known]))

    def _encode(self, node: int) -> bytes:
        # Kept: every epoch is stored, and a commit changes only a path of the tree.
        encoded = self.encodings[node] = _encode_node(self.nodes[node])
        return encoded

    @classmethod
    def read(cls, reader: Reader) -> RatchetTree:
        """Decode a tree. Keys are unique afterwards; everything else is for `mls.tree_validation`.

        Raises:
            DecodeError: not a tree, or trailing blank nodes.
            InvalidTree: two nodes hold the same key.
            LimitExceeded: too many leaves.
        """
        section = reader.section()
        nodes: list[LeafNode | ParentNode | None] = []
        while section.offset < section.end:
            if len(nodes) >= tree_math.node_count(LEAVES_MAX):
                raise LimitExceeded(f"a tree of more than {LEAVES_MAX} leaves")
            nodes.append(_read_node(section, is_leaf=len(nodes) % 2 == 0))
        if not nodes or nodes[-1] is None:
            raise DecodeError("a ratchet tree that ends in a blank node")
        return cls.of_nodes(nodes)

    @classmethod
    def of_nodes(cls, nodes: Sequence[LeafNode | ParentNode | None]) -> RatchetTree:
        """Build a tree from its nodes in array order.

        Raises:
            InvalidTree: two nodes hold the same key.
            LimitExceeded: too many leaves.
        """
        tree = cls()
        tree.reserve_leaf(len(nodes) // 2)
        try:
            for index, node in enumerate(nodes):
                if node is not None:
                    tree._put(index, node)
        except InvalidLeafNode as error:
            raise InvalidTree(str(error)) from error
        return tree


def _leaf_hash_input(index: int, leaf: LeafNode | ParentNode | None) -> bytes:
    assert not isinstance(leaf, ParentNode), "leaves stand at even indices"
    return sha256(u8(_LEAF) + u32(index // 2) + optional(None if leaf is None else leaf.encoded))


def _parent_hash_input(parent: LeafNode | ParentNode | None, left_hash: bytes, right_hash: bytes) -> bytes:
    assert not isinstance(parent, LeafNode), "parents stand at odd indices"
    encoded = optional(None if parent is None else parent.encode())
    return sha256(b"%c%b\x20%b\x20%b" % (_PARENT, encoded, left_hash, right_hash))


def _encode_node(node: LeafNode | ParentNode | None) -> bytes:
    if node is None:
        return b"\x00"
    if isinstance(node, LeafNode):
        return b"\x01\x01" + node.encoded
    return b"\x01\x02" + node.encode()


def _read_node(reader: Reader, *, is_leaf: bool) -> LeafNode | ParentNode | None:
    if not reader.present():
        return None
    if reader.u8() != (_LEAF if is_leaf else _PARENT):
        raise DecodeError("a leaf where a parent belongs, or a parent for a leaf")
    return LeafNode.read(reader) if is_leaf else ParentNode.read(reader)
