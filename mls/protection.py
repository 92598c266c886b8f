"""Signing, tagging, encrypting contents, and the way back (RFC 9420 6.1 to 6.3).

The way back never uses anything up. `open_private` returns the content together with the key that opened it; the caller
verifies the signature and only then consumes the key (see `mls.secret_tree`).
"""

from __future__ import annotations

import struct
from typing import Final

from mls.codec import Reader, u16, u64, vector
from mls.crypto import (
    HASH_BYTES,
    KEY_BYTES,
    NONCE_BYTES,
    Entropy,
    SignatureKey,
    aead_open,
    aead_seal,
    expand_with_label,
    mac,
    macs_equal,
    random_bytes,
    sign_with_label,
    verify_with_label,
)
from mls.errors import DecodeError, InvalidSignature, OwnMessage, UnknownSender
from mls.framing import (
    AuthData,
    AuthenticatedContent,
    ContentType,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    content_type_of,
    encode_content,
    read_content,
)
from mls.nodes import PROTOCOL_VERSION
from mls.ratchet_tree import RatchetTree
from mls.secret_tree import MessageKey, RatchetType, SecretTree

__all__ = [
    "LABEL",
    "content_to_be_signed",
    "membership_tag",
    "open_private",
    "seal_private",
    "sign_content",
    "verify_content",
]

LABEL: Final = "FramedContentTBS"
"""Signatures of contents are made under this label."""
_REUSE_GUARD_BYTES: Final = 4
_SENDER_DATA: Final = struct.Struct(f">II{_REUSE_GUARD_BYTES}s")
"""Leaf index, generation, reuse guard (RFC 9420 6.3.2)."""
_BOUND_TO_CONTEXT: Final = frozenset({SenderType.MEMBER, SenderType.NEW_MEMBER_COMMIT})


def content_to_be_signed(wire_format: WireFormat, content: FramedContent, context: bytes) -> bytes:
    """FramedContentTBS: members and external committers also sign the encoded GroupContext (RFC 9420 6.1)."""
    bound = context if content.sender.sender_type in _BOUND_TO_CONTEXT else b""
    return u16(PROTOCOL_VERSION) + u16(wire_format) + content.encoded + bound


def sign_content(key: SignatureKey, wire_format: WireFormat, content: FramedContent, context: bytes) -> bytes:
    """Signature of a content, 64 bytes."""
    return sign_with_label(key, LABEL, content_to_be_signed(wire_format, content, context))


def verify_content(public_key: bytes, message: AuthenticatedContent, context: bytes) -> None:
    """Check a content's signature.

    Raises:
        InvalidSignature: it does not verify.
    """
    signed = content_to_be_signed(message.wire_format, message.content, context)
    verify_with_label(public_key, LABEL, signed, message.auth.signature)


# Public messages


def membership_tag(membership_key: bytes, content: FramedContent, auth: AuthData, context: bytes) -> bytes:
    """Tag by which a member's PublicMessage proves knowledge of the epoch, 32 bytes (RFC 9420 6.2)."""
    signed = content_to_be_signed(WireFormat.PUBLIC_MESSAGE, content, context)
    return mac(membership_key, signed + auth.encode())


def check_membership_tag(membership_key: bytes, message: PublicMessage, context: bytes) -> None:
    """Check a member's tag; other senders have none.

    Raises:
        InvalidSignature: the tag is wrong.
    """
    if message.membership_tag is None:
        return
    expected = membership_tag(membership_key, message.content, message.auth, context)
    if not macs_equal(expected, message.membership_tag):
        raise InvalidSignature("membership tag")


# Private messages


def _guarded(nonce: bytes, reuse_guard: bytes) -> bytes:
    return (int.from_bytes(nonce[:4], "big") ^ int.from_bytes(reuse_guard, "big")).to_bytes(4, "big") + nonce[4:]


def _sender_data_key(secret: bytes, ciphertext: bytes) -> tuple[bytes, bytes]:
    sample = ciphertext[:HASH_BYTES]
    return expand_with_label(secret, "key", sample, KEY_BYTES), expand_with_label(secret, "nonce", sample, NONCE_BYTES)


