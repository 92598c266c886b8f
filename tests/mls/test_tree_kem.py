from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mls.codec import decode
from mls.crypto import HPKECiphertext, SignatureKey, derive_key_pair, derive_secret
from mls.errors import DecryptionFailed, InvalidCommit, InvalidLeafNode
from mls.key_schedule import GroupContext
from mls.nodes import LeafNode, sign_leaf_node
from mls.proposals import UpdatePath, UpdatePathNode
from mls.ratchet_tree import RatchetTree
from mls.tree_kem import PathSecrets, create_path, derive_above, merge, open_path, seal_path
from tests.mls.builders import seeded
from tests.mls.vectors import OUR_SUITE, hex_bytes, load

VECTORS = load("treekem", OUR_SUITE)


def context_of(entry: dict[str, Any], tree: RatchetTree) -> bytes:
    return GroupContext(
        cipher_suite=entry["cipher_suite"],
        group_id=hex_bytes(entry["group_id"]),
        epoch=entry["epoch"],
        tree_hash=tree.tree_hash(),
        confirmed_transcript_hash=hex_bytes(entry["confirmed_transcript_hash"]),
    ).encode()


def private_keys_of(leaf: dict[str, Any]) -> dict[int, bytes]:
    keys = {2 * leaf["index"]: hex_bytes(leaf["encryption_priv"])}
    for item in leaf["path_secrets"]:
        keys[item["node"]] = derive_key_pair(derive_secret(hex_bytes(item["path_secret"]), "node")).private
    return keys


def opened(
    entry: dict[str, Any], tree: RatchetTree, sender: int, path: UpdatePath, leaf: dict[str, Any]
) -> PathSecrets:
    return open_path(
        tree,
        sender,
        path,
        own_leaf=leaf["index"],
        private_keys=private_keys_of(leaf),
        context=context_of(entry, tree),
        added=(),
    )


@pytest.mark.parametrize("entry", VECTORS)
def test_official_vectors_of_received_paths(entry: dict[str, Any]) -> None:
    before = decode(hex_bytes(entry["ratchet_tree"]), RatchetTree.read)
    for update in entry["update_paths"]:
        path = decode(hex_bytes(update["update_path"]), UpdatePath.read)
        assert path.encode() == hex_bytes(update["update_path"])
        path.leaf_node.verify(hex_bytes(entry["group_id"]), update["sender"])
        tree = before.copy()
        merge(tree, update["sender"], path, ())
        assert tree.tree_hash() == hex_bytes(update["tree_hash_after"])
        for leaf in entry["leaves_private"]:
            expected = update["path_secrets"][leaf["index"]]
            if leaf["index"] == update["sender"] or expected is None:
                continue
            secrets = opened(entry, tree, update["sender"], path, leaf)
            assert secrets.commit_secret == hex_bytes(update["commit_secret"])
            meeting = next(node for node in secrets.private_keys)
            assert derive_above(tree, update["sender"], meeting, hex_bytes(expected)) == secrets


@pytest.mark.parametrize("entry", VECTORS)
def test_official_vectors_of_paths_of_our_own(entry: dict[str, Any]) -> None:
    before = decode(hex_bytes(entry["ratchet_tree"]), RatchetTree.read)
    for sender in entry["leaves_private"]:
        tree = before.copy()
        path, sealed = made(entry, tree, sender)
        received = before.copy()
        merge(received, sender["index"], sealed, ())
        assert received.tree_hash() == tree.tree_hash()
        for leaf in entry["leaves_private"]:
            if leaf is not sender:
                secrets = opened(entry, received, sender["index"], sealed, leaf)
                assert secrets.commit_secret == path.secrets.commit_secret


def made(entry: dict[str, Any], tree: RatchetTree, sender: dict[str, Any]) -> tuple[Any, UpdatePath]:
    """A new path by a member of the vector, put into `tree`."""
    group_id, index = hex_bytes(entry["group_id"]), sender["index"]
    key = SignatureKey.from_private(hex_bytes(sender["signature_priv"]))
    old = tree.leaf(index)
    assert old is not None
    credential = old.credential

    def make_leaf(encryption_key: bytes, above: bytes) -> LeafNode:
        return sign_leaf_node(
            key, credential, encryption_key=encryption_key, parent_hash=above, place=(group_id, index)
        )

    path = create_path(tree, index, make_leaf, seeded(index))
    return path, seal_path(path, tree, context=context_of(entry, tree), added=(), entropy=seeded("seal"))


