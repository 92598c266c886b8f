from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mls.errors import GenerationTooFar, Replayed
from mls.limits import (
    GENERATION_MAX,
    GENERATIONS_AHEAD_MAX,
    SKIPPED_KEYS_MAX,
    SKIPPED_KEYS_PER_SENDER_MAX,
)
from mls.protection import _sender_data_key
from mls.secret_tree import MessageKey, RatchetType, SecretTree, SecretTreeState, SenderRatchet
from tests.mls.vectors import OUR_SUITE, hex_bytes, load

APPLICATION = RatchetType.APPLICATION
HANDSHAKE = RatchetType.HANDSHAKE


@pytest.mark.parametrize("entry", load("secret-tree", OUR_SUITE), ids=lambda entry: f"leaves={len(entry['leaves'])}")
def test_official_vectors(entry: dict[str, Any]) -> None:
    leaves = entry["leaves"]
    tree = SecretTree(hex_bytes(entry["encryption_secret"]), 1 << (len(leaves) - 1).bit_length())
    for leaf, generations in enumerate(leaves):
        for expected in generations:
            for ratchet, name in ((HANDSHAKE, "handshake"), (APPLICATION, "application")):
                found = tree.peek(leaf, ratchet, expected["generation"])
                assert found.key == hex_bytes(expected[f"{name}_key"])
                assert found.nonce == hex_bytes(expected[f"{name}_nonce"])
                tree.consume(leaf, ratchet, found)
    sender_data = entry["sender_data"]
    assert _sender_data_key(hex_bytes(sender_data["sender_data_secret"]), hex_bytes(sender_data["ciphertext"])) == (
        hex_bytes(sender_data["key"]),
        hex_bytes(sender_data["nonce"]),
    )


def key_material(found: MessageKey) -> tuple[bytes, bytes]:
    return found.key, found.nonce


def test_peeking_uses_nothing_up() -> None:
    tree = SecretTree(bytes(32), 4)

    first = tree.peek(2, APPLICATION, 5)

    assert tree.peek(2, APPLICATION, 5) == first
    assert tree.generation(2, APPLICATION) == 0


def test_a_key_serves_once() -> None:
    tree = SecretTree(bytes(32), 4)
    tree.consume(2, APPLICATION, tree.peek(2, APPLICATION, 0))

    with pytest.raises(Replayed):
        tree.peek(2, APPLICATION, 0)


def test_skipped_keys_stay_until_used() -> None:
    tree, reference = SecretTree(bytes(32), 4), SecretTree(bytes(32), 4)
    expected = {generation: key_material(reference.peek(1, APPLICATION, generation)) for generation in range(6)}

    for generation in (5, 2, 0, 4, 1, 3):
        found = tree.peek(1, APPLICATION, generation)
        assert key_material(found) == expected[generation]
        tree.consume(1, APPLICATION, found)

    for generation in range(6):
        with pytest.raises(Replayed):
            tree.peek(1, APPLICATION, generation)


def test_the_two_ratchets_of_a_leaf_are_independent() -> None:
    tree = SecretTree(bytes(32), 4)
    tree.consume(0, APPLICATION, tree.peek(0, APPLICATION, 0))

    assert tree.generation(0, HANDSHAKE) == 0
    assert key_material(tree.peek(0, HANDSHAKE, 0)) != key_material(tree.peek(0, APPLICATION, 1))


def test_a_jump_is_bounded() -> None:
    tree = SecretTree(bytes(32), 1)

    tree.peek(0, APPLICATION, GENERATIONS_AHEAD_MAX)
    for generation in (GENERATIONS_AHEAD_MAX + 1, GENERATION_MAX):
        with pytest.raises(GenerationTooFar):
            tree.peek(0, APPLICATION, generation)


def test_the_last_generation_is_never_used() -> None:
    with pytest.raises(GenerationTooFar):
        SenderRatchet(bytes(32), GENERATION_MAX).peek(GENERATION_MAX)


def test_a_sender_keeps_only_its_newest_skipped_keys() -> None:
    tree = SecretTree(bytes(32), 1)
    jump = SKIPPED_KEYS_PER_SENDER_MAX + 10
    tree.consume(0, APPLICATION, tree.peek(0, APPLICATION, jump))

    tree.peek(0, APPLICATION, jump - SKIPPED_KEYS_PER_SENDER_MAX)
    with pytest.raises(Replayed):
        tree.peek(0, APPLICATION, jump - SKIPPED_KEYS_PER_SENDER_MAX - 1)


def test_all_senders_together_keep_a_bounded_number_of_skipped_keys() -> None:
    senders = SKIPPED_KEYS_MAX // SKIPPED_KEYS_PER_SENDER_MAX + 6
    tree = SecretTree(bytes(32), 128)
    for leaf in range(senders):
        tree.consume(leaf, APPLICATION, tree.peek(leaf, APPLICATION, SKIPPED_KEYS_PER_SENDER_MAX))

    kept = sum(len(skipped) for pair in tree.state().ratchets.values() for _, _, skipped in pair)
    assert kept == SKIPPED_KEYS_MAX


def test_used_secrets_are_gone_from_the_state() -> None:
    """RFC 9420 9.2: the root, the path to the leaf, and the spent ratchet secret are deleted."""
    root = b"\x07" * 32
    tree = SecretTree(root, 4)
    spent = tree.peek(3, APPLICATION, 0)
    before = tree.state()
    tree.consume(3, APPLICATION, spent)

    stored = msgspec.msgpack.encode(tree.state())
    assert root not in stored
    assert spent.key not in stored
    assert before.ratchets[3][1][0] not in stored
    assert set(tree.state().node_secrets) == {1, 4}


def test_a_stored_tree_goes_on_where_it_was() -> None:
    tree = SecretTree(bytes(32), 8)
    for leaf, generation in ((0, 3), (5, 0), (5, 1)):
        tree.consume(leaf, APPLICATION, tree.peek(leaf, APPLICATION, generation))
    stored = msgspec.msgpack.encode(tree.state())

    restored = SecretTree.of_state(msgspec.msgpack.decode(stored, type=SecretTreeState))

    assert msgspec.msgpack.encode(restored.state()) == stored
    assert restored.peek(0, APPLICATION, 1) == tree.peek(0, APPLICATION, 1)
    assert restored.peek(6, HANDSHAKE, 2) == tree.peek(6, HANDSHAKE, 2)
    with pytest.raises(Replayed):
        restored.peek(0, APPLICATION, 3)
