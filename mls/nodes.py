"""What sits in a ratchet tree: leaf nodes, parent nodes, and the small values inside them (RFC 9420 5.3, 7.1, 7.2).

A leaf node is signed by its member. The decoder keeps its bytes: the tree hash, the signature and the encoded tree all
use them as they came, which the codec's canonical form makes safe.

`Capabilities` of a room are nearly always the same bytes for every member, so decoded ones are shared. Values that hold no
references back are kept from the cycle collector (`gc=False`): a large group has tens of thousands of them.
"""

from __future__ import annotations

import enum
import itertools
from functools import lru_cache
from typing import Final

import msgspec

from mls.codec import Reader, u8, u16, u16_list, u32, u64, vector
from mls.crypto import CIPHER_SUITE, KEY_BYTES, SignatureKey, sign_with_label, verify_with_label
from mls.errors import DecodeError, InvalidLeafNode, LimitExceeded
from mls.limits import EXTENSIONS_MAX, LEAF_NODE_BYTES_MAX, LEAVES_VERIFIED_MAX

__all__ = [
    "BASIC_CREDENTIAL",
    "OUR_CAPABILITIES",
    "Capabilities",
    "Credential",
    "Extension",
    "LeafNode",
    "LeafNodeSource",
    "Lifetime",
    "ParentNode",
    "encode_extensions",
    "find_extension",
    "read_extensions",
    "sign_leaf_node",
]

PROTOCOL_VERSION: Final = 1
BASIC_CREDENTIAL: Final = 1
X509_CREDENTIAL: Final = 2
DEFAULT_EXTENSIONS: Final = frozenset(range(1, 6))
"""Extension types that every client knows and that capabilities do not list (RFC 9420 7.2)."""

RATCHET_TREE_EXTENSION: Final = 2
REQUIRED_CAPABILITIES_EXTENSION: Final = 3
EXTERNAL_PUB_EXTENSION: Final = 4
EXTERNAL_SENDERS_EXTENSION: Final = 5
ROOM_EXTENSION: Final = 0xF5A1
"""Samtala's own GroupContext extension, of the private range (RFC 9420 17.3): what a room's members must agree on."""

_CAPABILITIES_CACHED_BYTES_MAX: Final = 256


class LeafNodeSource(enum.IntEnum):
    """How a leaf node came into the tree (RFC 9420 7.2)."""

    KEY_PACKAGE = 1
    UPDATE = 2
    COMMIT = 3


_SOURCES: Final = {int(source): source for source in LeafNodeSource}