@pytest.fixture
def case() -> tuple[dict[str, Any], RatchetTree, UpdatePath, dict[str, Any]]:
    """A vector, its tree, a path of its first member, and its last member."""
    entry = VECTORS[2]
    tree = decode(hex_bytes(entry["ratchet_tree"]), RatchetTree.read)
    _, sealed = made(entry, tree.copy(), entry["leaves_private"][0])
    return entry, tree, sealed, entry["leaves_private"][-1]


Case = tuple[dict[str, Any], RatchetTree, UpdatePath, dict[str, Any]]


def test_a_path_of_a_wrong_length_is_refused(case: Case) -> None:
    _, tree, path, _ = case

    for nodes in (path.nodes[:-1], (*path.nodes, path.nodes[0]), ()):
        with pytest.raises(InvalidCommit):
            merge(tree.copy(), 0, msgspec.structs.replace(path, nodes=nodes), ())


def test_a_wrong_number_of_ciphertexts_is_refused(case: Case) -> None:
    _, tree, path, _ = case
    first = path.nodes[0]
    for sealed in ((), first.encrypted_path_secrets * 2):
        nodes = (UpdatePathNode(encryption_key=first.encryption_key, encrypted_path_secrets=sealed), *path.nodes[1:])
        with pytest.raises(InvalidCommit):
            merge(tree.copy(), 0, msgspec.structs.replace(path, nodes=nodes), ())


def test_a_key_that_is_in_the_tree_or_of_low_order_is_refused(case: Case) -> None:
    _, tree, path, _ = case
    first = path.nodes[0]
    other = tree.leaf(1)
    assert other is not None
    for key in (other.encryption_key, bytes(32), b"short"):
        node = UpdatePathNode(encryption_key=key, encrypted_path_secrets=first.encrypted_path_secrets)
        with pytest.raises((InvalidCommit, InvalidLeafNode)):
            merge(tree.copy(), 0, msgspec.structs.replace(path, nodes=(node, *path.nodes[1:])), ())


def test_a_changed_path_key_breaks_the_parent_hash(case: Case) -> None:
    _, tree, path, _ = case
    last = path.nodes[-1]
    node = UpdatePathNode(
        encryption_key=derive_key_pair(b"other").public, encrypted_path_secrets=last.encrypted_path_secrets
    )

    with pytest.raises(InvalidCommit, match="parent hash"):
        merge(tree.copy(), 0, msgspec.structs.replace(path, nodes=(*path.nodes[:-1], node)), ())


def test_a_committer_must_change_its_leaf_key(case: Case) -> None:
    _, tree, path, _ = case
    changed = tree.copy()
    merge(changed, 0, path, ())

    with pytest.raises(InvalidCommit, match="old key"):
        merge(changed, 0, path, ())


def test_a_path_sealed_under_another_context_does_not_open(case: Case) -> None:
    entry, tree, path, leaf = case
    merge(tree, 0, path, ())
    other = {**entry, "epoch": entry["epoch"] + 1}

    opened(entry, tree, 0, path, leaf)
    with pytest.raises(DecryptionFailed):
        opened(other, tree, 0, path, leaf)


def test_secrets_that_do_not_fit_the_announced_keys_are_refused(case: Case) -> None:
    _, tree, path, _ = case
    merge(tree, 0, path, ())

    with pytest.raises(InvalidCommit):
        derive_above(tree, 0, tree.root, bytes(32))


def test_a_member_without_any_key_cannot_open(case: Case) -> None:
    entry, tree, path, leaf = case
    merge(tree, 0, path, ())

    with pytest.raises(InvalidCommit, match="nothing sealed to us"):
        open_path(tree, 0, path, own_leaf=leaf["index"], private_keys={}, context=context_of(entry, tree), added=())
    assert HPKECiphertext(kem_output=b"k", ciphertext=b"c").encode() == b"\x01k\x01c"
