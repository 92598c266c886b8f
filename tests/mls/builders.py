"""Members with names, and randomness that repeats: what the tests of this package share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mls import Entropy, Group, KeyPackageBundle, SignatureKey, new_key_package
from mls.group import ApplicationMessage

NOW = 1_800_000_000


def seeded(seed: int | str) -> Entropy:
    """Entropy that is the same for the same seed, and never gives the same bytes twice."""
    counter = 0

    def draw(size: int) -> bytes:
        nonlocal counter
        counter += 1
        return hashlib.shake_256(f"{seed}/{counter}".encode()).digest(size)

    return draw


def key_of(name: str) -> SignatureKey:
    """The signature key of a named person."""
    return SignatureKey.generate(seeded(f"key of {name}"))


def bundle_of(name: str, nonce: int = 0) -> KeyPackageBundle:
    """A KeyPackage of a named person."""
    return new_key_package(key_of(name), name.encode(), seeded(f"package {nonce} of {name}"), NOW)


def group_of(*names: str, force_path: bool = True) -> list[Group]:
    """The members of a group that the first one created, adding the others in one commit; in the order of the names."""
    entropy = seeded("/".join(names))
    founder = Group.create(b"group", key_of(names[0]), names[0].encode(), entropy=entropy, now=NOW)
    if len(names) == 1:
        return [founder]
    bundles = [bundle_of(name) for name in names[1:]]
    staged = founder.commit(
        add=[bundle.key_package_bytes for bundle in bundles], force_path=force_path, entropy=entropy, now=NOW
    )
    assert staged.welcome is not None
    welcome = staged.welcome
    joined = [Group.join(welcome, bundle, key_of(name), NOW) for name, bundle in zip(names[1:], bundles, strict=True)]
    return [staged.merge(), *joined]


def committed(group: Group, others: Sequence[Group], *, seed: int | str = "commit") -> list[Group]:
    """Everybody after an empty commit of `group`, committer first."""
    staged = group.commit(entropy=seeded(seed), now=NOW)
    return [staged.merge(), *(other.process_commit(staged.commit, NOW).merge() for other in others)]


def assert_agree(groups: Sequence[Group]) -> None:
    """All groups are the same epoch of the same history."""
    first = groups[0]
    for group in groups:
        assert group.epoch == first.epoch
        assert group.tree_hash == first.tree_hash
        assert group.epoch_authenticator == first.epoch_authenticator
        assert group.export("test", b"context", 32) == first.export("test", b"context", 32)
        assert group.members() == first.members()


def said(group: Group, message: bytes) -> ApplicationMessage:
    """What a message says to a member."""
    return group.unprotect(message)
