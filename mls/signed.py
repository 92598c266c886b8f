"""A message that its sender cannot deny, checkable by anybody who is shown it (RFC 9420 6.1).

Members sign what they send, together with the group and the epoch that they send it in. Whoever is given the signed bytes,
the encoded GroupContext and the sender's public key can check that, without being a member and without any secret.
"""

from __future__ import annotations

import msgspec

from mls.codec import decode
from mls.crypto import verify_with_label
from mls.errors import DecodeError
from mls.framing import FramedContent, SenderType, WireFormat
from mls.protection import LABEL, content_to_be_signed


class SignedMessage(msgspec.Struct, frozen=True, array_like=True):
    """An application message as its sender signed it: FramedContent, GroupContext, signature, the sender's public key."""

    content: bytes
    context: bytes
    signature: bytes
    public_key: bytes

    def open(self) -> tuple[bytes, bytes]:
        """Check the signature; returns (group id, plaintext).

        Raises:
            InvalidSignature: the holder of the key did not sign this.
            DecodeError: not an application message of a member.
        """
        content = decode(self.content, FramedContent.read)
        if content.sender.sender_type is not SenderType.MEMBER or not isinstance(content.content, bytes):
            raise DecodeError("not an application message of a member")
        signed = content_to_be_signed(WireFormat.PRIVATE_MESSAGE, content, self.context)
        verify_with_label(self.public_key, LABEL, signed, self.signature)
        return content.group_id, content.content
