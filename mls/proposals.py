"""Proposals and commits as they stand on the wire (RFC 9420 7.6, 10, 12.1, 12.4): encoding only, no judgement.

A proposal of unknown type has no length in front, so nobody can tell where it ends: the message is refused.
"""

from __future__ import annotations

import enum
from typing import Final, assert_never

import msgspec

from mls.codec import Reader, optional, u8, u16, u32, vector
from mls.crypto import HPKECiphertext
from mls.errors import DecodeError, Unsupported
from mls.key_schedule import PreSharedKeyID
from mls.limits import LEAVES_MAX, PROPOSALS_PER_COMMIT_MAX, UPDATE_PATH_NODES_MAX
from mls.nodes import PROTOCOL_VERSION, Extension, LeafNode, encode_extensions, read_extensions

__all__ = [
    "Add",
    "Commit",
    "ExternalInit",
    "GroupContextExtensions",
    "KeyPackage",
    "PreSharedKey",
    "Proposal",
    "ProposalReference",
    "ProposalType",
    "ReInit",
    "Remove",
    "Update",
    "UpdatePath",
    "UpdatePathNode",
    "encode_proposal",
    "read_proposal",
]


class KeyPackage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An invitation to be invited (RFC 9420 10): keys and the leaf node of a future member.

    `encoded` is all of it, its first `signed_bytes` bytes are what the signature covers.
    """

    cipher_suite: int
    init_key: bytes
    leaf_node: LeafNode
    extensions: tuple[Extension, ...]
    signature: bytes
    encoded: bytes
    signed_bytes: int

    @classmethod
    def read(cls, reader: Reader) -> KeyPackage:
        """Decode one, keeping its bytes.

        Raises:
            Unsupported: another protocol version.
        """
        start = reader.offset
        if reader.u16() != PROTOCOL_VERSION:
            raise Unsupported("a KeyPackage of another protocol version")
        cipher_suite, init_key = reader.u16(), reader.opaque()
        leaf_node, extensions = LeafNode.read(reader), read_extensions(reader)
        signed_bytes = reader.offset - start
        signature = reader.opaque()
        return cls(
            cipher_suite=cipher_suite,
            init_key=init_key,
            leaf_node=leaf_node,
            extensions=extensions,
            signature=signature,
            encoded=reader.data[start : reader.offset],
            signed_bytes=signed_bytes,
        )


class UpdatePathNode(msgspec.Struct, frozen=True, kw_only=True):
    """A new key on the committer's path, and its secret sealed to everybody below the other child."""

    encryption_key: bytes
    encrypted_path_secrets: tuple[HPKECiphertext, ...]

    def encode(self) -> bytes:
        """Encode for the wire."""
        return vector(self.encryption_key) + vector(b"".join([item.encode() for item in self.encrypted_path_secrets]))

    @classmethod
    def read(cls, reader: Reader) -> UpdatePathNode:
        """Decode one."""
        encryption_key = reader.opaque()
        sealed = reader.items(HPKECiphertext.read, count_max=LEAVES_MAX)
        return cls(encryption_key=encryption_key, encrypted_path_secrets=sealed)


class UpdatePath(msgspec.Struct, frozen=True, kw_only=True):
    """New keys for the committer's leaf and path (RFC 9420 7.6)."""

    leaf_node: LeafNode
    nodes: tuple[UpdatePathNode, ...]

    def encode(self) -> bytes:
        """Encode for the wire."""
        return self.leaf_node.encoded + vector(b"".join([node.encode() for node in self.nodes]))

    @classmethod
    def read(cls, reader: Reader) -> UpdatePath:
        """Decode one."""
        leaf_node = LeafNode.read(reader)
        return cls(leaf_node=leaf_node, nodes=reader.items(UpdatePathNode.read, count_max=UPDATE_PATH_NODES_MAX))


class ProposalType(enum.IntEnum):
    """Kinds of proposals (RFC 9420 17.4)."""

    ADD = 1
    UPDATE = 2
    REMOVE = 3
    PSK = 4
    REINIT = 5
    EXTERNAL_INIT = 6
    GROUP_CONTEXT_EXTENSIONS = 7


class Add(msgspec.Struct, frozen=True, gc=False):
    """Add the owner of a KeyPackage (RFC 9420 12.1.1)."""

    key_package: KeyPackage


class Update(msgspec.Struct, frozen=True):
    """Replace the sender's leaf node (RFC 9420 12.1.2)."""

    leaf_node: LeafNode


class Remove(msgspec.Struct, frozen=True):
    """Remove the member at a leaf index (RFC 9420 12.1.3)."""

    removed: int