class Credential(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who a member claims to be. `content` is the identity of a basic credential, or the encoded certificates."""

    credential_type: int
    content: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        return u16(self.credential_type) + vector(self.content)

    @classmethod
    def read(cls, reader: Reader) -> Credential:
        """Decode one; types whose layout is unknown are refused, because nobody can tell where they end."""
        credential_type = reader.u16()
        if credential_type not in {BASIC_CREDENTIAL, X509_CREDENTIAL}:
            raise DecodeError(f"credential of unknown type {credential_type}")
        content = reader.opaque()
        if credential_type == X509_CREDENTIAL:
            certificates = Reader(content)
            while certificates.offset < certificates.end:
                certificates.opaque()
        return cls(credential_type=credential_type, content=content)


class Extension(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One extension: a 16-bit type and bytes that the type explains (RFC 9420 7.2)."""

    extension_type: int
    data: bytes

    @classmethod
    def read(cls, reader: Reader) -> Extension:
        """Decode one."""
        return cls(extension_type=reader.u16(), data=reader.opaque())


def encode_extensions(extensions: tuple[Extension, ...]) -> bytes:
    """Encode `Extension extensions<V>`."""
    return vector(b"".join(u16(extension.extension_type) + vector(extension.data) for extension in extensions))


def read_extensions(reader: Reader) -> tuple[Extension, ...]:
    """Decode `Extension extensions<V>`; no type may appear twice (RFC 9420 13.4)."""
    extensions = reader.items(Extension.read, count_max=EXTENSIONS_MAX)
    if len({extension.extension_type for extension in extensions}) != len(extensions):
        raise DecodeError("an extension type appears twice in one list")
    return extensions


def find_extension(extensions: tuple[Extension, ...], extension_type: int) -> bytes | None:
    """Data of the extension of a type, or None."""
    for extension in extensions:
        if extension.extension_type == extension_type:
            return extension.data
    return None


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a client supports, as 16-bit numbers of the MLS registries (RFC 9420 7.2)."""

    versions: tuple[int, ...]
    cipher_suites: tuple[int, ...]
    extensions: tuple[int, ...]
    proposals: tuple[int, ...]
    credentials: tuple[int, ...]

    def encode(self) -> bytes:
        """Encode for the wire."""
        lists = (self.versions, self.cipher_suites, self.extensions, self.proposals, self.credentials)
        return b"".join(u16_list(values) for values in lists)

    @classmethod
    def read(cls, reader: Reader) -> Capabilities:
        """Decode one."""
        start = reader.offset
        for _ in range(5):
            reader.take(reader.length())
        encoded = reader.data[start : reader.offset]
        if len(encoded) > _CAPABILITIES_CACHED_BYTES_MAX:
            return _decode_capabilities.__wrapped__(encoded)
        return _decode_capabilities(encoded)


@lru_cache(maxsize=64)
def _decode_capabilities(encoded: bytes) -> Capabilities:
    reader = Reader(encoded)
    return Capabilities(
        versions=reader.u16_list(),
        cipher_suites=reader.u16_list(),
        extensions=reader.u16_list(),
        proposals=reader.u16_list(),
        credentials=reader.u16_list(),
    )


OUR_CAPABILITIES: Final = Capabilities(
    versions=(PROTOCOL_VERSION,),
    cipher_suites=(CIPHER_SUITE,),
    extensions=(ROOM_EXTENSION,),
    proposals=(),
    credentials=(BASIC_CREDENTIAL,),
)


class Lifetime(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """When a KeyPackage may be used: seconds since 1970, both inclusive."""

    not_before: int
    not_after: int

    def encode(self) -> bytes:
        """Encode for the wire."""
        return u64(self.not_before) + u64(self.not_after)


class LeafNode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A member's place in the tree (RFC 9420 7.2), about 180 bytes encoded.

    `lifetime` is present iff the source is KEY_PACKAGE, `parent_hash` iff it is COMMIT. `encoded` is the whole node,
    its first `signed_bytes` bytes are what the signature covers (with the group and the index appended, see `verify`).
    """

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    source: LeafNodeSource
    lifetime: Lifetime | None
    parent_hash: bytes | None
    extensions: tuple[Extension, ...]
    signature: bytes
    encoded: bytes
    signed_bytes: int

    @classmethod
    def read(cls, reader: Reader) -> LeafNode:
        """Decode one, keeping its bytes."""
        start = reader.offset
        encryption_key = reader.opaque()
        signature_key = reader.opaque()
        credential = Credential.read(reader)
        capabilities = Capabilities.read(reader)
        source = _SOURCES.get(reader.u8())
        lifetime = parent_hash = None
        if source is LeafNodeSource.KEY_PACKAGE:
            lifetime = Lifetime(not_before=reader.u64(), not_after=reader.u64())
        elif source is LeafNodeSource.COMMIT:
            parent_hash = reader.opaque()
        elif source is None:
            raise DecodeError("a leaf node of unknown source")
        extensions = read_extensions(reader)
        signed_bytes = reader.offset - start
        signature = reader.opaque()
        if reader.offset - start > LEAF_NODE_BYTES_MAX:
            raise LimitExceeded(f"a leaf node of more than {LEAF_NODE_BYTES_MAX} bytes")
        return cls(
            encryption_key=encryption_key,
            signature_key=signature_key,
            credential=credential,
            capabilities=capabilities,
            source=source,
            lifetime=lifetime,
            parent_hash=parent_hash,
            extensions=extensions,
            signature=signature,
            encoded=reader.data[start : reader.offset],
            signed_bytes=signed_bytes,
        )

    def verify(self, group_id: bytes, leaf_index: int) -> None:
        """Check the signature for a place in a group; a KeyPackage's leaf is signed without a place.

        Raises:
            InvalidLeafNode: a key has a wrong size.
            InvalidSignature: it does not verify.
        """
        if len(self.signature_key) != KEY_BYTES:
            raise InvalidLeafNode("a signature key of a wrong size")
        signed = self.encoded[: self.signed_bytes]
        if self.source is not LeafNodeSource.KEY_PACKAGE:
            signed += vector(group_id) + u32(leaf_index)
        _verify_leaf(self.signature_key, signed, self.signature)


@lru_cache(maxsize=LEAVES_VERIFIED_MAX)
def _verify_leaf(key: bytes, signed: bytes, signature: bytes) -> None:
    """Remembers what held, never what did not: whoever joins in a rush checks nearly the same tree again and again."""
    verify_with_label(key, "LeafNodeTBS", signed, signature)


def sign_leaf_node(
    key: SignatureKey,
    credential: Credential,
    *,
    encryption_key: bytes,
    lifetime: Lifetime | None = None,
    parent_hash: bytes = b"",
    place: tuple[bytes, int] | None = None,
    extensions: tuple[Extension, ...] = (),
) -> LeafNode:
    """Make a leaf node: a KeyPackage's when a lifetime is given, otherwise a commit's at `place` (group id, index)."""
    if lifetime is not None:
        origin = u8(LeafNodeSource.KEY_PACKAGE) + lifetime.encode()
    else:
        origin = u8(LeafNodeSource.COMMIT) + vector(parent_hash)
    content = (
        vector(encryption_key)
        + vector(key.public)
        + credential.encode()
        + OUR_CAPABILITIES.encode()
        + origin
        + encode_extensions(extensions)
    )
    suffix = b"" if place is None else vector(place[0]) + u32(place[1])
    assert (place is None) == (lifetime is not None), "only a KeyPackage's leaf has no place"
    signature = sign_with_label(key, "LeafNodeTBS", content + suffix)
    return LeafNode.read(Reader(content + vector(signature)))


class ParentNode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An inner node that holds a key (RFC 9420 7.1). `unmerged_leaves` are leaf indices, increasing."""

    encryption_key: bytes
    parent_hash: bytes
    unmerged_leaves: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Encode for the wire and the tree hash."""
        unmerged = b"".join([u32(leaf) for leaf in self.unmerged_leaves])
        return vector(self.encryption_key) + vector(self.parent_hash) + vector(unmerged)

    @classmethod
    def read(cls, reader: Reader) -> ParentNode:
        """Decode one; the unmerged leaves must increase (RFC 9420 7.1)."""
        encryption_key, parent_hash = reader.opaque(), reader.opaque()
        unmerged = reader.u32_list()
        if any(first >= second for first, second in itertools.pairwise(unmerged)):
            raise DecodeError("unmerged leaves out of order")
        return cls(encryption_key=encryption_key, parent_hash=parent_hash, unmerged_leaves=unmerged)
