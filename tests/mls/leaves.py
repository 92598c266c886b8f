"""Leaf nodes that this package's own functions would never make, signed as they should be."""

from __future__ import annotations

from mls.codec import Reader, u8, u32, vector
from mls.crypto import SignatureKey, generate_key_pair, sign_with_label
from mls.key_packages import basic_credential, our_lifetime
from mls.nodes import OUR_CAPABILITIES, Capabilities, Extension, LeafNode, LeafNodeSource, encode_extensions
from tests.mls.builders import NOW, key_of, seeded


def signed_leaf(
    key: SignatureKey,
    name: str,
    origin: bytes,
    *,
    encryption_key: bytes,
    suffix: bytes = b"",
    capabilities: Capabilities = OUR_CAPABILITIES,
    extensions: tuple[Extension, ...] = (),
) -> LeafNode:
    """A leaf node with any origin and capabilities."""
    content = (
        vector(encryption_key)
        + vector(key.public)
        + basic_credential(name.encode()).encode()
        + capabilities.encode()
        + origin
        + encode_extensions(extensions)
    )
    signature = sign_with_label(key, "LeafNodeTBS", content + suffix)
    return LeafNode.read(Reader(content + vector(signature)))


def update_leaf(
    name: str, leaf_index: int, *, encryption_key: bytes | None = None, group_id: bytes = b"group"
) -> LeafNode:
    """The leaf of an Update proposal."""
    return signed_leaf(
        key_of(name),
        name,
        u8(LeafNodeSource.UPDATE),
        encryption_key=encryption_key or generate_key_pair(seeded(f"update of {name}")).public,
        suffix=vector(group_id) + u32(leaf_index),
    )


def package_leaf(
    name: str,
    *,
    encryption_key: bytes | None = None,
    capabilities: Capabilities = OUR_CAPABILITIES,
    extensions: tuple[Extension, ...] = (),
) -> LeafNode:
    """The leaf of a KeyPackage."""
    return signed_leaf(
        key_of(name),
        name,
        u8(LeafNodeSource.KEY_PACKAGE) + our_lifetime(NOW).encode(),
        encryption_key=encryption_key or generate_key_pair(seeded(f"leaf of {name}")).public,
        capabilities=capabilities,
        extensions=extensions,
    )