class PreSharedKey(msgspec.Struct, frozen=True):
    """Mix a pre-shared key into the next epoch (RFC 9420 12.1.4)."""

    psk: PreSharedKeyID


class ReInit(msgspec.Struct, frozen=True, kw_only=True):
    """Close this group and continue in a new one with other parameters (RFC 9420 12.1.5)."""

    group_id: bytes
    version: int
    cipher_suite: int
    extensions: tuple[Extension, ...]


class ExternalInit(msgspec.Struct, frozen=True):
    """The KEM output by which an outsider joins (RFC 9420 12.1.6)."""

    kem_output: bytes


class GroupContextExtensions(msgspec.Struct, frozen=True):
    """Replace all GroupContext extensions (RFC 9420 12.1.7)."""

    extensions: tuple[Extension, ...]


Proposal = Add | Update | Remove | PreSharedKey | ReInit | ExternalInit | GroupContextExtensions


def encode_proposal(proposal: Proposal) -> bytes:
    """Encode a proposal with its type."""
    match proposal:
        case Add(key_package):
            kind, content = ProposalType.ADD, key_package.encoded
        case Update(leaf_node):
            kind, content = ProposalType.UPDATE, leaf_node.encoded
        case Remove(removed):
            kind, content = ProposalType.REMOVE, u32(removed)
        case PreSharedKey(psk):
            kind, content = ProposalType.PSK, psk.encode()
        case ReInit():
            kind, content = ProposalType.REINIT, _encode_reinit(proposal)
        case ExternalInit(kem_output):
            kind, content = ProposalType.EXTERNAL_INIT, vector(kem_output)
        case GroupContextExtensions(extensions):
            kind, content = ProposalType.GROUP_CONTEXT_EXTENSIONS, encode_extensions(extensions)
        case _:
            assert_never(proposal)
    return u16(kind) + content


def _encode_reinit(reinit: ReInit) -> bytes:
    suite = u16(reinit.version) + u16(reinit.cipher_suite)
    return vector(reinit.group_id) + suite + encode_extensions(reinit.extensions)


def _read_reinit(reader: Reader) -> ReInit:
    group_id, version, cipher_suite = reader.opaque(), reader.u16(), reader.u16()
    return ReInit(group_id=group_id, version=version, cipher_suite=cipher_suite, extensions=read_extensions(reader))


def read_proposal(reader: Reader) -> Proposal:
    """Decode a proposal with its type."""
    match reader.u16():
        case ProposalType.ADD:
            return Add(KeyPackage.read(reader))
        case ProposalType.UPDATE:
            return Update(LeafNode.read(reader))
        case ProposalType.REMOVE:
            return Remove(reader.u32())
        case ProposalType.PSK:
            return PreSharedKey(PreSharedKeyID.read(reader))
        case ProposalType.REINIT:
            return _read_reinit(reader)
        case ProposalType.EXTERNAL_INIT:
            return ExternalInit(reader.opaque())
        case ProposalType.GROUP_CONTEXT_EXTENSIONS:
            return GroupContextExtensions(read_extensions(reader))
        case unknown:
            raise DecodeError(f"proposal of unknown type {unknown}")


class ProposalReference(msgspec.Struct, frozen=True):
    """Hash of a proposal that was sent before (RFC 9420 5.2)."""

    reference: bytes


_BY_VALUE: Final = 1
_BY_REFERENCE: Final = 2


def _read_proposal_or_reference(reader: Reader) -> Proposal | ProposalReference:
    kind = reader.u8()
    if kind == _BY_VALUE:
        return read_proposal(reader)
    if kind != _BY_REFERENCE:
        raise DecodeError(f"proposal or reference of unknown kind {kind}")
    return ProposalReference(reader.opaque())


def _encode_proposal_or_reference(item: Proposal | ProposalReference) -> bytes:
    if isinstance(item, ProposalReference):
        return u8(_BY_REFERENCE) + vector(item.reference)
    return u8(_BY_VALUE) + encode_proposal(item)


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """Proposals to apply, in order, and new keys for the committer (RFC 9420 12.4)."""

    proposals: tuple[Proposal | ProposalReference, ...]
    path: UpdatePath | None

    def encode(self) -> bytes:
        """Encode for the wire."""
        proposals = vector(b"".join([_encode_proposal_or_reference(item) for item in self.proposals]))
        return proposals + optional(None if self.path is None else self.path.encode())

    @classmethod
    def read(cls, reader: Reader) -> Commit:
        """Decode one."""
        proposals = reader.items(_read_proposal_or_reference, count_max=PROPOSALS_PER_COMMIT_MAX)
        return cls(proposals=proposals, path=UpdatePath.read(reader) if reader.present() else None)
