from __future__ import annotations

import msgspec
import pytest

from mls.codec import Reader, decode, u16, vector
from mls.errors import DecodeError, InvalidLeafNode, InvalidSignature, LimitExceeded
from mls.limits import EXTENSIONS_MAX, LEAF_NODE_BYTES_MAX
from mls.nodes import (
    OUR_CAPABILITIES,
    Capabilities,
    Credential,
    Extension,
    LeafNode,
    LeafNodeSource,
    Lifetime,
    ParentNode,
    encode_extensions,
    find_extension,
    read_extensions,
    sign_leaf_node,
)
from tests.mls.builders import key_of

BOB = Credential(credential_type=1, content=b"bob")
KEY = b"\x09" * 32


def committed_leaf(identity: bytes = b"bob") -> LeafNode:
    credential = Credential(credential_type=1, content=identity)
    return sign_leaf_node(key_of("bob"), credential, encryption_key=KEY, parent_hash=b"above", place=(b"group", 3))


def packaged_leaf() -> LeafNode:
    return sign_leaf_node(key_of("bob"), BOB, encryption_key=KEY, lifetime=Lifetime(not_before=1, not_after=2))


def test_leaf_nodes_come_back() -> None:
    for leaf in (committed_leaf(), packaged_leaf()):
        assert decode(leaf.encoded, LeafNode.read) == leaf
        assert leaf.capabilities == OUR_CAPABILITIES
    assert committed_leaf().parent_hash == b"above"
    assert packaged_leaf().lifetime == Lifetime(not_before=1, not_after=2)


def test_a_committed_leaf_is_signed_for_its_place() -> None:
    committed_leaf().verify(b"group", 3)
    for place in ((b"group", 4), (b"other", 3)):
        with pytest.raises(InvalidSignature):
            committed_leaf().verify(*place)


def test_a_packaged_leaf_is_signed_for_any_place() -> None:
    packaged_leaf().verify(b"any", 7)


def test_signature_keys_of_a_wrong_size_are_refused() -> None:
    with pytest.raises(InvalidLeafNode):
        msgspec.structs.replace(packaged_leaf(), signature_key=b"short").verify(b"any", 7)


def test_leaves_are_bounded() -> None:
    overhead = len(committed_leaf(b"").encoded)
    committed_leaf(bytes(LEAF_NODE_BYTES_MAX - overhead - 1))

    with pytest.raises(LimitExceeded):
        committed_leaf(bytes(LEAF_NODE_BYTES_MAX))


def test_leaves_of_unknown_source_are_refused() -> None:
    leaf = packaged_leaf()
    at = leaf.encoded.index(bytes([LeafNodeSource.KEY_PACKAGE]) + bytes(7) + b"\x01")
    for source in (0, 4, 255):
        with pytest.raises(DecodeError):
            decode(leaf.encoded[:at] + bytes([source]) + leaf.encoded[at + 1 :], LeafNode.read)


def test_credentials_come_back_and_unknown_ones_are_refused() -> None:
    certificates = Credential(credential_type=2, content=vector(b"leaf") + vector(b"root"))
    for credential in (BOB, certificates):
        assert decode(credential.encode(), Credential.read) == credential

    for encoded in (u16(3) + vector(b"?"), u16(0x0A0A) + vector(b""), u16(2) + vector(b"\x05abc")):
        with pytest.raises(DecodeError):
            decode(encoded, Credential.read)


def test_capabilities_come_back_whether_shared_or_large() -> None:
    large = Capabilities(
        versions=(1,), cipher_suites=(3,), extensions=tuple(range(500)), proposals=(8,), credentials=(1, 2)
    )
    for capabilities in (OUR_CAPABILITIES, large):
        assert decode(capabilities.encode(), Capabilities.read) == capabilities


def test_equal_capabilities_are_one_object() -> None:
    encoded = OUR_CAPABILITIES.encode()

    assert decode(encoded, Capabilities.read) is decode(encoded, Capabilities.read)


def test_an_extension_type_appears_once_in_a_list() -> None:
    one, other = Extension(extension_type=7, data=b"a"), Extension(extension_type=8, data=b"b")

    assert decode(encode_extensions((one, other)), read_extensions) == (one, other)
    assert find_extension((one, other), 8) == b"b"
    assert find_extension((one, other), 9) is None
    with pytest.raises(DecodeError):
        decode(encode_extensions((one, one)), read_extensions)


def test_lists_of_extensions_are_bounded() -> None:
    many = tuple(Extension(extension_type=number, data=b"") for number in range(EXTENSIONS_MAX + 1))

    with pytest.raises(LimitExceeded):
        decode(encode_extensions(many), read_extensions)


def test_parent_nodes_come_back() -> None:
    parent = ParentNode(encryption_key=KEY, parent_hash=b"above", unmerged_leaves=(1, 5, 1_000_000))

    assert ParentNode.read(Reader(parent.encode())) == parent


def test_a_signature_that_held_once_does_not_vouch_for_a_changed_leaf() -> None:
    leaf = committed_leaf()
    leaf.verify(b"group", 3)
    leaf.verify(b"group", 3)
    forged = bytes([leaf.signature[0] ^ 1]) + leaf.signature[1:]
    changed = leaf.encoded[:40] + bytes([leaf.encoded[40] ^ 1]) + leaf.encoded[41:]

    for other in (
        msgspec.structs.replace(leaf, signature=forged),
        msgspec.structs.replace(leaf, encoded=changed),
        msgspec.structs.replace(leaf, signature_key=bytes([leaf.signature_key[0] ^ 1]) + leaf.signature_key[1:]),
    ):
        for _ in range(2):
            with pytest.raises(InvalidSignature):
                other.verify(b"group", 3)
