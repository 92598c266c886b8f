"""KeyPackages of our own: made, kept with their private keys, and read from others (RFC 9420 10)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import msgspec

from mls.codec import Reader, decode, u16, vector
from mls.crypto import CIPHER_SUITE, Entropy, KeyPair, SignatureKey, generate_key_pair, ref_hash, sign_with_label
from mls.errors import DecodeError, StateCorrupt
from mls.framing import WireFormat, envelope, open_envelope
from mls.limits import CLOCK_SKEW_S, KEY_PACKAGE_LIFETIME_S
from mls.nodes import (
    BASIC_CREDENTIAL,
    PROTOCOL_VERSION,
    Credential,
    Lifetime,
    encode_extensions,
    sign_leaf_node,
)
from mls.proposals import KeyPackage
from mls.tree_validation import check_lifetime

__all__ = [
    "KeyPackageBundle",
    "KeyPackageFacts",
    "key_package_of",
    "key_package_reference",
    "new_key_package",
    "open_key_package",
    "open_key_packages",
]


def key_package_reference(key_package: KeyPackage) -> bytes:
    """KeyPackageRef (RFC 9420 5.2), 32 bytes."""
    return ref_hash(b"MLS 1.0 KeyPackage Reference", key_package.encoded)


def open_key_package(message: bytes) -> KeyPackage:
    """Decode a KeyPackage in its MLSMessage envelope; the commit that adds it checks it.

    Raises:
        DecodeError: no KeyPackage.
        Unsupported: another protocol version.
    """
    wire_format, body = open_envelope(message)
    if wire_format is not WireFormat.KEY_PACKAGE:
        raise DecodeError("not a KeyPackage")
    return decode(body, KeyPackage.read)


class KeyPackageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a KeyPackage says, checked by nobody yet: its reference and its owner's key (32 bytes each), its identity."""

    reference: bytes
    device_key: bytes
    identity: bytes


def key_package_of(message: bytes) -> KeyPackageFacts:
    """Look at a KeyPackage in its MLSMessage envelope.

    Raises:
        DecodeError: no KeyPackage.
        Unsupported: another protocol version.
    """
    found = open_key_package(message)
    leaf = found.leaf_node
    return KeyPackageFacts(
        reference=key_package_reference(found), device_key=leaf.signature_key, identity=leaf.credential.content
    )


def open_key_packages(messages: Sequence[bytes], now: int) -> list[KeyPackage]:
    """Decode KeyPackages that must be valid at `now`, seconds since 1970.

    Raises:
        DecodeError: no KeyPackage.
        InvalidLeafNode: expired, not valid yet, or valid for too long.
        Unsupported: another protocol version.
    """
    key_packages = [open_key_package(message) for message in messages]
    for key_package in key_packages:
        check_lifetime(key_package.leaf_node, now)
    return key_packages


class KeyPackageBundle(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A KeyPackage of our own with its private keys (X25519, 32 bytes each). Use it once, then delete it."""

    key_package_bytes: bytes
    """What to publish: an MLSMessage, about 280 bytes."""
    init_private_key: bytes
    encryption_private_key: bytes

    @cached_property
    def key_package(self) -> KeyPackage:
        """The decoded KeyPackage."""
        return decode(open_envelope(self.key_package_bytes)[1], KeyPackage.read)

    @cached_property
    def reference(self) -> bytes:
        """KeyPackageRef: 32 bytes, the name under which a Welcome finds its reader."""
        return key_package_reference(self.key_package)

    @property
    def init_key(self) -> KeyPair:
        """Key pair to which a Welcome's secrets are sealed."""
        return KeyPair(private=self.init_private_key, public=self.key_package.init_key)

    def to_bytes(self) -> bytes:
        """Encode with the private keys, for storing."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, stored: bytes) -> KeyPackageBundle:
        """Decode what `to_bytes` gave.

        Raises:
            StateCorrupt: it is something else.
        """
        try:
            return msgspec.msgpack.decode(stored, type=cls)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StateCorrupt("not a stored KeyPackage") from error


def our_lifetime(now: int) -> Lifetime:
    """Lifetime of a leaf made at `now`, seconds since 1970."""
    return Lifetime(not_before=max(0, now - CLOCK_SKEW_S), not_after=now + KEY_PACKAGE_LIFETIME_S)


def basic_credential(identity: bytes) -> Credential:
    """Credential that carries an identity as it is (RFC 9420 5.3)."""
    return Credential(credential_type=BASIC_CREDENTIAL, content=identity)


def new_key_package(signature_key: SignatureKey, identity: bytes, entropy: Entropy, now: int) -> KeyPackageBundle:
    """Make a KeyPackage with a basic credential, valid from a day before `now` (seconds since 1970) for 90 days."""
    init, encryption = generate_key_pair(entropy), generate_key_pair(entropy)
    leaf = sign_leaf_node(
        signature_key, basic_credential(identity), encryption_key=encryption.public, lifetime=our_lifetime(now)
    )
    content = u16(PROTOCOL_VERSION) + u16(CIPHER_SUITE) + vector(init.public) + leaf.encoded + encode_extensions(())
    signature = sign_with_label(signature_key, "KeyPackageTBS", content)
    key_package = KeyPackage.read(Reader(content + vector(signature)))
    return KeyPackageBundle(
        key_package_bytes=envelope(WireFormat.KEY_PACKAGE, key_package.encoded),
        init_private_key=init.private,
        encryption_private_key=encryption.private,
    )