def _header(group_id: bytes, epoch: int, content_type: ContentType) -> bytes:
    return vector(group_id) + u64(epoch) + bytes([content_type])


def seal_private(
    content: FramedContent,
    auth: AuthData,
    *,
    sender_data_secret: bytes,
    message_key: MessageKey,
    entropy: Entropy,
    padding_bytes: int = 0,
) -> PrivateMessage:
    """Encrypt a signed content under one of the sender's message keys."""
    content_type = content_type_of(content.content)
    header = _header(content.group_id, content.epoch, content_type)
    reuse_guard = random_bytes(entropy, _REUSE_GUARD_BYTES)
    ciphertext = aead_seal(
        message_key.key,
        _guarded(message_key.nonce, reuse_guard),
        header + vector(content.authenticated_data),
        encode_content(content.content) + auth.encode() + bytes(padding_bytes),
    )
    key, nonce = _sender_data_key(sender_data_secret, ciphertext)
    sender_data = _SENDER_DATA.pack(content.sender.index, message_key.generation, reuse_guard)
    return PrivateMessage(
        group_id=content.group_id,
        epoch=content.epoch,
        content_type=content_type,
        authenticated_data=content.authenticated_data,
        encrypted_sender_data=aead_seal(key, nonce, header, sender_data),
        ciphertext=ciphertext,
    )


def ratchet_of(content_type: ContentType) -> RatchetType:
    """Ratchet whose keys encrypt a type of content."""
    return RatchetType.APPLICATION if content_type is ContentType.APPLICATION else RatchetType.HANDSHAKE


def open_sender_data(message: PrivateMessage, secret: bytes, header: bytes) -> tuple[int, int, bytes]:
    """Decrypt who sent a message: (leaf index, generation, reuse guard). Any member can forge this.

    Raises:
        DecryptionFailed: not encrypted in this epoch.
        DecodeError: not sender data.
    """
    key, nonce = _sender_data_key(secret, message.ciphertext)
    opened = aead_open(key, nonce, header, message.encrypted_sender_data)
    if len(opened) != _SENDER_DATA.size:
        raise DecodeError("sender data of a wrong size")
    leaf_index, generation, reuse_guard = _SENDER_DATA.unpack(opened)
    return leaf_index, generation, reuse_guard


def open_private(
    message: PrivateMessage,
    *,
    sender_data_secret: bytes,
    secret_tree: SecretTree,
    tree: RatchetTree,
    own_leaf: int | None,
) -> tuple[AuthenticatedContent, MessageKey]:
    """Decrypt a message; neither is its signature verified here nor its key consumed. `own_leaf` is None for a reader.

    Raises:
        DecryptionFailed: not encrypted in this epoch.
        OwnMessage: it claims to be from our own leaf.
        UnknownSender: the sender's leaf is blank.
        Replayed: the key was used.
        GenerationTooFar: too many steps ahead.
        DecodeError: the plaintext is malformed.
    """
    header = _header(message.group_id, message.epoch, message.content_type)
    leaf_index, generation, reuse_guard = open_sender_data(message, sender_data_secret, header)
    if leaf_index == own_leaf:
        raise OwnMessage(f"our own generation {generation}")
    if tree.leaf(leaf_index) is None:
        raise UnknownSender(f"no member at leaf {leaf_index}")
    message_key = secret_tree.peek(leaf_index, ratchet_of(message.content_type), generation)
    associated = header + vector(message.authenticated_data)
    nonce = _guarded(message_key.nonce, reuse_guard)
    reader = Reader(aead_open(message_key.key, nonce, associated, message.ciphertext))
    content = read_content(reader, message.content_type)
    auth = AuthData.read(reader, is_commit=message.content_type is ContentType.COMMIT)
    padding = reader.take(reader.end - reader.offset)
    if padding.count(0) != len(padding):
        raise DecodeError("padding that is not zero")
    framed = FramedContent.of(
        message.group_id,
        message.epoch,
        sender=Sender(sender_type=SenderType.MEMBER, index=leaf_index),
        content=content,
        authenticated_data=message.authenticated_data,
    )
    return AuthenticatedContent(wire_format=WireFormat.PRIVATE_MESSAGE, content=framed, auth=auth), message_key
