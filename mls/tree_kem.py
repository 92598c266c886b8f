"""New keys for a path, and how everybody else learns them (RFC 9420 7.4 to 7.6).

    path_secret[0] ─"path"─▶ path_secret[1] ─"path"─▶ ... ─"path"─▶ commit_secret
          │ "node"                 │ "node"
       key pair of the          of the next
       lowest path node

The committer seals each path secret to everybody below the node's other child. A recipient opens one of them, derives all
secrets above it, and checks that the keys they give are the ones announced.

The context of the sealing contains the tree hash after the change, so applying a path has two steps: `merge` puts the new
public keys into the tree, then `open_path` finds the secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from mls import tree_math
from mls.crypto import (
    Entropy,
    KeyPair,
    check_public_key,
    derive_key_pair,
    derive_secret,
    encryption_context,
    generate_key_pair,
    hpke_open,
    hpke_seal,
    random_bytes,
)
from mls.errors import InvalidCommit
from mls.nodes import LeafNode, LeafNodeSource, ParentNode
from mls.proposals import UpdatePath, UpdatePathNode
from mls.ratchet_tree import RatchetTree, parent_hash

__all__ = ["NewPath", "PathSecrets", "create_path", "derive_above", "merge", "open_path", "seal_path"]

_LABEL = "UpdatePathNode"
_PATH_SECRET_BYTES = 32


class PathSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What a path yields: private keys by node index, and the secret for the key schedule."""

    private_keys: dict[int, bytes]
    commit_secret: bytes


class NewPath(msgspec.Struct, frozen=True, kw_only=True):
    """A path just made: it is in the tree, and waits to be sealed (`seal_path`).

    `steps` are (path node, other child, path secret, its public key), upwards.
    """

    leaf_node: LeafNode
    leaf_key: KeyPair
    steps: tuple[tuple[int, int, bytes, bytes], ...]
    secrets: PathSecrets

    def secret_at(self, node: int) -> bytes | None:
        """Path secret of a node, if it is on the path."""
        return next((secret for index, _, secret, _ in self.steps if index == node), None)


