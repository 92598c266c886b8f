from __future__ import annotations

import msgspec
import pytest

from mls.codec import decode
from mls.errors import DecodeError, InvalidSignature
from mls.framing import FramedContent, Sender, SenderType
from tests.mls.builders import group_of, key_of, said, seeded


def test_what_a_member_said_can_be_shown_to_anybody() -> None:
    alice, bob = group_of("alice", "bob")
    message = said(bob, alice.protect(b"hej", entropy=seeded("hej")))

    assert message.signed.open() == (alice.group_id, b"hej")
    assert message.signed.public_key == key_of("alice").public


@pytest.mark.parametrize("field", ["context", "signature", "public_key"])
def test_nobody_can_be_made_to_have_said_something(field: str) -> None:
    alice, bob = group_of("alice", "bob")
    signed = said(bob, alice.protect(b"hej", entropy=seeded("hej"))).signed
    value = bytes([getattr(signed, field)[0] ^ 1]) + getattr(signed, field)[1:]

    with pytest.raises(InvalidSignature):
        msgspec.structs.replace(signed, **{field: value}).open()


def test_only_messages_of_members_count() -> None:
    alice, bob = group_of("alice", "bob")
    signed = said(bob, alice.protect(b"hej", entropy=seeded("hej"))).signed
    content = decode(signed.content, FramedContent.read)
    other = FramedContent.of(
        content.group_id, content.epoch, sender=Sender(sender_type=SenderType.EXTERNAL, index=0), content=b"hej"
    )

    with pytest.raises(DecodeError):
        msgspec.structs.replace(signed, content=other.encoded).open()
