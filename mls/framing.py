"""Envelopes: MLSMessage, PublicMessage, PrivateMessage, and the content both carry (RFC 9420 6).

    MLSMessage ─┬─ PublicMessage   signed, and tagged by members; readable
                ├─ PrivateMessage  signed and encrypted; the sender is hidden
                ├─ Welcome, GroupInfo (`mls.welcome`)
                └─ KeyPackage (`mls.proposals`)

Encoding only: `mls.protection` signs, tags, encrypts and checks. Content read from a PublicMessage keeps its bytes, so
that what is verified and hashed is what was sent.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from mls.codec import Reader, decode, u8, u16, u32, u64, vector
from mls.errors import DecodeError, Unsupported
from mls.nodes import PROTOCOL_VERSION
from mls.proposals import Commit, Proposal, encode_proposal, read_proposal

__all__ = [
    "ContentType",
    "FramedContent",
    "PrivateMessage",
    "PublicMessage",
    "Sender",
    "SenderType",
    "WireFormat",
    "encode_content",
    "envelope",
    "open_envelope",
    "read_content",
]


class WireFormat(enum.IntEnum):
    """What an MLSMessage holds (RFC 9420 17.2)."""

    PUBLIC_MESSAGE = 1
    PRIVATE_MESSAGE = 2
    WELCOME = 3
    GROUP_INFO = 4
    KEY_PACKAGE = 5


class ContentType(enum.IntEnum):
    """What a framed content holds."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


class SenderType(enum.IntEnum):
    """Who sent a framed content."""

    MEMBER = 1
    EXTERNAL = 2
    NEW_MEMBER_PROPOSAL = 3
    NEW_MEMBER_COMMIT = 4


# Looking a number up is four times faster than calling the enum.
_WIRE_FORMATS: Final = {int(wire_format): wire_format for wire_format in WireFormat}
_CONTENT_TYPES: Final = {int(content_type): content_type for content_type in ContentType}
_SENDER_TYPES: Final = {int(sender_type): sender_type for sender_type in SenderType}
_HAS_INDEX: Final = frozenset({SenderType.MEMBER, SenderType.EXTERNAL})


