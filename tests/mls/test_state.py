from __future__ import annotations

import random

import msgspec
import pytest

from mls import Group, StateCorrupt
from tests.mls.builders import assert_agree, committed, group_of, key_of, seeded


def test_a_group_goes_on_after_a_restart() -> None:
    alice, bob = group_of("alice", "bob")
    for number in range(3):
        bob.unprotect(alice.protect(b"%d" % number, entropy=seeded(number)))

    alice = Group.restore(alice.epoch_state(), alice.ratchet_state(), key_of("alice"))
    bob = Group.restore(bob.epoch_state(), bob.ratchet_state(), key_of("bob"))

    assert_agree([alice, bob])
    assert bob.unprotect(alice.protect(b"next", entropy=seeded(9))).generation == 3
    assert_agree(committed(bob, [alice]))


def test_messages_change_only_the_ratchet_part() -> None:
    alice, bob = group_of("alice", "bob")
    epoch, ratchets = alice.epoch_state(), alice.ratchet_state()

    bob.unprotect(alice.protect(b"x", entropy=seeded(1)))
    alice.unprotect(bob.protect(b"y", entropy=seeded(2)))

    assert alice.epoch_state() == epoch
    assert alice.ratchet_state() != ratchets


def test_the_ratchet_part_is_small() -> None:
    alice, bob = group_of(*(f"m{number}" for number in range(40)))[:2]
    for number in range(100):
        bob.unprotect(alice.protect(b"x", entropy=seeded(number)))

    assert len(bob.ratchet_state()) < 600


def test_parts_of_different_epochs_or_members_do_not_fit() -> None:
    alice, bob = group_of("alice", "bob")
    later = committed(alice, [bob])[0]

    for epoch, ratchets, key in (
        (alice.epoch_state(), later.ratchet_state(), key_of("alice")),
        (later.epoch_state(), alice.ratchet_state(), key_of("alice")),
        (alice.epoch_state(), alice.ratchet_state(), key_of("bob")),
    ):
        with pytest.raises(StateCorrupt):
            Group.restore(epoch, ratchets, key)


def test_the_signature_key_is_stored_elsewhere() -> None:
    alice, _ = group_of("alice", "bob")

    assert key_of("alice").private not in alice.epoch_state() + alice.ratchet_state()


def test_deleted_keys_are_not_in_the_stored_state() -> None:
    """RFC 9420 9.2: what decrypted a message cannot be computed from the state afterwards."""
    alice, bob = group_of("alice", "bob")
    before = msgspec.msgpack.decode(bob.ratchet_state(), strict=False)
    root = before[2][1][1]
    assert len(root) == 32

    bob.unprotect(alice.protect(b"x", entropy=seeded(1)))

    assert root not in bob.ratchet_state() + bob.epoch_state()


@pytest.mark.parametrize("part", [0, 1])
def test_rotten_bytes_raise_our_error_only(part: int) -> None:
    alice = group_of("alice", "bob", "carol")[0]
    parts = [alice.epoch_state(), alice.ratchet_state()]
    chance = random.Random(part)
    for _ in range(400):
        rotten = bytearray(parts[part])
        for _ in range(chance.randrange(1, 4)):
            rotten[chance.randrange(len(rotten))] = chance.randrange(256)
        stored = list(parts)
        stored[part] = bytes(rotten[: chance.randrange(len(rotten))] if chance.random() < 0.2 else rotten)
        try:
            Group.restore(stored[0], stored[1], key_of("alice")).protect(b"x", entropy=seeded(1))
        except StateCorrupt:
            continue


def test_a_restored_group_follows_history() -> None:
    alice, bob, carol = group_of("alice", "bob", "carol")
    for seed in range(6):
        actor, others = (alice, [bob, carol]) if seed % 2 else (carol, [bob, alice])
        committed_groups = committed(actor, others, seed=seed)
        by_leaf = {group.own_leaf_index: group for group in committed_groups}
        alice, bob, carol = (
            Group.restore(by_leaf[at].epoch_state(), by_leaf[at].ratchet_state(), key_of(name))
            for at, name in enumerate(("alice", "bob", "carol"))
        )
        assert_agree([alice, bob, carol])
    assert alice.epoch == 7