def _place_parents(tree: RatchetTree, sender: int, steps: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Blank the sender's path and fill it with (node, other child, key); returns the leaf's parent hash."""
    tree.blank_direct_path(sender)
    above = b""
    for node, other, encryption_key in reversed(steps):
        tree.set_parent(node, ParentNode(encryption_key=encryption_key, parent_hash=above))
        above = parent_hash(encryption_key, above, tree.tree_hash(other))
    return above


def create_path(
    tree: RatchetTree, sender: int, make_leaf: Callable[[bytes, bytes], LeafNode], entropy: Entropy
) -> NewPath:
    """Make a new path for leaf `sender` and put it into `tree`, where proposals were applied already.

    `make_leaf(encryption_key, parent_hash)` signs the sender's new leaf node.
    """
    leaf_key = generate_key_pair(entropy)
    secret = random_bytes(entropy, _PATH_SECRET_BYTES)
    steps: list[tuple[int, int, bytes, bytes]] = []
    private_keys = {2 * sender: leaf_key.private}
    for node, other in tree.filtered_direct_path(sender):
        pair = derive_key_pair(derive_secret(secret, "node"))
        private_keys[node] = pair.private
        steps.append((node, other, secret, pair.public))
        secret = derive_secret(secret, "path")
    above = _place_parents(tree, sender, [(node, other, public) for node, other, _, public in steps])
    leaf_node = make_leaf(leaf_key.public, above)
    tree.place_leaf(sender, leaf_node)
    # With nobody else in the tree there is no step, and the first secret itself, fresh and random, takes its place.
    secrets = PathSecrets(private_keys=private_keys, commit_secret=secret)
    return NewPath(leaf_node=leaf_node, leaf_key=leaf_key, steps=tuple(steps), secrets=secrets)


def seal_path(
    path: NewPath, tree: RatchetTree, *, context: bytes, added: Collection[int], entropy: Entropy
) -> UpdatePath:
    """Seal the path secrets to everybody but the leaves just added, under the encoded provisional GroupContext."""
    schedule = encryption_context(_LABEL, context)
    excluded = {2 * leaf_index for leaf_index in added}
    nodes = []
    for _, other, secret, public in path.steps:
        sealed = tuple(
            hpke_seal(recipient.encryption_key, schedule, secret, entropy)
            for index in tree.iterate_resolution(other)
            if index not in excluded and (recipient := tree.nodes[index]) is not None
        )
        nodes.append(UpdatePathNode(encryption_key=public, encrypted_path_secrets=sealed))
    return UpdatePath(leaf_node=path.leaf_node, nodes=tuple(nodes))


def merge(tree: RatchetTree, sender: int, path: UpdatePath, added: Collection[int]) -> None:
    """Check a path's shape and put its public keys into `tree`, where proposals were applied already.

    Raises:
        InvalidCommit: wrong number of nodes or ciphertexts, a repeated key, or a wrong parent hash.
        InvalidLeafNode: a key that is in the tree already, or that nobody can encrypt to.
    """
    filtered = tree.filtered_direct_path(sender)
    if len(filtered) != len(path.nodes):
        raise InvalidCommit(f"a path of {len(path.nodes)} nodes instead of {len(filtered)}")
    if path.leaf_node.source is not LeafNodeSource.COMMIT:
        raise InvalidCommit("a path whose leaf is of another source")
    _check_ciphertext_counts(tree, filtered, path, added)
    current = tree.leaf(sender)
    if current is not None and current.encryption_key == path.leaf_node.encryption_key:
        raise InvalidCommit("a path that keeps the committer's old key")
    for node in path.nodes:
        check_public_key(node.encryption_key)
        if node.encryption_key in tree.encryption_keys:
            raise InvalidCommit("a path with a key that is in the tree already")
    steps = [(index, other, node.encryption_key) for (index, other), node in zip(filtered, path.nodes, strict=True)]
    if path.leaf_node.parent_hash != _place_parents(tree, sender, steps):
        raise InvalidCommit("a path whose leaf has a wrong parent hash")
    tree.place_leaf(sender, path.leaf_node)


def _check_ciphertext_counts(
    tree: RatchetTree, filtered: list[tuple[int, int]], path: UpdatePath, added: Collection[int]
) -> None:
    excluded = {2 * leaf_index for leaf_index in added}
    for (_, other), node in zip(filtered, path.nodes, strict=True):
        recipients = sum(index not in excluded for index in tree.iterate_resolution(other))
        if recipients != len(node.encrypted_path_secrets):
            raise InvalidCommit(f"{len(node.encrypted_path_secrets)} ciphertexts for {recipients} recipients")


def open_path(
    tree: RatchetTree,
    sender: int,
    path: UpdatePath,
    *,
    own_leaf: int,
    private_keys: dict[int, bytes],
    context: bytes,
    added: Collection[int],
) -> PathSecrets:
    """Find the secrets of a path that was merged into `tree`, as the member at `own_leaf`.

    Raises:
        InvalidCommit: nothing is sealed to a key we hold, or the secrets do not fit the announced keys.
        DecryptionFailed: the ciphertext meant for us does not open.
    """
    excluded = {2 * leaf_index for leaf_index in added}
    meeting = tree_math.common_ancestor(2 * sender, 2 * own_leaf)
    filled = [node for node in tree_math.direct_path(2 * sender, tree.leaf_count) if tree.nodes[node] is not None]
    if meeting not in filled:
        raise InvalidCommit("a path that passes us by")
    other = tree_math.right(meeting) if 2 * sender < meeting else tree_math.left(meeting)
    recipients = [index for index in tree.iterate_resolution(other) if index not in excluded]
    ours = next((at for at, index in enumerate(recipients) if index in private_keys), None)
    if ours is None:
        raise InvalidCommit("a path with nothing sealed to us")
    recipient = tree.nodes[recipients[ours]]
    assert recipient is not None, "resolutions hold no blank nodes"
    pair = KeyPair(private=private_keys[recipients[ours]], public=recipient.encryption_key)
    sealed = path.nodes[filled.index(meeting)].encrypted_path_secrets[ours]
    secret = hpke_open(pair, encryption_context(_LABEL, context), sealed)
    return derive_above(tree, sender, meeting, secret)


def derive_above(tree: RatchetTree, sender: int, node: int, path_secret: bytes) -> PathSecrets:
    """Derive all keys from `node` up to the root, along the path that leaf `sender` put into `tree`.

    Raises:
        InvalidCommit: they are not the keys in the tree.
    """
    private_keys = {}
    secret = path_secret
    path = tree_math.direct_path(2 * sender, tree.leaf_count)
    for index in path[path.index(node) :]:
        parent = tree.parent_node(index)
        if parent is None:
            continue
        pair = derive_key_pair(derive_secret(secret, "node"))
        if pair.public != parent.encryption_key:
            raise InvalidCommit("path secrets that do not fit the announced keys")
        private_keys[index] = pair.private
        secret = derive_secret(secret, "path")
    return PathSecrets(private_keys=private_keys, commit_secret=secret)