class Sender(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sender; `index` is a member's leaf index, or an external sender's place in its extension, else 0."""

    sender_type: SenderType
    index: int = 0

    def encode(self) -> bytes:
        """Encode for the wire."""
        return u8(self.sender_type) + (u32(self.index) if self.sender_type in _HAS_INDEX else b"")

    @classmethod
    def read(cls, reader: Reader) -> Sender:
        """Decode one."""
        sender_type = _SENDER_TYPES.get(reader.u8())
        if sender_type is None:
            raise DecodeError("a sender of unknown type")
        index = reader.u32() if sender_type in _HAS_INDEX else 0
        return cls(sender_type=sender_type, index=index)


Content = bytes | Proposal | Commit


def encode_content(content: Content) -> bytes:
    """Encode application data, a proposal or a commit, without its type."""
    if isinstance(content, bytes):
        return vector(content)
    return content.encode() if isinstance(content, Commit) else encode_proposal(content)


def read_content(reader: Reader, content_type: ContentType) -> Content:
    """Decode content of a known type."""
    match content_type:
        case ContentType.APPLICATION:
            return reader.opaque()
        case ContentType.PROPOSAL:
            return read_proposal(reader)
        case ContentType.COMMIT:
            return Commit.read(reader)


def content_type_of(content: Content) -> ContentType:
    """Type of a content."""
    if isinstance(content, bytes):
        return ContentType.APPLICATION
    return ContentType.COMMIT if isinstance(content, Commit) else ContentType.PROPOSAL


def read_content_type(reader: Reader) -> ContentType:
    """Decode a content type."""
    content_type = _CONTENT_TYPES.get(reader.u8())
    if content_type is None:
        raise DecodeError("content of unknown type")
    return content_type


class FramedContent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A content with its group, epoch and sender (RFC 9420 6). `encoded` is exactly what is signed and hashed."""

    group_id: bytes
    epoch: int
    sender: Sender
    authenticated_data: bytes
    content: Content
    encoded: bytes

    @classmethod
    def of(
        cls, group_id: bytes, epoch: int, *, sender: Sender, content: Content, authenticated_data: bytes = b""
    ) -> FramedContent:
        """Frame a content."""
        encoded = (
            vector(group_id)
            + u64(epoch)
            + sender.encode()
            + vector(authenticated_data)
            + u8(content_type_of(content))
            + encode_content(content)
        )
        return cls(
            group_id=group_id,
            epoch=epoch,
            sender=sender,
            authenticated_data=authenticated_data,
            content=content,
            encoded=encoded,
        )

    @classmethod
    def read(cls, reader: Reader) -> FramedContent:
        """Decode one, keeping its bytes."""
        start = reader.offset
        group_id, epoch = reader.opaque(), reader.u64()
        sender, authenticated_data = Sender.read(reader), reader.opaque()
        content = read_content(reader, read_content_type(reader))
        return cls(
            group_id=group_id,
            epoch=epoch,
            sender=sender,
            authenticated_data=authenticated_data,
            content=content,
            encoded=reader.data[start : reader.offset],
        )


class AuthData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Signature of a content, and the confirmation tag if it is a commit (RFC 9420 6.1)."""

    signature: bytes
    confirmation_tag: bytes | None = None

    def encode(self) -> bytes:
        """Encode for the wire."""
        return vector(self.signature) + (b"" if self.confirmation_tag is None else vector(self.confirmation_tag))

    @classmethod
    def read(cls, reader: Reader, *, is_commit: bool) -> AuthData:
        """Decode one."""
        signature = reader.opaque()
        return cls(signature=signature, confirmation_tag=reader.opaque() if is_commit else None)


class AuthenticatedContent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A content, its signature, and the wire format both are bound to (RFC 9420 6)."""

    wire_format: WireFormat
    content: FramedContent
    auth: AuthData

    def encode(self) -> bytes:
        """Encode for proposal references and storing."""
        return u16(self.wire_format) + self.content.encoded + self.auth.encode()

    def confirmed_transcript_input(self) -> bytes:
        """What a commit adds to the confirmed transcript hash (RFC 9420 8.2)."""
        return u16(self.wire_format) + self.content.encoded + vector(self.auth.signature)

    @classmethod
    def read(cls, reader: Reader) -> AuthenticatedContent:
        """Decode one."""
        wire_format = reader.u16()
        if wire_format not in {WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE}:
            raise DecodeError(f"authenticated content of wire format {wire_format}")
        content = FramedContent.read(reader)
        auth = AuthData.read(reader, is_commit=isinstance(content.content, Commit))
        return cls(wire_format=WireFormat(wire_format), content=content, auth=auth)


class PublicMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A content that everybody may read (RFC 9420 6.2); the tag is present iff the sender is a member."""

    content: FramedContent
    auth: AuthData
    membership_tag: bytes | None

    def encode(self) -> bytes:
        """Encode for the wire."""
        tag = b"" if self.membership_tag is None else vector(self.membership_tag)
        return self.content.encoded + self.auth.encode() + tag

    @classmethod
    def read(cls, reader: Reader) -> PublicMessage:
        """Decode one."""
        content = FramedContent.read(reader)
        auth = AuthData.read(reader, is_commit=isinstance(content.content, Commit))
        is_member = content.sender.sender_type is SenderType.MEMBER
        return cls(content=content, auth=auth, membership_tag=reader.opaque() if is_member else None)


class PrivateMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An encrypted content (RFC 9420 6.3)."""

    group_id: bytes
    epoch: int
    content_type: ContentType
    authenticated_data: bytes
    encrypted_sender_data: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        return (
            vector(self.group_id)
            + u64(self.epoch)
            + u8(self.content_type)
            + vector(self.authenticated_data)
            + vector(self.encrypted_sender_data)
            + vector(self.ciphertext)
        )

    @classmethod
    def read(cls, reader: Reader) -> PrivateMessage:
        """Decode one."""
        return cls(
            group_id=reader.opaque(),
            epoch=reader.u64(),
            content_type=read_content_type(reader),
            authenticated_data=reader.opaque(),
            encrypted_sender_data=reader.opaque(),
            ciphertext=reader.opaque(),
        )


def envelope(wire_format: WireFormat, body: bytes) -> bytes:
    """Encode an MLSMessage."""
    return u16(PROTOCOL_VERSION) + u16(wire_format) + body


def _read_envelope(reader: Reader) -> tuple[WireFormat, bytes]:
    if reader.u16() != PROTOCOL_VERSION:
        raise Unsupported("a message of another protocol version")
    wire_format = _WIRE_FORMATS.get(reader.u16())
    if wire_format is None:
        raise DecodeError("a message of unknown wire format")
    return wire_format, reader.take(reader.end - reader.offset)


def open_envelope(message: bytes) -> tuple[WireFormat, bytes]:
    """Decode an MLSMessage into its wire format and body.

    Raises:
        Unsupported: another protocol version.
        DecodeError: no MLSMessage.
        LimitExceeded: too long.
    """
    return decode(message, _read_envelope)
