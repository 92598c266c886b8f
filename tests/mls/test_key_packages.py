from __future__ import annotations

import pytest

from mls.crypto import ref_hash
from mls.errors import DecodeError, InvalidArgument, StateCorrupt
from mls.framing import WireFormat, envelope
from mls.joining import propose_to_join
from mls.key_packages import KeyPackageBundle, key_package_reference, new_key_package, open_key_package
from mls.limits import CLOCK_SKEW_S, KEY_PACKAGE_LIFETIME_S
from mls.tree_validation import check_key_package, check_lifetime
from tests.mls.builders import NOW, bundle_of, key_of, seeded


def test_a_new_key_package_is_valid() -> None:
    key_package = open_key_package(bundle_of("bob").key_package_bytes)

    check_key_package(key_package)
    check_lifetime(key_package.leaf_node, NOW)
    assert key_package.leaf_node.credential.content == b"bob"
    lifetime = key_package.leaf_node.lifetime
    assert lifetime is not None
    assert (lifetime.not_before, lifetime.not_after) == (NOW - CLOCK_SKEW_S, NOW + KEY_PACKAGE_LIFETIME_S)


def test_a_bundle_comes_back_with_its_private_keys() -> None:
    bundle = bundle_of("bob")

    restored = KeyPackageBundle.from_bytes(bundle.to_bytes())

    assert restored == bundle
    assert restored.reference == bundle.reference
    assert restored.init_key.public == bundle.key_package.init_key


@pytest.mark.parametrize("stored", [b"", b"\x80", b"\xc0", b"garbage"])
def test_bytes_that_are_no_bundle_are_refused(stored: bytes) -> None:
    with pytest.raises(StateCorrupt):
        KeyPackageBundle.from_bytes(stored)


def test_private_keys_are_not_published() -> None:
    bundle = bundle_of("bob")

    for secret in (bundle.init_private_key, bundle.encryption_private_key, key_of("bob").private):
        assert secret not in bundle.key_package_bytes


def test_the_reference_is_a_hash_of_the_key_package() -> None:
    bundle = bundle_of("bob")

    assert bundle.reference == key_package_reference(bundle.key_package)
    assert bundle.reference == ref_hash(b"MLS 1.0 KeyPackage Reference", bundle.key_package_bytes[4:])


def test_another_message_is_no_key_package() -> None:
    body = bundle_of("bob").key_package_bytes[4:]

    with pytest.raises(DecodeError):
        open_key_package(envelope(WireFormat.GROUP_INFO, body))
    with pytest.raises(DecodeError):
        open_key_package(envelope(WireFormat.KEY_PACKAGE, body + b"x"))


def test_times_before_the_epoch_are_cut() -> None:
    lifetime = new_key_package(key_of("bob"), b"bob", seeded(1), 5).key_package.leaf_node.lifetime

    assert lifetime is not None
    assert lifetime.not_before == 0


def test_a_wish_to_join_needs_the_key_of_its_package() -> None:
    with pytest.raises(InvalidArgument):
        propose_to_join(b"group", 1, bundle_of("bob"), key_of("carol"))
