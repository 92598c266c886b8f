"""Changed bits and noise: refused with this package's errors, and nothing changes."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from mls import (
    Group,
    MLSError,
    PeerError,
    new_key_package,
)
from tests.mls.builders import NOW, bundle_of, group_of, key_of, seeded


def mutants(message: bytes, chance: random.Random, count: int) -> list[bytes]:
    """Copies of a message, each with one bit flipped, or torn."""
    found = []
    for at in chance.sample(range(len(message)), min(count, len(message))):
        changed = bytearray(message)
        changed[at] ^= 1 << chance.randrange(8)
        found.append(bytes(changed))
    return [*found, message[:-1], message + b"\x00", message[: len(message) // 2]]


def assert_refused(use: Callable[[bytes], object], message: bytes, group: Group | None, *, seed: int) -> None:
    before = None if group is None else (group.epoch_state(), group.epoch_authenticator)
    for mutant in mutants(message, random.Random(seed), 250):
        with pytest.raises(MLSError):
            use(mutant)
    if group is not None:
        assert (group.epoch_state(), group.epoch_authenticator) == before
        use(message)


def test_no_changed_commit_is_accepted() -> None:
    alice, bob, _ = group_of("alice", "bob", "carol")
    staged = alice.commit(add=[bundle_of("dave").key_package_bytes], remove=[2], entropy=seeded(1), now=NOW)

    assert_refused(lambda message: bob.process_commit(message, NOW), staged.commit, bob, seed=1)


def test_no_changed_external_commit_is_accepted() -> None:
    alice, bob = group_of("alice", "bob")
    _, commit = Group.join_external(alice.group_info(), key_of("carol"), b"carol", entropy=seeded(1), now=NOW)

    assert_refused(lambda message: bob.process_commit(message, NOW), commit, bob, seed=2)


def test_no_changed_message_is_accepted() -> None:
    alice, bob = group_of("alice", "bob")
    before = bob.ratchet_state()
    message = alice.protect(b"text" * 20, b"header", entropy=seeded(1), padding_bytes=30)

    for mutant in mutants(message, random.Random(3), len(message)):
        with pytest.raises(MLSError):
            bob.unprotect(mutant)

    assert msgspec.msgpack.decode(bob.ratchet_state())[3] == msgspec.msgpack.decode(before)[3]
    assert bob.unprotect(message).plaintext == b"text" * 20


def test_no_changed_welcome_is_accepted() -> None:
    staged = group_of("alice", "carol")[0].commit(add=[bundle_of("bob").key_package_bytes], entropy=seeded(1), now=NOW)
    assert staged.welcome is not None

    assert_refused(
        lambda message: Group.join(message, bundle_of("bob"), key_of("bob"), NOW), staged.welcome, None, seed=4
    )


def test_no_changed_key_package_is_accepted() -> None:
    alice, _ = group_of("alice", "carol")

    assert_refused(
        lambda message: alice.commit(add=[message], entropy=seeded(1), now=NOW),
        bundle_of("bob").key_package_bytes,
        alice,
        seed=5,
    )


def test_no_changed_group_info_is_accepted() -> None:
    alice, _ = group_of("alice", "carol")

    assert_refused(
        lambda message: Group.join_external(message, key_of("bob"), b"bob", entropy=seeded(1), now=NOW),
        alice.group_info(),
        alice,
        seed=6,
    )


def test_random_bytes_are_refused() -> None:
    chance = random.Random(8)
    _, bob = group_of("alice", "bob")
    for _ in range(300):
        noise = b"\x00\x01\x00" + bytes([chance.randrange(1, 6)]) + chance.randbytes(chance.randrange(200))
        for use in (
            bob.unprotect,
            bob.process_proposal,
            lambda message: bob.process_commit(message, NOW),
            lambda message: bob.commit(add=[message], entropy=seeded(1), now=NOW),
            lambda message: Group.join(message, bundle_of("carol"), key_of("carol"), NOW),
            lambda message: Group.join_external(message, key_of("carol"), b"carol", entropy=seeded(1), now=NOW),
        ):
            with pytest.raises(PeerError):
                use(noise)


def test_key_packages_of_one_person_differ() -> None:
    first, second = (new_key_package(key_of("bob"), b"bob", seeded(number), NOW) for number in range(2))

    assert first.reference != second.reference
    assert first.init_private_key != second.init_private_key
